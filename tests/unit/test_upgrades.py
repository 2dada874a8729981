"""Databases of earlier releases: files as those releases left them, `version_N/SERVICE.sql`."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, select

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.contract import topology
from ordersys.order_service import store
from ordersys.product_service.saga import Kind, Saga
from ordersys.product_service.store import placements, products, sagas, tables
from ordersys.product_service.store.transaction import Transaction
from ordersys.runtime.outbox import Outbox
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

HERE = Path(__file__).parent
SERVICES = [("order", store.SCHEMA, store.OUTBOX), ("product", tables.SCHEMA, tables.OUTBOX)]
FORGET = "UPDATE outbox SET type = 'ordersys.api.order.v1.OrderForgotten' WHERE sequence = 1"


def old(folder: Path, name: str, *changes: str, version: int = 1) -> Path:
    """A database of an earlier version, with `changes` made; version 1 has events that wait to be published."""
    path = folder / f"{name}.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((HERE / f"version_{version}" / f"{name}.sql").read_text(encoding="utf-8"))
        for change in changes:
            database.execute(change)
        database.commit()
    return path


def columns(connection: Connection) -> dict[str, list[tuple[str, str, bool]]]:
    """Of each table: the name and type of each column, and whether it may be empty; then those of its indexes."""
    there = inspect(connection)
    return {
        table: [
            *((c["name"], str(c["type"]), bool(c["nullable"])) for c in there.get_columns(table)),
            *((str(i["name"]), str(i["column_names"]), bool(i["unique"])) for i in there.get_indexes(table)),
        ]
        for table in sorted(there.get_table_names())
    }


@pytest.mark.parametrize(("name", "schema", "outbox"), SERVICES, ids=["order", "product"])
async def test_events_that_waited_in_an_older_release_are_published_where_they_belong(
    name: str, schema: Schema, outbox: Outbox, tmp_path: Path
) -> None:
    """Each has the exchange and the routing key of the contract; none is lost, all are in order."""
    path = old(tmp_path, name)
    with closing(sqlite3.connect(path)) as database:
        before: Sequence[tuple[str, bytes]] = database.execute("SELECT event_id, body FROM outbox").fetchall()
    database_ = await Database.open(path, schema)
    rows = await database_.read(outbox.oldest, 100)
    await database_.close()
    assert [(row.event.event_id, row.event.body) for row in rows] == before != []
    for row in rows:
        assert row.to == topology.publication(topology.events()[row.event.type])


@pytest.mark.parametrize(
    ("name", "version", "schema"),
    [("order", 1, store.SCHEMA), ("product", 1, tables.SCHEMA), ("product", 2, tables.SCHEMA)],
)
async def test_an_upgraded_database_is_one_of_today(name: str, version: int, schema: Schema, tmp_path: Path) -> None:
    """The same tables, columns and indexes as a new one has."""
    upgraded = await Database.open(old(tmp_path, name, version=version), schema)
    new = await Database.open(tmp_path / "new.db", schema)
    assert await upgraded.read(columns) == await new.read(columns)
    await upgraded.close()
    await new.close()


async def test_an_event_nobody_knows_any_more_has_no_exchange(tmp_path: Path) -> None:
    """It is kept, and parked by the relay, until a release that knows it."""
    path = old(tmp_path, "order", FORGET)
    database = await Database.open(path, store.SCHEMA)
    rows = await database.read(store.OUTBOX.oldest, 100)
    await database.close()
    assert [bool(row.to.exchange) for row in rows] == [False, True, True]


def units(connection: Connection) -> tuple[Counter[str], Counter[str]]:
    """The units that products say are held, and those that reservations and sagas hold of them."""
    held = Counter({product.id: product.held for product in products.page(connection, None, 1000)})
    reserved: Counter[str] = Counter()
    for table in (tables.RESERVATIONS.c.units, tables.SAGAS.c.reserved):
        for column in connection.execute(select(table)).scalars():
            reserved.update(tables.quantities(column))
    return held, reserved


async def test_sagas_of_an_older_release_go_on(tmp_path: Path) -> None:
    """A placement and a change it left in doubt are pending as they were; each unit is held for the same order."""
    database = await Database.open(old(tmp_path, "product", version=2), tables.SCHEMA)
    change, placement = await database.read(sagas.pending, "", 9)
    assert (placement.kind, placement.reserved) == (Kind.PLACE_ORDER, {"oak-desk": 2})
    assert placement.order_id == placement.saga_id
    assert placement.traceparent == change.traceparent != ""
    assert (change.kind, change.reserved) == (Kind.CHANGE_ORDER, {"desk-lamp": 4})
    held, reserved = await database.read(units)
    assert held == reserved == {"desk-lamp": 7, "oak-desk": 2}
    await database.close()


async def test_a_change_that_overtook_its_placement_goes_on_alone(tmp_path: Path) -> None:
    """An early release had both pending: the order exists and holds what it was placed with; its change goes on.

    What the placement asked for is kept for its client, who is answered with the order as it was created.
    """
    creation = "(SELECT creation FROM placements WHERE pending)"
    overtaken = f"UPDATE placements SET pending = 1, creation = {creation} WHERE NOT pending"  # noqa: S608 - ours
    reopened = (
        "UPDATE requests SET code = NULL, body = NULL WHERE request_id = (SELECT request_id FROM placements LIMIT 1)"
    )
    path = old(tmp_path, "product", overtaken, reopened, version=2)
    with closing(sqlite3.connect(path)) as before:
        ((request_id, order_id, kept),) = before.execute(
            "SELECT request_id, order_id, creation FROM placements WHERE order_id IN (SELECT order_id FROM changes)"
        ).fetchall()
    database = await Database.open(path, tables.SCHEMA)
    change, _ = await database.read(sagas.pending, "", 9)
    assert change.kind is Kind.CHANGE_ORDER
    held, reserved = await database.read(units)
    assert held == reserved
    unanswered = await database.write(unanswered_of, (request_id, order_id))
    assert isinstance(unanswered, placements.Unanswered)
    assert unanswered.creation == CreateOrderRequest.FromString(kept)
    await database.close()


def unanswered_of(connection: Connection, requests: list[tuple[str, str]]) -> list[Saga | placements.Unanswered]:
    """An operation: how far these open requests are."""
    transaction = Transaction(connection)
    return [placements.begun_before(transaction, *request) for request in requests]
