"""Fills the databases of a system before its services start, through the product's own tables.

A million orders are there in a minute instead of a quarter of an hour: as if placed long ago, recorded and
notified of, with their requests still remembered.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, insert, update

from benchmarks import samples
from benchmarks.plan import SMALL_CATALOGUE
from ordersys.api.order.v1.order_service_pb2 import CreateOrderResponse
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse
from ordersys.notification_service.inbox import NOTIFICATIONS
from ordersys.notification_service.inbox import schema as notification_schema
from ordersys.order_service import store as orders
from ordersys.product_service.store import seed
from ordersys.product_service.store.tables import PRODUCTS, RESERVATIONS
from ordersys.product_service.store.tables import REQUESTS as PLACE_REQUESTS
from ordersys.product_service.store.tables import SCHEMA as PRODUCT_SCHEMA
from ordersys.product_service.store.tables import stored as as_stored
from ordersys.runtime.base.ids import now
from ordersys.runtime.storage.schema import Schema

_CHUNK = 20_000  # rows in a transaction: bounded memory, few commits
ANY_ID = "0" * 8 + "-0000-7000-8000-" + "0" * 12
OLD = 1_700_000_000_000  # milliseconds: ids from then sort before every new one
FINGERPRINT = bytes(16)
Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Stored:
    """The content of the databases of a system, as counts."""

    orders: int = 0
    products: int = SMALL_CATALOGUE


def fill(databases: Path, stored: Stored) -> None:
    """Makes the four databases in a folder, two at a time."""
    databases.mkdir(parents=True)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for made in [pool.submit(_fill, databases, name, stored) for name in _FILLINGS]:
            made.result()


def append_events(databases: Path, count: int) -> None:
    """Puts events into the outbox of an Order Service that is not running."""
    engine = create_engine(f"sqlite:///{databases / 'order.db'}")
    with engine.begin() as connection:
        orders.OUTBOX.append(connection, samples.events(count))
    engine.dispose()


def _fill(databases: Path, name: str, stored: Stored) -> None:
    engine = create_engine(f"sqlite:///{databases / name}.db")
    with engine.connect() as connection:
        # Nobody else is there yet, and what a crash leaves is thrown away.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.rollback()
        with connection.begin():
            schema, put = _FILLINGS[name]
            schema.apply(connection)
            put(connection, stored)
    engine.dispose()


def _product(connection: Connection, stored: Stored) -> None:
    seed.seed(connection, samples.products(stored.products), ())
    _insert(connection, PLACE_REQUESTS.table, map(_place_request, range(stored.orders)))
    _insert(connection, RESERVATIONS, map(_reservation, range(stored.orders)))
    for item in ORDER.items:
        held = update(PRODUCTS).where(PRODUCTS.c.product_id == item.product_id)
        connection.execute(held.values(held=item.quantity * stored.orders))


def _order(connection: Connection, stored: Stored) -> None:
    _insert(connection, orders.ORDERS, map(_order_row, range(stored.orders)))
    _insert(connection, orders.REQUESTS.table, map(_create_request, range(stored.orders)))


def _notification(consumer: str) -> Callable[[Connection, Stored], None]:
    def put(connection: Connection, stored: Stored) -> None:
        _insert(connection, NOTIFICATIONS, (_record(consumer, number) for number in range(stored.orders)))

    return put


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    statement, left = insert(table), iter(rows)
    while chunk := list(islice(left, _CHUNK)):
        connection.execute(statement, chunk)


def _order_id(number: int) -> str:
    """A UUID v7 of long ago, rising with `number`."""
    millis = f"{OLD + number:012x}"
    return f"{millis[:8]}-{millis[8:]}-7000-8000-{number:012x}"


def _request_id(number: int) -> str:
    """A client's request_id: spread over the whole index like a random one, but deterministic."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


# One order serialised once: only its id differs from one to the next.
_TIME = now()
ORDER = samples.order(ANY_ID, _TIME)
ORDER_BODY = ORDER.SerializeToString()
CREATED_BODY = CreateOrderResponse(order=ORDER).SerializeToString()
PLACED_BODY = PlaceOrderResponse(order=ORDER).SerializeToString()
EVENT = samples.created(ANY_ID)
UNITS = as_stored({item.product_id: item.quantity for item in ORDER.items})


def _of(number: int, body: bytes) -> bytes:
    return body.replace(ANY_ID.encode(), _order_id(number).encode())


def _order_row(number: int) -> dict[str, Any]:
    customer = f"customer-{number % 1000}"
    return {
        "order_id": _order_id(number),
        "customer_id": customer,
        "state": ORDER.state,
        "body": _of(number, ORDER_BODY),
    }


def _request(request_id: str, number: int, body: bytes) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "fingerprint": FINGERPRINT,
        "subject": _order_id(number),
        "code": 0,
        "body": _of(number, body),
        "time": _TIME,
    }


def _create_request(number: int) -> dict[str, Any]:
    return _request(_order_id(number), number, CREATED_BODY)


def _place_request(number: int) -> dict[str, Any]:
    return _request(_request_id(number), number, PLACED_BODY)


def _reservation(number: int) -> dict[str, Any]:
    return {"order_id": _order_id(number), "units": UNITS}


def _record(consumer: str, number: int) -> dict[str, Any]:
    return {
        "consumer": consumer,
        "event_id": f"{_order_id(number)}.1",
        "type": EVENT.type,
        "order_id": _order_id(number),
        "version": 1,
        "late": False,
        "text": f"order {_order_id(number)} of customer-1 was placed: 3 units of 2 products for 59.97 EUR",
        "record_time": _TIME,
        "body": _of(number, EVENT.body),
    }


_FILLINGS: dict[str, tuple[Schema, Callable[[Connection, Stored], None]]] = {
    "order": (orders.SCHEMA, _order),
    "product": (PRODUCT_SCHEMA, _product),
    "notification-service-1": (
        notification_schema("notification-service-1"),
        _notification("notification-service-1"),
    ),
    "notification-service-2": (
        notification_schema("notification-service-2"),
        _notification("notification-service-2"),
    ),
}
