"""Fills the schemas of a PostgreSQL, as `benchmarks.seeding` fills files: the same rows, made by the server itself.

A million orders are there in a minute, since no row goes over a connection: their ids are counted, and their bodies put
together from the bytes of one order.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from sqlalchemy import Connection

from benchmarks import samples
from benchmarks import seeding as files
from benchmarks.observing import CONSUMERS
from benchmarks.seeding import Stored
from ordersys.notification_service.inbox import schema as notification_schema
from ordersys.order_service import store as orders
from ordersys.product_service.store import seed
from ordersys.product_service.store.tables import SCHEMA as PRODUCT_SCHEMA
from ordersys.runtime.base.database_url import parse
from ordersys.runtime.base.ids import now
from ordersys.runtime.storage import postgresql_schema
from ordersys.runtime.storage.postgresql_connection import engine
from ordersys.runtime.storage.schema import Schema

_AT_ONCE = 2  # schemas that are filled at a time
_LATER = 2**32  # milliseconds behind the ids of stored orders: the ids of waiting events
# A row for each number; `id` is the same as in files (`files.order_id`).
_NUMBERED = """
    (SELECT n, substr(millis, 1, 8) || '-' || substr(millis, 9) || '-7000-8000-' || lpad(to_hex(n), 12, '0') AS id
    FROM (SELECT n, lpad(to_hex(%(old)s + n), 12, '0') AS millis FROM generate_series(0, %(count)s::bigint - 1) AS n)
    AS counted) AS numbered
"""
_REQUESTS = """
    INSERT INTO requests (request_id, fingerprint, subject, code, body, time)
    SELECT {request_id}, %(fingerprint)s, id, 0, {body}, %(time)s FROM {numbered}
"""
_ORDERS = """
    INSERT INTO orders (order_id, customer_id, state, body)
    SELECT id, 'customer-' || n %% 1000, %(state)s, {body} FROM {numbered}
"""
_RESERVATIONS = "INSERT INTO reservations (order_id, units) SELECT id, %(units)s FROM {numbered}"
_HELD = "UPDATE products SET held = %(held)s WHERE product_id = %(product_id)s"
_NOTIFICATIONS = """
    INSERT INTO notifications (consumer, event_id, type, order_id, version, late, text, record_time, body)
    SELECT %(consumer)s, id || '.1', %(type)s, id, 1, false,
        'order ' || id || ' of customer-1 was placed: 3 units of 2 products for 59.97 EUR', %(time)s, {body}
    FROM {numbered}
"""
_OUTBOX = """
    INSERT INTO outbox (event_id, type, source, subject, time, traceparent, body, exchange, routing_key)
    SELECT id || '.1', %(type)s, %(source)s, id, %(time)s, %(traceparent)s, {body}, %(exchange)s, %(routing_key)s
    FROM {numbered}
"""
Run = Callable[..., None]
"""Runs a statement with the numbers of the stored orders, and more parameters."""


def fill(url: str, stored: Stored) -> None:
    """Makes the schemas of all services, two at a time. Raises psycopg.Error."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for made in [pool.submit(_fill, url, schema, stored, put) for schema, put in _FILLINGS]:
            made.result()


def append_events(url: str, count: int) -> None:
    """Puts events into the outbox of an Order Service that is not running. Raises psycopg.Error."""
    event, to = samples.created(files.ANY_ID), samples.TO
    with _connected(url, postgresql_schema.name_of(orders.SCHEMA)) as connection:
        given = {
            "old": files.OLD + _LATER,
            "count": count,
            **{name: getattr(event, name) for name in ("type", "source", "time", "traceparent")},
            "exchange": to.exchange,
            "routing_key": to.routing_key,
        }
        connection.execute(_written(_OUTBOX, event.body), given)


def _fill(url: str, schema: Schema, stored: Stored, put: Callable[[Run, Stored], None]) -> None:
    database, name = parse(url), postgresql_schema.name_of(schema)
    assert database is not None
    pool = engine(database, name, 1)

    def first(connection: Connection) -> None:
        if schema is PRODUCT_SCHEMA:
            seed.seed(connection, samples.products(stored.products), ())

    postgresql_schema.prepare(pool, schema, first)
    pool.dispose()
    with _connected(url, name) as connection:

        def run(statement: str, body: bytes = b"", **given: Any) -> None:
            numbers = {"old": files.OLD, "count": stored.orders}
            connection.execute(_written(statement, body), {**numbers, **given})

        put(run, stored)
        # As a database is that has been there for long; else the server would do it while it is measured.
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _product(run: Run, stored: Stored) -> None:
    run(
        _REQUESTS.replace("{request_id}", "md5(n::text)::uuid::text"),
        files.PLACED_BODY,
        fingerprint=files.FINGERPRINT,
        time=now(),
    )
    run(_RESERVATIONS, units=files.UNITS)
    for item in files.ORDER.items if stored.orders else ():
        run(_HELD, held=item.quantity * stored.orders, product_id=item.product_id)


def _order(run: Run, stored: Stored) -> None:
    run(_ORDERS, files.ORDER_BODY, state=files.ORDER.state)
    run(_REQUESTS.replace("{request_id}", "id"), files.CREATED_BODY, fingerprint=files.FINGERPRINT, time=now())


def _notification(consumer: str) -> Callable[[Run, Stored], None]:
    def put(run: Run, stored: Stored) -> None:
        run(_NOTIFICATIONS, files.EVENT.body, consumer=consumer, type=files.EVENT.type, time=now())

    return put


def _written(statement: str, body: bytes) -> str:
    """A statement with the rows of numbers, and with the bytes of `body`, in which each id is that of the row."""
    pieces = [f"'\\x{piece.hex()}'::bytea" for piece in body.split(files.ANY_ID.encode())]
    return statement.replace("{body}", " || convert_to(id, 'UTF8') || ".join(pieces)).replace("{numbered}", _NUMBERED)


def _connected(url: str, schema: str) -> "psycopg.Connection[Any]":
    return psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}")


_FILLINGS = (
    (orders.SCHEMA, _order),
    (PRODUCT_SCHEMA, _product),
    *((notification_schema(consumer), _notification(consumer)) for consumer in CONSUMERS),
)
