"""The tables of the Product Service."""

import json

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, LargeBinary, String, Table, Text

from ordersys.product_service.stock import Quantities
from ordersys.product_service.store import upgrades
from ordersys.runtime import outbox
from ordersys.runtime.idempotency import Requests
from ordersys.runtime.outbox import Outbox
from ordersys.runtime.storage.schema import Schema

SCHEMA = Schema("product-service", (outbox.upgrade, upgrades.split_placements))
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
    # Where several processes reserve at once (inventory.py). A file has one writer, and keeps the tables it has.
    *(
        CheckConstraint(f"{units} >= 0", name=f"products_{units}").ddl_if(dialect="postgresql")
        for units in ("available", "held")
    ),
)
# Without a rowid (https://www.sqlite.org/withoutrowid.html) a row stands in its key's index alone, not in two trees.
RESERVATIONS = Table(
    "reservations",
    SCHEMA.metadata,
    Column("order_id", String(36), primary_key=True),
    # JSON: {product id: units}, never empty.
    Column("units", Text, nullable=False),
    sqlite_with_rowid=False,
)
# By order: that two sagas of one order are pending at a time is ruled out by the key.
SAGAS = Table(
    "sagas",
    SCHEMA.metadata,
    Column("order_id", String(36), primary_key=True),
    Column("saga_id", String(36), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("request_id", String(36), nullable=False),
    Column("order_request", LargeBinary, nullable=False),
    # JSON: {product id: units}, held in addition to the order's reservation.
    Column("reserved", Text, nullable=False),
    Column("traceparent", String(64), nullable=False),
    sqlite_with_rowid=False,
)


def quantities(column: str) -> dict[str, int]:
    """Units by product id, from a column."""
    return dict(json.loads(column))


def stored(units: Quantities) -> str:
    """Units by product id, for a column."""
    return json.dumps(units)
