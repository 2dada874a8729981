"""The tables of the Product Service."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text

from ordersys.runtime.idempotency import Requests
from ordersys.runtime.outbox import Outbox, upgrade
from ordersys.runtime.storage.schema import Schema

SCHEMA = Schema("product-service", (upgrade,))
REQUESTS = Requests(SCHEMA.metadata)
OUTBOX = Outbox(SCHEMA.metadata)
PRODUCTS = Table(
    "products",
    SCHEMA.metadata,
    Column("product_id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("price_units", BigInteger, nullable=False),
    Column("price_nanos", Integer, nullable=False),
    Column("price_currency", String(3), nullable=False),
    Column("available", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
)
# What each order holds, as JSON {product id: units}; `creation` is there while the outcome is open.
PLACEMENTS = Table(
    "placements",
    SCHEMA.metadata,
    Column("order_id", String(36), primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("pending", Boolean, nullable=False),
    Column("creation", LargeBinary),
    Column("holding", Text, nullable=False),
)
Index(
    "placements_pending",
    PLACEMENTS.c.order_id,
    sqlite_where=PLACEMENTS.c.pending,
    postgresql_where=PLACEMENTS.c.pending,
)
# The change of each order that is under way; `reserved` is held in addition to the order's holding.
CHANGES = Table(
    "changes",
    SCHEMA.metadata,
    Column("order_id", String(36), primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("cancels", Boolean, nullable=False),
    Column("hop", LargeBinary, nullable=False),
    Column("reserved", Text, nullable=False),
    Column("traceparent", String(64), nullable=False),
)
