"""The backlog of an outbox, in numbers for metrics: exact while it is short, cheap however long it is."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ordersys.contract import topology
from ordersys.contract.events import EventMessage
from ordersys.runtime import outbox as module
from ordersys.runtime.outbox import Backlog, Late, Outbox
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

SCHEMA = Schema("tests")
OUTBOX = Outbox(SCHEMA.metadata)
TYPE = next(iter(topology.events()))
NOBODY = 0
PARKED = "its exchange is gone"


def append(connection: Connection, times: list[int]) -> Sequence[None]:
    """An operation: an event for each time."""
    OUTBOX.append(connection, [EventMessage(f"e.{t}", TYPE, "source", f"o-{t}", t, "trace", b"") for t in times])
    return [None] * len(times)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An outbox with nothing in it."""
    opened = await Database.open(tmp_path / "outbox.db", SCHEMA)
    yield opened
    await opened.close()


async def backlog(database: Database, floor: int = 0) -> Backlog:
    """The backlog as it is now."""
    return await database.read(OUTBOX.backlog, floor)


async def test_a_backlog_is_counted_by_what_it_waits_for(database: Database) -> None:
    """Events not tried, those put off, and the parked ones among these; and the time of the oldest of all."""
    assert await backlog(database) == Backlog(0, 0, 0, None)
    await database.write_each(append, [30, 10, 20, 40])
    assert await backlog(database) == Backlog(4, 0, 0, 30)
    await database.write(OUTBOX.put_off, [Late(2, NOBODY), Late(3, NOBODY, PARKED)])
    assert await backlog(database) == Backlog(2, 2, 1, 10)
    assert await backlog(database, floor=1) == Backlog(1, 2, 1, 10)
    await database.write(OUTBOX.remove, [(1, "e.30"), (4, "e.40")])
    await database.write(OUTBOX.remove_late, [2])
    assert await backlog(database) == Backlog(0, 1, 1, 20)


async def test_a_long_backlog_is_estimated_from_its_sequences(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never counted to its end: what waits in the order of its sequences has hardly a gap."""
    monkeypatch.setattr(module, "_MOST_COUNTED", 10)
    await database.write_each(append, list(range(1, 101)))
    assert (await backlog(database)).new == 100
    await database.write(OUTBOX.remove, [(n, f"e.{n}") for n in range(1, 51)])
    assert (await backlog(database)).new == 50
    await database.write(OUTBOX.remove, [(n, f"e.{n}") for n in range(51, 96)])
    assert (await backlog(database)).new == 5
