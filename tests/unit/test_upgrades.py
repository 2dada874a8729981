"""Databases of earlier releases: files as those releases left them, `version_N/SERVICE.sql`."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from ordersys.contract import topology
from ordersys.order_service import store
from ordersys.product_service.store import tables
from ordersys.runtime.outbox import Outbox
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

HERE = Path(__file__).parent
SERVICES = [("order", store.SCHEMA, store.OUTBOX), ("product", tables.SCHEMA, tables.OUTBOX)]
FORGET = "UPDATE outbox SET type = 'ordersys.api.order.v1.OrderForgotten' WHERE sequence = 1"


def old(folder: Path, name: str, *changes: str) -> Path:
    """A database of version 1 with events that wait to be published."""
    path = folder / f"{name}.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((HERE / "version_1" / f"{name}.sql").read_text(encoding="utf-8"))
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
    found = await database_.read(outbox.oldest, 100)
    await database_.close()
    assert [(one.event.event_id, one.event.body) for one in found] == before != []
    for one in found:
        assert one.to == topology.publication(topology.events()[one.event.type])


@pytest.mark.parametrize(("name", "schema", "outbox"), SERVICES, ids=["order", "product"])
async def test_an_upgraded_database_is_one_of_today(name: str, schema: Schema, outbox: Outbox, tmp_path: Path) -> None:
    """The same tables, columns and indexes as a new one has."""
    upgraded = await Database.open(old(tmp_path, name), schema)
    new = await Database.open(tmp_path / "new.db", schema)
    assert await upgraded.read(columns) == await new.read(columns)
    await upgraded.close()
    await new.close()


async def test_an_event_nobody_knows_any_more_has_no_exchange(tmp_path: Path) -> None:
    """It is kept, and parked by the relay, until a release that knows it."""
    path = old(tmp_path, "order", FORGET)
    database = await Database.open(path, store.SCHEMA)
    found = await database.read(store.OUTBOX.oldest, 100)
    await database.close()
    assert [bool(one.to.exchange) for one in found] == [False, True, True]
