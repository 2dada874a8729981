"""The outbox in PostgreSQL: no event comes late or out of order, and no removed row is read, whatever others do there.

A relay at a real server; what others do, they do in sessions of their own.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import Connection

from ordersys.contract import topology
from ordersys.contract.events import EventMessage
from ordersys.runtime import relay as module
from ordersys.runtime.base import database_url
from ordersys.runtime.base.database_url import DatabaseUrl
from ordersys.runtime.outbox import Outbox
from ordersys.runtime.rabbitmq.confirms import Fate, PublishResult
from ordersys.runtime.rabbitmq.messages import Outgoing
from ordersys.runtime.relay import Relay
from ordersys.runtime.storage.postgresql_database import PostgreSQLDatabase
from ordersys.runtime.storage.schema import Schema
from ordersys.runtime.storage.statements import driver_of
from tests import postgresql
from tests.integration.conftest import skip_without_postgresql

R = TypeVar("R")
SCHEMA = Schema("tests")
OUTBOX = Outbox(SCHEMA.metadata)
TYPE = next(iter(topology.events()))
TABLE = "tests.outbox"
DEAD_ROWS = 20_000
FEW_BUFFERS = 20
PATIENCE = 60.0  # seconds
APPEND = f"""
    INSERT INTO {TABLE} (event_id, type, source, subject, time, traceparent, body)
    SELECT %s || number, '{TYPE}', 'source', %s || number, 1, 'trace', '' FROM generate_series(1, %s) number
"""  # noqa: S608 - our own names


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not postgresql.given():
        skip_without_postgresql()
    with postgresql.server(tmp_path_factory.mktemp("server") / "postgresql", "-F", "-c", "autovacuum=off") as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with postgresql.database(server, f"t{random.getrandbits(60)}") as url:
        yield url


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor rises with each look, and no look begins below it: what is seen is seen from there."""
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_FULL_LOOK_SECONDS", inf)


class Broker:
    """Confirms everything."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._more = asyncio.Event()

    async def publish(self, events: Sequence[Outgoing]) -> list[PublishResult]:
        self.ids += [entry.event.event_id for entry in events]
        self._more.set()
        return [PublishResult(Fate.CONFIRMED)] * len(events)

    async def has(self, event_id: str) -> None:
        """Returns when it got that event."""
        async with asyncio.timeout(PATIENCE):
            while event_id not in self.ids:
                self._more.clear()
                await self._more.wait()


class Watched(PostgreSQLDatabase):
    """Says after which sequence each look has begun."""

    def __init__(self, url: DatabaseUrl, schema: Schema) -> None:
        super().__init__(url, schema)
        self.floors = [0]
        self._looked = asyncio.Event()

    async def read(self, query: Callable[..., R], *arguments: Any) -> R:
        result = await super().read(query, *arguments)
        if query == OUTBOX.oldest:
            self.floors.append(arguments[1])
            self._looked.set()
        return result

    async def looks_from(self, floor: int) -> None:
        """Returns when a look has begun after that sequence, or a later one."""
        async with asyncio.timeout(PATIENCE):
            while self.floors[-1] < floor:
                self._looked.clear()
                await self._looked.wait()

    async def looks(self, count: int) -> None:
        """Returns when there were so many more of them."""
        async with asyncio.timeout(PATIENCE):
            until = len(self.floors) + count
            while len(self.floors) < until:
                self._looked.clear()
                await self._looked.wait()


@asynccontextmanager
async def relaying(url: str) -> AsyncIterator[tuple[Watched, Broker]]:
    place = database_url.parse(url)
    assert place is not None
    database, broker = await Watched.open(place, SCHEMA), Broker()
    assert isinstance(database, Watched)
    database.leadership.renew(inf)
    async with asyncio.TaskGroup() as tasks:
        relay = Relay(tasks, database, OUTBOX, broker, 1000)
        try:
            yield database, broker
        finally:
            await relay.close()
            await database.close()


def append(connection: Connection, names: list[str]) -> list[None]:
    """An operation: an event of each name, of an order of that name."""
    OUTBOX.append(connection, [EventMessage(f"{name}1", TYPE, "source", name, 1, "trace", b"") for name in names])
    return [None] * len(names)


async def newest(url: str) -> int:
    """The sequence that was drawn last."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute("SELECT last_value FROM tests.outbox_sequence_seq")).fetchone()
        assert row is not None
        return int(row[0])


async def test_what_is_committed_late_is_published_before_what_follows_it(url: str) -> None:
    """A transaction takes as long as it likes: its event is found at once, and the next of its order behind it."""
    async with relaying(url) as (database, broker), await psycopg.AsyncConnection.connect(url) as slow:
        await database.write(append, "before")
        await broker.has("before1")
        await database.looks_from(await newest(url))
        await slow.execute(APPEND, ("late", "order", 1))
        late = await newest(url)
        for name in ("a", "b", "c"):
            await database.write(append, name)
            await broker.has(f"{name}1")
        await database.looks(10)
        assert max(database.floors) < late
        await slow.commit()
        await slow.execute(APPEND, ("follower", "order", 1))
        await slow.commit()
        await broker.has("follower1")
        assert broker.ids[-2:] == ["late1", "follower1"]
        await database.looks_from(await newest(url))


async def test_what_a_failover_has_set_back_is_published(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby without the last commits draws their sequences again: a look from the beginning finds them."""
    monkeypatch.setattr(module, "_FULL_LOOK_SECONDS", 0.1)
    async with relaying(url) as (database, broker), await psycopg.AsyncConnection.connect(url) as other:
        for name in ("a", "b", "c"):
            await database.write(append, name)
            await broker.has(f"{name}1")
        await database.looks_from(await newest(url))
        await other.execute("SELECT setval('tests.outbox_sequence_seq', 1, false)")
        for name in ("d", "e"):
            await database.write(append, name)
            await broker.has(f"{name}1")
        assert broker.ids == ["a1", "b1", "c1", "d1", "e1"]


async def test_a_snapshot_that_is_held_makes_no_look_dear(url: str) -> None:
    """Removed rows that others may still see are not gone through: a look reads a few pages, and not all of theirs."""
    async with (
        relaying(url) as (database, broker),
        await psycopg.AsyncConnection.connect(url) as dump,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as other,
    ):
        await dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await dump.execute(f"SELECT count(*) FROM {TABLE}")  # noqa: S608 - our own name
        await other.execute(APPEND, ("e", "order", DEAD_ROWS))
        async with asyncio.timeout(PATIENCE):
            while await database.read(OUTBOX.waiting):
                pass
        await database.looks_from(await newest(url))
        dear, cheap = [await database.read(buffers, floor) for floor in (0, database.floors[-1])]
        assert cheap <= FEW_BUFFERS < dear // 10
        assert len(broker.ids) == DEAD_ROWS


def buffers(connection: Connection, floor: int) -> int:
    """The number of pages that a look reads which begins after `floor`."""
    driver = driver_of(connection)
    text, names, constant, *_ = OUTBOX._oldest._form_for(driver)
    given = {**constant, "most": 1000, "floor": floor}
    plan = driver.execute(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", [given[name] for name in names], binary=False
    )
    top = plan.fetchone()[0][0]["Plan"]
    return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


async def test_what_cant_be_removed_is_published_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor stays below what is still there, whatever was published behind it."""
    monkeypatch.setattr(module, "_RETRY_DELAY_SECONDS", 0.0)
    async with (
        relaying(url) as (database, broker),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as other,
    ):
        await other.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$"
        )
        await other.execute(
            f"CREATE TRIGGER refuse BEFORE DELETE ON {TABLE} FOR EACH ROW WHEN (OLD.event_id = 'stuck1')"
            " EXECUTE FUNCTION refuse()"
        )
        await database.write(append, "stuck")
        await broker.has("stuck1")
        for name in ("a", "b", "c"):
            await database.write(append, name)
            await broker.has(f"{name}1")
        await database.looks(10)
        assert max(database.floors) < await newest(url) - 3
        await other.execute(f"DROP TRIGGER refuse ON {TABLE}")
        await database.looks_from(await newest(url))
        assert broker.ids.count("stuck1") > 1
        assert await database.read(OUTBOX.waiting) == 0
