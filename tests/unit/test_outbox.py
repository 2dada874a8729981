"""Events wait in the outbox, and leave it only when the broker has them for sure; none waits for another's trouble."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, closing
from itertools import chain, repeat, zip_longest
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from ordersys.contract import topology
from ordersys.contract.events import EventMessage
from ordersys.runtime import relay as module
from ordersys.runtime.base.ids import now
from ordersys.runtime.base.tasks import TaskEnded
from ordersys.runtime.outbox import Late, Outbox
from ordersys.runtime.rabbitmq.confirms import Fate, PublishResult
from ordersys.runtime.rabbitmq.messages import Outgoing
from ordersys.runtime.relay import Relay
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

SCHEMA = Schema("tests")
OUTBOX = Outbox(SCHEMA.metadata)
WINDOW = 3
CONFIRMED, NACKED, RETURNED, OPEN = map(PublishResult, (Fate.CONFIRMED, Fate.NACKED, Fate.RETURNED, Fate.OPEN))
IMPOSSIBLE = PublishResult(Fate.IMPOSSIBLE, "it can't be encoded")
HELD = PublishResult(Fate.HELD)
SUSPECT = PublishResult(Fate.OPEN, "404 NOT_FOUND")
ALL = [CONFIRMED] * WINDOW
TYPE = next(iter(topology.events()))


def event(order: str, number: int = 1) -> EventMessage:
    return EventMessage(f"{order}.{number}", TYPE, "source", order, number, "trace", bytes([number]))


EVENTS = [event("order", number) for number in range(1, 9)]


def append(connection: Connection, batches: list[Sequence[EventMessage]]) -> list[None]:
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


def append_and_fail(connection: Connection, batches: list[Sequence[EventMessage]]) -> list[None]:
    """An operation."""
    append(connection, batches)
    raise ValueError("after appending")


def lose_and_append(connection: Connection, batches: list[Sequence[EventMessage]]) -> list[None]:
    """An operation: a standby without the last commits goes on from those before."""
    connection.execute(OUTBOX.table.delete())
    connection.execute(text("DELETE FROM sqlite_sequence"))
    return append(connection, batches)


class Broker:
    """Confirms everything, but for what a test has it do with the first windows, or with an event by its id."""

    def __init__(
        self, *answers: list[PublishResult] | Awaitable[list[PublishResult]], **by_id: list[PublishResult]
    ) -> None:
        self._answers = iter(answers)
        self._by_id = {event_id.replace("_", "."): iter(outcomes) for event_id, outcomes in by_id.items()}
        self.windows: list[list[EventMessage]] = []
        self.asked = asyncio.Event()

    @property
    def ids(self) -> list[list[str]]:
        """The ids of the events of each window."""
        return [[event.event_id for event in window] for window in self.windows]

    async def tried(self, count: int) -> None:
        """Returns when it has got that many windows."""
        async with asyncio.timeout(5):
            while len(self.windows) < count:
                self.asked.clear()
                await self.asked.wait()

    async def publish(self, events: Sequence[Outgoing]) -> list[PublishResult]:
        self.windows.append([entry.event for entry in events])
        self.asked.set()
        answer = next(self._answers, None)
        if answer is None:
            each = [next(self._by_id.get(entry.event.event_id, iter(())), CONFIRMED) for entry in events]
            if IMPOSSIBLE in each:
                place = each.index(IMPOSSIBLE)
                stuck = events[place].event.subject
                each[place + 1 :] = [
                    HELD if entry.event.subject == stuck else CONFIRMED for entry in events[place + 1 :]
                ]
            closed = next((outcome for outcome in each if outcome == SUSPECT), None)
            return [closed] * len(events) if closed else each
        return answer[: len(events)] if isinstance(answer, list) else await answer


async def fail() -> list[PublishResult]:
    raise KeyError("nobody foresaw this")


@asynccontextmanager
async def relaying(
    folder: Path, broker: Broker, window: int = WINDOW, waiting: Sequence[EventMessage] = (), cut: int = 0
) -> AsyncIterator[tuple[Database, Relay]]:
    """A relay, and what waits for it already, committed in two portions."""
    database = await Database.open(folder / "t.db", SCHEMA)
    await database.write(tune, None)
    for portion in (waiting[:cut], waiting[cut:]):
        await database.write(append, portion)
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


async def until_parked(database: Database, parked: list[tuple[str, str]]) -> None:
    """Returns when these are parked, by their ids and for these reasons."""
    async with asyncio.timeout(5):
        while [tuple(row) for row in await database.read(OUTBOX.parked)] != parked:
            pass


async def empty(database: Database) -> None:
    """Returns when nothing waits any more."""
    await waiting(database, 0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "jittered_backoff", lambda: repeat(0.0))


@settings(max_examples=40, deadline=None)
@given(
    answers=st.lists(st.lists(st.sampled_from([CONFIRMED, OPEN]), min_size=WINDOW, max_size=WINDOW), max_size=8),
    cut=st.integers(0, len(EVENTS)),
)
async def test_a_row_goes_when_confirmed_and_is_published_until_then_in_order(
    answers: list[list[PublishResult]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each window is the oldest that are unconfirmed, as they were appended, whatever was confirmed before."""
    folder, broker = tmp_path_factory.mktemp("outbox"), Broker(*answers)
    async with relaying(folder, broker, waiting=EVENTS, cut=cut) as (database, _):
        await empty(database)
    waiting = EVENTS
    for window, answer in zip(broker.windows, chain(answers, repeat(ALL)), strict=False):
        assert window == waiting[:WINDOW]
        waiting = [pending for pending, outcome in zip_longest(waiting, answer[: len(waiting)]) if outcome != CONFIRMED]
    assert waiting == []


async def test_a_few_events_go_first_after_some_were_not_answered(tmp_path: Path) -> None:
    """A full window again and again would cost a broker that is not ready the more, the more waits; then it grows."""
    sizes = [100, 10, 20, 40, 30]
    answers = [[OPEN] * 100, *([CONFIRMED] * size for size in sizes[1:])]
    events = [EVENTS[0]._replace(event_id=f"order.{number}") for number in range(100)]
    async with relaying(tmp_path, broker := Broker(*answers), window=100) as (database, relay):
        await database.write(append, events)
        relay.notify()
        await empty(database)
    assert [len(window) for window in broker.windows] == sizes


async def test_what_was_nacked_waits_behind_what_was_not_tried_yet(tmp_path: Path) -> None:
    """A queue that is full keeps no event from the others: each of the rest goes once before one comes again."""
    orders = [event(f"order-{number}") for number in range(9)]
    broker = Broker([NACKED] * WINDOW)
    async with relaying(tmp_path, broker, waiting=orders) as (database, _):
        await empty(database)
    first = [window for window in broker.windows if window[0] not in orders[:WINDOW]]
    assert first == [orders[3:6], orders[6:]]
    assert [pending for window in broker.windows for pending in window].count(orders[0]) == 2


async def test_what_is_nacked_for_ever_is_sent_again_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try costs the queues that have room a copy: a few events a try, and each has its turn."""
    pauses = chain(repeat(0.0, 5), repeat(3600.0))
    monkeypatch.setattr(module, "jittered_backoff", lambda: pauses)
    orders = [event(f"order-{number}") for number in range(40)]
    full = {f"{pending.subject}_1": [NACKED] * 99 for pending in orders}
    async with relaying(tmp_path, broker := Broker(**full), window=40, waiting=orders) as (database, _):
        await broker.tried(7)
        assert await database.read(OUTBOX.waiting) == len(orders)
    again = broker.ids[1:7]
    assert [len(window) for window in again] == [10] * 6
    assert len({event_id for window in again[:4] for event_id in window}) == len(orders)


@pytest.mark.parametrize("outcome", [NACKED, RETURNED])
async def test_an_order_with_a_late_event_holds_back_its_own_later_ones_only(
    outcome: PublishResult, tmp_path: Path
) -> None:
    """Events of one order stay in order, whatever is published of others meanwhile."""
    first, other, later, last = event("a", 1), event("b", 1), event("a", 2), event("a", 3)
    gate: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
    broker = Broker([outcome, CONFIRMED], gate)
    async with relaying(tmp_path, broker, waiting=[first, other]) as (database, _):
        await broker.tried(2)
        assert broker.ids == [["a.1", "b.1"], ["a.1"]]
        await database.write(append, [later, last, event("c")])
        gate.set_result([outcome])
        await empty(database)
    order = [event_id for window in broker.ids[2:] for event_id in window]
    assert [event_id for event_id in order if event_id.startswith("a")] == ["a.1", "a.2", "a.3"]
    assert order.index("c.1") < order.index("a.2")


@pytest.mark.parametrize("outcome", [IMPOSSIBLE, SUSPECT])
async def test_what_cant_be_published_is_parked_named_and_blocks_nobody(
    outcome: PublishResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept on disk with the reason, with what comes after it of its order; the others go, also those behind it."""
    events = [event("a"), event("b"), event("bad"), event("c"), event("bad", 2), event("d")]
    async with relaying(tmp_path, broker := Broker(bad_1=[outcome] * 99), 9, events) as (database, _):
        await waiting(database, 2)
        await until_parked(database, [("bad.1", outcome.reason)])
    published = {pending.subject for window in broker.windows for pending in window}
    assert published == {"a", "b", "bad", "c", "d"}
    assert "bad.2" not in {event_id for window in broker.ids for event_id in window[:1]}
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1 and "bad.1" in said[0].message and outcome.reason in said[0].message


async def test_what_is_parked_is_tried_again_at_the_next_start(tmp_path: Path) -> None:
    """By a release that can publish it, say; and what comes after it of its order goes with it, in order."""
    events = [event("bad", number) for number in (1, 2, 3)]
    async with relaying(tmp_path, Broker(bad_1=[IMPOSSIBLE] * 99), waiting=events[:1]) as (database, _):
        await until_parked(database, [("bad.1", IMPOSSIBLE.reason)])
        await database.write(append, events[1:])
    async with relaying(tmp_path, broker := Broker()) as (database, _):
        await empty(database)
    assert [event_id for window in broker.ids for event_id in window] == ["bad.1", "bad.2", "bad.3"]


async def test_what_is_parked_is_tried_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone: it may cost the others their channel."""
    monkeypatch.setattr(module, "_PARKED_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    events = [event("a"), event("bad"), event("b")]
    broker = Broker(bad_1=[SUSPECT] * 5)
    async with relaying(tmp_path, broker, waiting=events) as (database, _):
        await empty(database)
    assert ["bad.1"] in broker.ids[1:]


async def test_what_is_tried_again_waits_for_no_time_of_a_clock_that_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was set right meanwhile: the time it had shown may be a day away."""
    monkeypatch.setattr(module, "now", lambda: now() + 86_400_000_000)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    gate: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
    broker = Broker([NACKED, IMPOSSIBLE], gate)
    async with relaying(tmp_path, broker, waiting=[event("a"), event("b")]) as (database, _):
        await broker.tried(2)
        gate.set_result([NACKED])
        monkeypatch.setattr(module, "now", now)
        await empty(database)


async def test_what_is_parked_for_the_same_reason_goes_as_soon_as_one_of_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A permission was granted, say: nobody waits for a turn of its own then; what has another reason does."""
    monkeypatch.setattr(module, "_PARKED_SECONDS", 600.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    others = [event(f"bad-{number}") for number in (1, 2, 3)]
    another = PublishResult(Fate.IMPOSSIBLE, "it is too large")
    answers = [[IMPOSSIBLE] * WINDOW, [another]]
    async with relaying(tmp_path, broker := Broker(*answers), waiting=others) as (database, _):
        await until_parked(database, [(pending.event_id, IMPOSSIBLE.reason) for pending in others])
        await database.write(append, [event("large")])
        await broker.tried(2)
        await database.write(OUTBOX.put_off, [Late(1, 0, IMPOSSIBLE.reason)])
        await until_parked(database, [("large.1", another.reason)])
    assert broker.ids[2:] == [["bad-1.1"], ["bad-2.1"], ["bad-3.1"]]


async def test_an_exchange_that_is_back_at_the_second_try_parks_nothing(tmp_path: Path) -> None:
    """Deleted by somebody, it is declared again with the next session."""
    broker = Broker(bad_1=[SUSPECT] * 2)
    async with relaying(tmp_path, broker, waiting=[event("a"), event("bad"), event("b")]) as (database, _):
        await empty(database)
        assert not await database.read(OUTBOX.parked)


async def test_a_row_stays_while_the_broker_has_not_answered(tmp_path: Path) -> None:
    """Published is not confirmed: all of a window is there until the answer is."""
    gate: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(gate)) as (database, relay):
        await database.write(append, EVENTS[:2])
        relay.notify()
        await broker.asked.wait()
        assert await database.read(OUTBOX.waiting) == 2
        gate.set_result([CONFIRMED, CONFIRMED])
        await empty(database)


async def test_nothing_is_published_of_a_transaction_that_was_rolled_back(tmp_path: Path) -> None:
    """Its events are gone with it; others of the same batch are published."""
    async with relaying(tmp_path, broker := Broker()) as (database, relay):
        undone, done = database.write(append_and_fail, EVENTS[:1]), database.write(append, EVENTS[1:2])
        await done
        assert isinstance(undone.exception(), ValueError)
        relay.notify()
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
    """A caller that was cancelled during the commit has its event published, and not with the next one."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 3600.0)
    async with relaying(tmp_path, broker := Broker()) as (database, _):
        begun, going = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slowly(connection: Connection, batches: list[Sequence[EventMessage]]) -> list[None]:
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
    monkeypatch.setattr(Relay, "notify", lambda relay: None)
    async with relaying(tmp_path, broker := Broker()) as (database, _):
        await database.write(append, EVENTS[:1])
        await empty(database)
    assert broker.windows == [EVENTS[:1]]


async def test_what_cant_be_removed_is_published_again(tmp_path: Path) -> None:
    """At least once: confirmed events whose rows could not be removed come again, and go when they can."""
    with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:

        async def unlock() -> list[PublishResult]:
            other.close()
            return [CONFIRMED]

        async with relaying(tmp_path, broker := Broker([CONFIRMED], unlock())) as (database, relay):
            await database.write(append, EVENTS[:1])
            other.execute("BEGIN IMMEDIATE")
            relay.notify()
            await empty(database)
    assert broker.windows == [EVENTS[:1]] * 2


async def test_an_event_with_the_number_of_one_that_was_published_is_published_too(tmp_path: Path) -> None:
    """A failover that loses commits gives their numbers again: what is removed is an event, and not a number."""
    gate: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(gate), waiting=[event("lost")]) as (database, _):
        await broker.tried(1)
        await database.write(lose_and_append, [event("next")])
        gate.set_result([CONFIRMED])
        await empty(database)
    assert broker.ids == [["lost.1"], ["next.1"]]


async def test_a_window_of_any_allowed_size_leaves_the_outbox(tmp_path: Path) -> None:
    """100,000 events may be on their way (ORDERSYS_PUBLISH_WINDOW), and every build of SQLite can remove them."""
    async with relaying(tmp_path, Broker()) as (database, _):
        await database.write(append, EVENTS)
        await asyncio.wait([write := database.write(OUTBOX.remove, [(n, f"order.{n}") for n in range(100_000)])])
        assert (write.exception(), await database.read(OUTBOX.waiting)) == (None, 0)


async def test_closing_ends_after_the_window_under_way(tmp_path: Path) -> None:
    """Events on their way are confirmed and removed; no other window is begun."""
    gate: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(gate)) as (database, relay):
        await database.write(append, EVENTS[: WINDOW + 1])
        relay.notify()
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
    silent: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
    async with relaying(tmp_path, broker := Broker(silent)) as (database, relay):
        await database.write(append, EVENTS)
        relay.notify()
        await broker.asked.wait()
        await relay.close()
        relay.notify()
        assert silent.cancelled()
        assert await database.read(OUTBOX.waiting) == len(EVENTS)
    assert len(broker.windows) == 1
