"""Events wait in the outbox, and leave it only when the broker has them for sure."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from itertools import chain, repeat, zip_longest
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from ordersys.contract.events import EventMessage
from ordersys.runtime import outbox as module
from ordersys.runtime.database import Database
from ordersys.runtime.outbox import Outbox, Relay
from ordersys.runtime.schema import Schema
from ordersys.runtime.tasks import TaskEnded

SCHEMA = Schema("tests")
OUTBOX = Outbox(SCHEMA.metadata)
WINDOW = 3
ALL = [True] * WINDOW
EVENTS = [EventMessage(f"order.{n}", "type", "source", "order", n, "trace", bytes([n])) for n in range(1, 9)]


def append(connection: Connection, batches: list[list[EventMessage]]) -> list[None]:
    """An operation."""
    for events in batches:
        OUTBOX.append(connection, events)
    return [None] * len(batches)


def tune(connection: Connection, items: list[None]) -> list[None]:
    """An operation: has the writer wait for nobody, and take no more variables than SQLite's own default."""
    sqlite = cast(sqlite3.Connection, connection.connection.driver_connection)
    sqlite.execute("PRAGMA busy_timeout = 1")
    sqlite.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    return items


def append_and_fail(connection: Connection, batches: list[list[EventMessage]]) -> list[None]:
    """An operation."""
    append(connection, batches)
    raise ValueError("after appending")


class Broker:
    """Confirms everything, but for what a test has it do with the first windows."""

    def __init__(self, *answers: list[bool] | Awaitable[list[bool]]) -> None:
        self._answers = iter(answers)
        self.windows: list[list[EventMessage]] = []
        self.asked = asyncio.Event()

    async def publish(self, events: Sequence[EventMessage]) -> list[bool]:
        self.windows.append(list(events))
        self.asked.set()
        answer = next(self._answers, ALL)
        return answer[: len(events)] if isinstance(answer, list) else await answer


async def fail() -> list[bool]:
    raise KeyError("nobody foresaw this")


@asynccontextmanager
async def relaying(folder: Path, broker: Broker, window: int = WINDOW) -> AsyncIterator[tuple[Database, Relay]]:
    database = await Database.open(folder / "t.db", SCHEMA)
    await database.write(tune, None)
    async with asyncio.TaskGroup() as tasks:
        relay = Relay(tasks, database, OUTBOX, broker, window)
        try:
            yield database, relay
        finally:
            await relay.close()
            await database.close()


async def waiting(database: Database, count: int) -> None:
    """Returns when that many events wait."""
    async with asyncio.timeout(5):
        while await database.read(OUTBOX.waiting) != count:
            pass


async def empty(database: Database) -> None:
    """Returns when nothing waits any more."""
    await waiting(database, 0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "growing", lambda: repeat(0.0))


@settings(max_examples=40, deadline=None)
@given(
    answers=st.lists(st.lists(st.booleans(), min_size=WINDOW, max_size=WINDOW), max_size=8),
    cut=st.integers(0, len(EVENTS)),
)
async def test_a_row_goes_when_confirmed_and_is_published_until_then_in_order(
    answers: list[list[bool]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each window is the oldest that are unconfirmed, as they were appended, whatever was confirmed before."""
    async with relaying(tmp_path_factory.mktemp("outbox"), broker := Broker(*answers)) as (database, relay):
        await database.write(append, EVENTS[:cut])
        await database.write(append, EVENTS[cut:])
        relay.wake()
        await empty(database)
    waiting = EVENTS
    for window, answer in zip(broker.windows, chain(answers, repeat(ALL)), strict=False):
        assert window == waiting[:WINDOW]
        waiting = [one for one, sure in zip_longest(waiting, answer[: len(waiting)]) if not sure]
    assert waiting == []


async def test_a_few_events_go_first_after_some_were_refused(tmp_path: Path) -> None:
    """A full window again and again would cost a broker that is not ready the more, the more waits; then it grows."""
    sizes = [100, 10, 20, 40, 30]
    answers = [[False] * 100, *([True] * size for size in sizes[1:])]
    events = [replace(EVENTS[0], event_id=f"order.{number}") for number in range(100)]
    async with relaying(tmp_path, broker := Broker(*answers), window=100) as (database, relay):
        await database.write(append, events)
        relay.wake()
        await empty(database)
    assert [len(window) for window in broker.windows] == sizes


async def test_a_row_stays_while_the_broker_has_not_answered(tmp_path: Path) -> None:
    """Published is not confirmed: all of a window is there until the answer is."""
    gate: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(gate)) as (database, relay):
        await database.write(append, EVENTS[:2])
        relay.wake()
        await broker.asked.wait()
        assert await database.read(OUTBOX.waiting) == 2
        gate.set_result([True, True])
        await empty(database)


async def test_nothing_is_published_of_a_transaction_that_was_rolled_back(tmp_path: Path) -> None:
    """Its events are gone with it; others of the same batch are published."""
    async with relaying(tmp_path, broker := Broker()) as (database, relay):
        undone, done = database.write(append_and_fail, EVENTS[:1]), database.write(append, EVENTS[1:2])
        await done
        assert isinstance(undone.exception(), ValueError)
        relay.wake()
        await empty(database)
    assert broker.windows == [EVENTS[1:2]]


async def test_an_unforeseen_error_ends_the_group_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The process ends with it, the log names the task, and what was not confirmed is there at the next start."""

    async def end() -> None:
        async with relaying(tmp_path, Broker(fail())) as (database, _):
            await database.write(append, EVENTS[:1])
            await asyncio.get_running_loop().create_future()

    with pytest.raises(ExceptionGroup) as ended:
        await end()
    assert isinstance(ended.value.exceptions[0], TaskEnded)
    assert "'relay'" in caplog.text and "nobody foresaw this" in caplog.text
    async with relaying(tmp_path, broker := Broker()) as (database, _):
        await empty(database)
    assert broker.windows == [EVENTS[:1]]


async def test_a_commit_wakes_the_relay_though_nobody_waits_for_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for the change was cancelled while it was committed: its event goes, and not with the next one."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 3600.0)
    async with relaying(tmp_path, broker := Broker()) as (database, _):
        begun, going = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slowly(connection: Connection, batches: list[list[EventMessage]]) -> list[None]:
            loop.call_soon_threadsafe(begun.set)
            going.wait()
            return append(connection, batches)

        asked = database.write(slowly, EVENTS[:1])
        await begun.wait()
        asked.cancel()
        going.set()
        async with asyncio.timeout(5):
            await broker.asked.wait()
    assert broker.windows == [EVENTS[:1]]


async def test_an_event_whose_wake_was_lost_waits_for_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells the relay of it, and it is published all the same."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Relay, "wake", lambda relay: None)
    async with relaying(tmp_path, broker := Broker()) as (database, _):
        await database.write(append, EVENTS[:1])
        await empty(database)
    assert broker.windows == [EVENTS[:1]]


async def test_what_cant_be_removed_is_published_again(tmp_path: Path) -> None:
    """At least once: confirmed events whose rows could not be removed come again, and go when they can."""
    with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:

        async def unlock() -> list[bool]:
            other.close()
            return [True]

        async with relaying(tmp_path, broker := Broker([True], unlock())) as (database, relay):
            await database.write(append, EVENTS[:1])
            other.execute("BEGIN IMMEDIATE")
            relay.wake()
            await empty(database)
    assert broker.windows == [EVENTS[:1]] * 2


async def test_a_window_of_any_allowed_size_leaves_the_outbox(tmp_path: Path) -> None:
    """100,000 events may be on their way (ORDERSYS_PUBLISH_WINDOW), and every build of SQLite can remove them."""
    async with relaying(tmp_path, Broker()) as (database, _):
        await database.write(append, EVENTS)
        await asyncio.wait([write := database.write(OUTBOX.remove, list(range(100_000)))])
        assert (write.exception(), await database.read(OUTBOX.waiting)) == (None, 0)


async def test_closing_ends_after_the_window_under_way(tmp_path: Path) -> None:
    """What was on its way is confirmed and removed; no other window is begun."""
    gate: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(gate)) as (database, relay):
        await database.write(append, EVENTS[: WINDOW + 1])
        relay.wake()
        await broker.asked.wait()
        ending = asyncio.create_task(relay.close())
        await asyncio.sleep(0)
        gate.set_result(ALL)
        await ending
        await waiting(database, 1)
    assert len(broker.windows) == 1


async def test_closing_waits_for_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody answers it ends all the same, and what is not confirmed stays."""
    monkeypatch.setattr(module, "_CLOSE_SECONDS", 0.01)
    silent: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(silent)) as (database, relay):
        await database.write(append, EVENTS)
        relay.wake()
        await broker.asked.wait()
        await relay.close()
        relay.wake()
        assert silent.cancelled()
        assert await database.read(OUTBOX.waiting) == len(EVENTS)
    assert len(broker.windows) == 1
