"""The audit of the stock: exact while orders are placed, and quiet where it can't be."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Connection, insert, update

from ordersys.product_service.measures import StoreMeasures
from ordersys.product_service.store import audit
from ordersys.product_service.store.audit import imbalance
from ordersys.product_service.store.tables import PRODUCTS, RESERVATIONS, SAGAS, SCHEMA
from ordersys.runtime.base.ids import uuid7
from ordersys.runtime.storage.database import Database

PRODUCT = {
    "product_id": "lamp",
    "name": "A lamp",
    "description": "",
    "price_units": 9,
    "price_nanos": 0,
    "price_currency": "EUR",
    "available": 1_000_000,
    "held": 0,
    "create_time": 0,
    "update_time": 0,
}


def reserve(connection: Connection, orders: list[int]) -> Sequence[None]:
    """An operation: that many units for a new order each, with what the product holds."""
    rows = [{"order_id": uuid7(), "units": json.dumps({"lamp": units})} for units in orders]
    connection.execute(insert(RESERVATIONS), rows)
    connection.execute(update(PRODUCTS).values(held=PRODUCTS.c.held + sum(orders)))
    return [None] * len(orders)


def forget(connection: Connection, orders: list[int]) -> Sequence[None]:
    """An operation that is a bug: so many units are held, and by no order."""
    connection.execute(update(PRODUCTS).values(held=PRODUCTS.c.held + sum(orders)))
    return [None] * len(orders)


def begin(connection: Connection, orders: list[int]) -> Sequence[None]:
    """An operation: a pending saga holds so many units, of two products."""
    for units in orders:
        row = {"order_id": uuid7(), "saga_id": uuid7(), "kind": "place_order", "request_id": uuid7()}
        reserved = json.dumps({"lamp": units, "chair": 1})
        row |= {"order_request": b"", "reserved": reserved, "traceparent": ""}  # type: ignore[dict-item]
        connection.execute(insert(SAGAS), row)
        connection.execute(update(PRODUCTS).values(held=PRODUCTS.c.held + units + 1))
    return [None] * len(orders)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """One product, nothing held."""

    def first(connection: Connection) -> None:
        connection.execute(insert(PRODUCTS), PRODUCT)

    opened = await Database.open(tmp_path / "product.db", SCHEMA, first)
    yield opened
    await opened.close()


async def audited(database: Database) -> int | None:
    """The imbalance as it is now."""
    return await database.read(imbalance, Event())


async def test_stock_that_is_even_has_no_imbalance(database: Database) -> None:
    """Of nobody, of orders in several slices, and of pending sagas."""
    assert await audited(database) == 0
    await asyncio.gather(*(database.write(reserve, number % 7) for number in range(2 * audit._SLICE + 1)))
    await database.write(begin, 5)
    assert await audited(database) == 0


async def test_units_that_nobody_holds_are_found(database: Database) -> None:
    """As many as there are, also as a number below 0: then something was sold twice."""
    await database.write(reserve, 3)
    await database.write(forget, 4)
    assert await audited(database) == 4
    await database.write(forget, -6)
    assert await audited(database) == -2


async def test_the_audit_is_exact_while_orders_are_placed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of two orders with a pause behind each, and commits all the while: one state is seen."""
    monkeypatch.setattr(audit, "_SLICE", 2)
    await asyncio.gather(*(database.write(reserve, 1) for _ in range(100)))
    stop = asyncio.Event()
    placed = 0

    async def place() -> None:
        nonlocal placed
        while not stop.is_set():
            await database.write(reserve, 2)
            placed += 1

    placing = asyncio.create_task(place())
    seen = [await audited(database) for _ in range(10)]
    stop.set()
    await placing
    assert seen == [0] * 10
    assert placed > 10


async def test_too_many_orders_are_not_audited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in time, and says nothing; whoever reads next finds the connection as it was."""
    await database.write(reserve, 1)
    monkeypatch.setattr(audit, "_MOST_SECONDS", 0.0)
    began = time.monotonic()
    assert await audited(database) is None
    assert time.monotonic() - began < 1
    monkeypatch.undo()
    assert await audited(database) == 0


async def test_an_audit_nobody_waits_for_ends_with_its_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is told to stop in the midst of one closes its database at once."""
    begun = Event()

    def rest(seconds: float) -> None:
        begun.set()
        time.sleep(0.05)

    for name, value in (("_MOST_SECONDS", 60.0), ("_rest", rest), ("_SLICE", 1)):
        monkeypatch.setattr(audit, name, value)
    database = await Database.open(tmp_path / "stopped.db", SCHEMA)
    await asyncio.gather(*(database.write(reserve, 1) for _ in range(1_000)))
    auditing = asyncio.create_task(StoreMeasures(database).audit())
    await asyncio.get_running_loop().run_in_executor(None, begun.wait)
    auditing.cancel()
    began = time.monotonic()
    await database.close()
    assert time.monotonic() - began < 10
