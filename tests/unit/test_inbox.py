"""The inbox of a notification service, and what it has done with each event."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordersys.api.notification.v1.dead_letter_service_pb2 import ReplayDeadLettersRequest, ReplayDeadLettersResponse
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_events_pb2 import OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.errors import StatusError
from ordersys.contract.events import Event
from ordersys.notification_service import requests
from ordersys.notification_service.inbox import DEAD_LETTERS, Inbox, Recording, Rendered, schema
from ordersys.notification_service.recorder import Recorder
from ordersys.runtime.base.ids import now
from ordersys.runtime.idempotency import success
from ordersys.runtime.rabbitmq.consumer import Disposition
from ordersys.runtime.rabbitmq.messages import AmqpDelivery
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.errors import StorageUnavailable

UPDATED = OrderUpdated.DESCRIPTOR.full_name
INBOX = Inbox("tests")
ID = "01890000-0000-7000-8000-000000000001"
ALL = ListNotificationsRequest()
ORDERS = st.sampled_from(["one", "two"])


def event(event_id: str, version: int = 1, order_id: str = "one", type_: str = UPDATED) -> Event:
    message = OrderUpdated(order=Order(id=order_id, version=version))
    return Event(event_id, type_, order_id, version, message, message.SerializeToString())


def told(event_id: str, version: int = 1, order_id: str = "one", text: str = "text") -> Rendered:
    return Rendered(event(event_id, version, order_id), text)


async def recorded(database: Database, query: ListNotificationsRequest = ALL) -> list[Notification]:
    return await database.read(INBOX.page, query, 0, 1000)


@asynccontextmanager
async def fresh(factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    """A new database whose writer waits for no other connection."""
    database = await Database.open(factory.mktemp("inbox") / "t.db", schema("tests"))
    await database.write(lambda connection, _: [connection.exec_driver_sql("PRAGMA busy_timeout = 1").rowcount], None)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    """A new database."""
    async with fresh(tmp_path_factory) as opened:
        yield opened


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 2)), max_size=5), max_size=4))
async def test_an_event_is_recorded_once_and_no_other_under_its_id(
    batches: list[list[tuple[str, int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first by an id is recorded; the same again is repeated, another body conflicts, in a batch and across."""
    async with fresh(tmp_path_factory) as database:
        answers = [await database.write(INBOX.record, [told(*arguments) for arguments in batch]) for batch in batches]
        log = await recorded(database)
    first: dict[str, int] = {}
    for (event_id, version), recording in zip(chain(*batches), chain(*answers), strict=True):
        again = Recording.REPEATED if first.get(event_id) == version else Recording.CONFLICTING
        assert (recording is again) == (event_id in first)
        first.setdefault(event_id, version)
    assert [(entry.event_id, entry.version) for entry in log] == list(first.items())


@settings(max_examples=40, deadline=None)
@given(
    arrivals=st.lists(st.tuples(ORDERS, st.integers(0, 6)), max_size=12),
    cut=st.integers(0, 12),
)
async def test_late_are_those_below_the_newest_version_of_their_order_so_far(
    arrivals: list[tuple[str, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any order of arrival, in a batch and across, gives the same; a late one is recorded, and marked."""
    events = [told(str(number), version, order_id) for number, (order_id, version) in enumerate(arrivals)]
    async with fresh(tmp_path_factory) as database:
        answers = [await database.write(INBOX.record, batch) for batch in (events[:cut], events[cut:])]
        log = await recorded(database)
    newest: dict[str, int] = {}
    for (order_id, version), recording, entry in zip(arrivals, chain(*answers), log, strict=True):
        late = version < newest.get(order_id, 0)
        newest[order_id] = max(version, newest.get(order_id, 0))
        assert (entry.order_id, entry.version, entry.late) == (order_id, version, late)
        assert recording is (Recording.LATE if late else Recording.NEW)


async def test_each_consumer_has_records_of_its_own(database: Database) -> None:
    """The same event is new to each, and each reads only what it recorded."""
    other = Inbox("other")
    for inbox in (INBOX, other):
        assert await database.write(inbox.record, [told("a")]) == [Recording.NEW]
    assert len(await recorded(database)) == len(await database.read(other.page, ALL, 0, 1000)) == 1


@pytest.mark.parametrize("text", ["", "\r\n{}", "\x00 \x1b[31m", "\u202e\u2028", "🦀" * 1000, "%s %d {0}"])
async def test_whatever_is_told_is_recorded_as_it_is(database: Database, text: str) -> None:
    """Text and event come back to the letter and the byte."""
    await database.write(INBOX.record, [told("a", text=text)])
    (entry,) = await recorded(database)
    assert (entry.text, entry.event.value) == (text, event("a").body)
    assert entry.event.Is(OrderUpdated.DESCRIPTOR)


@settings(max_examples=30, deadline=None)
@given(owners=st.lists(ORDERS, max_size=12), size=st.integers(1, 13), wanted=st.sampled_from(["", "one", "two"]))
async def test_pages_cover_all_once_in_the_order_of_recording(
    owners: list[str], size: int, wanted: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each goes on after the last entry of the one before, whatever the size; of one order, or of all."""
    query, seen, after = ListNotificationsRequest(order_id=wanted), list[str](), 0
    async with fresh(tmp_path_factory) as database:
        await database.write(INBOX.record, [told(str(number), 1, owner) for number, owner in enumerate(owners)])
        while page := await database.read(INBOX.page, query, after, size):
            assert len(page) <= size
            seen += [entry.event_id for entry in page]
            after = page[-1].sequence
    assert seen == [str(number) for number, owner in enumerate(owners) if wanted in ("", owner)]


def word(message: OrderUpdated) -> str:
    """A handler that fails on one order."""
    if message.order.id == "broken":
        raise KeyError("a bug of the handler")
    return f"order {message.order.id}"


async def test_each_event_of_a_batch_has_a_disposition_of_its_own(database: Database) -> None:
    """An unknown type and a forgery are dead letters, a handler's failure comes again, the rest is recorded."""
    recorder = Recorder(database, INBOX, {UPDATED: word})
    batch = [
        event("unknown", type_="ordersys.api.order.v1.OrderVanished"),
        event("fails", order_id="broken"),
        event("new", 2),
        event("late", 1),
        event("new", 2),
        event("new", 3),
    ]
    dead, again, done = Disposition.DEAD_LETTER, Disposition.RETURN, Disposition.ACK
    assert await recorder.record(batch) == [dead, again, done, done, done, dead]
    assert [(n.event_id, n.text, n.late) for n in await recorded(database)] == [
        ("new", "order one", False),
        ("late", "order one", True),
    ]


async def test_nothing_is_disposed_of_that_could_not_be_recorded(database: Database) -> None:
    """While the database can't be written the batch is refused as a whole; dead letters alone wait for nothing."""
    recorder = Recorder(database, INBOX, {UPDATED: word})
    dead_letter = event("dead", type_="ordersys.api.order.v1.OrderVanished")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            await recorder.record([event("a"), dead_letter])
        assert await recorder.record([dead_letter]) == [Disposition.DEAD_LETTER]
    assert await recorder.record([event("a")]) == [Disposition.ACK]


VERSION_1 = """
CREATE TABLE schema_version (
    owner VARCHAR(64) NOT NULL, version INTEGER NOT NULL, touch_time BIGINT NOT NULL, PRIMARY KEY (owner)
);
CREATE TABLE notifications (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, consumer VARCHAR(64) NOT NULL, event_id VARCHAR(255) NOT NULL,
    type VARCHAR(255) NOT NULL, order_id VARCHAR(64) NOT NULL, version BIGINT NOT NULL, late BOOLEAN NOT NULL,
    text TEXT NOT NULL, record_time BIGINT NOT NULL, body BLOB NOT NULL, UNIQUE (consumer, event_id)
);
CREATE INDEX notifications_by_order ON notifications (consumer, order_id, version);
INSERT INTO schema_version VALUES ('tests', 1, 0);
INSERT INTO notifications VALUES (7, 'tests', 'e', 'ordersys.api.order.v1.OrderUpdated', 'one', 1, 0, 'old', 0, x'');
"""


async def test_a_database_of_version_1_is_upgraded_with_all_it_has(tmp_path: Path) -> None:
    """Its records stay, requests are remembered from now on, and nothing is upgraded twice."""
    file = tmp_path / "t.db"
    with closing(sqlite3.connect(file)) as old:
        old.executescript(VERSION_1)
    for _ in range(2):
        database = await Database.open(file, schema("tests"))
        (kept,) = await recorded(database)
        assert (kept.sequence, kept.text) == (7, "old")
        request = ReplayDeadLettersRequest(request_id=ID, dead_letter_ids=["0" * 32])
        await database.write(requests.remember, requests.Done(request, success(ReplayDeadLettersResponse())))
        assert await database.read(requests.outcome, request) == success(ReplayDeadLettersResponse())
        await database.write(requests.purge, now() + 1)
        await database.close()


VERSION_2 = (
    VERSION_1
    + """
CREATE TABLE requests (
    request_id VARCHAR(36) NOT NULL, fingerprint BLOB NOT NULL, subject VARCHAR(64) NOT NULL, code SMALLINT,
    body BLOB, time BIGINT NOT NULL, PRIMARY KEY (request_id)
);
CREATE INDEX requests_by_time ON requests (time);
UPDATE schema_version SET version = 2;
INSERT INTO requests
VALUES ('01890000-0000-7000-8000-000000000001', x'00112233445566778899aabbccddeeff', 'R', 0, x'', 0);
"""
)


async def test_a_database_of_version_2_keeps_dead_letters_from_now_on(tmp_path: Path) -> None:
    """Its records and its requests stay."""
    file = tmp_path / "t.db"
    with closing(sqlite3.connect(file)) as old:
        old.executescript(VERSION_2)
    database = await Database.open(file, schema("tests"))
    (kept,) = await recorded(database)
    assert (kept.sequence, kept.text) == (7, "old")
    other = ReplayDeadLettersRequest(request_id=ID, dead_letter_ids=["0" * 32])
    with pytest.raises(StatusError):
        await database.read(requests.outcome, other)
    dead = AmqpDelivery("id", None, None, b"body", properties=b"\0\0")
    await database.write(DEAD_LETTERS.keep, [dead])
    ((letter,), _) = await database.read(DEAD_LETTERS.page, 0, 10)
    assert letter.delivery.body == b"body"
    await database.close()


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
async def test_an_old_database_gets_the_tables_a_new_one_has(tmp_path: Path, version: str) -> None:
    """To the column and the index."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with closing(sqlite3.connect(old)) as first:
        first.executescript(version)
    for file in (old, new):
        await (await Database.open(file, schema("tests"))).close()
    assert _layout(old) == _layout(new)


def _layout(file: Path) -> dict[str, list[object]]:
    with closing(sqlite3.connect(file)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")]
        return {
            name: [*database.execute(f"PRAGMA table_info({name})"), *database.execute(f"PRAGMA index_info({name})")]
            for name in sorted(names)
        }
