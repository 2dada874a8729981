"""The patterns in examples/minimal keep their promise: whatever dies in between, nothing is lost or done twice."""

import asyncio
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.local.system import System

FOLDER = Path(__file__).parent.parent.parent / "examples" / "minimal"
NAMES = ("outbox", "inbox", "saga", "idempotency", "group_commit")
ALONE = ("saga", "idempotency", "group_commit")
MOST_LINES = 150


def pattern(name: str) -> Any:
    """An example, as a module."""
    return SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py")))


@pytest.fixture
def channel(system: System) -> Iterator[BlockingChannel]:
    """A channel with confirms; what the examples declare is gone afterwards."""
    connection = pika.BlockingConnection(pika.URLParameters(system.amqp_url))
    opened = connection.channel()
    opened.confirm_delivery()
    yield opened
    if opened.is_open:
        for queue in (pattern("outbox").QUEUE, pattern("outbox").DEAD_LETTERS):
            opened.queue_delete(queue)
        opened.exchange_delete(pattern("outbox").EXCHANGE)
    connection.close()


def got(channel: BlockingChannel, queue: str) -> Any:
    """The next message, with its properties."""
    return channel.basic_get(queue, auto_ack=True)


class Dies(Exception):
    """In the place of a crash."""


def test_each_is_one_file_that_a_person_reads_in_a_few_minutes() -> None:
    """A copy needs nothing else of this project."""
    assert {path.stem for path in FOLDER.glob("*.py")} == set(NAMES)
    for name in NAMES:
        source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert source.count("\n") <= MOST_LINES
        assert "ordersys" not in source
        assert "examples.minimal" not in source


@pytest.mark.parametrize("name", ALONE)
def test_it_runs(name: str, tmp_path: Path) -> None:
    """As its docstring says, in any folder."""
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_an_outbox_runs_and_an_inbox_hears_of_it(system: System, channel: BlockingChannel, tmp_path: Path) -> None:
    """Both as their docstrings say."""
    published = subprocess.run(
        [sys.executable, FOLDER / "outbox.py", system.amqp_url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert published.stdout.endswith("published 3 events\n")
    inbox = pattern("inbox")
    db = inbox.database(":memory:")
    for _ in range(3):
        _, properties, body = got(channel, inbox.QUEUE)
        assert inbox.record(db, properties.message_id, body)
    assert got(channel, inbox.QUEUE)[0] is None


def test_a_relay_that_dies_after_a_publish_publishes_again(channel: BlockingChannel, monkeypatch: Any) -> None:
    """At least once, under the same id, and in order."""
    outbox = pattern("outbox")
    db = outbox.database(":memory:")
    outbox.declare(channel)
    orders = [outbox.place(db, item) for item in ("lamp", "desk")]
    publish = channel.basic_publish

    def publish_and_die(*arguments: Any, **named: Any) -> None:
        publish(*arguments, **named)
        raise Dies

    monkeypatch.setattr(channel, "basic_publish", publish_and_die)
    with pytest.raises(Dies):
        outbox.relay(db, channel)
    monkeypatch.undo()
    assert outbox.relay(db, channel) == 2
    assert outbox.relay(db, channel) == 0
    heard = [got(channel, outbox.QUEUE)[1].message_id for _ in range(3)]
    assert heard == [f"{orders[0]}.1", f"{orders[0]}.1", f"{orders[1]}.1"]


def test_an_event_that_no_queue_takes_stays_in_the_outbox(channel: BlockingChannel) -> None:
    """And what comes after it stays behind it."""
    outbox = pattern("outbox")
    db = outbox.database(":memory:")
    outbox.declare(channel)
    channel.queue_unbind(outbox.QUEUE, outbox.EXCHANGE)
    outbox.place(db, "lamp")
    outbox.place(db, "desk")
    assert outbox.relay(db, channel) == 0
    outbox.declare(channel)
    assert outbox.relay(db, channel) == 2


def test_an_order_and_its_event_are_there_together_or_not_at_all() -> None:
    """An exception raised in the transaction, of any kind, leaves neither."""
    outbox = pattern("outbox")
    db = outbox.database(":memory:")
    db.execute("CREATE TRIGGER no BEFORE INSERT ON outbox BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(sqlite3.IntegrityError):
        outbox.place(db, "lamp")
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (0,)


def test_an_event_has_its_effect_once_and_poison_none() -> None:
    """However often it comes."""
    inbox = pattern("inbox")
    db = inbox.database(":memory:")
    body = b'{"item": "lamp"}'
    assert [inbox.record(db, "e1", body), inbox.record(db, "e1", body), inbox.record(db, "e2", body)] == [1, 0, 1]
    assert db.execute("SELECT * FROM sold").fetchall() == [("lamp", 2)]
    for poison in (b"", b"\xff", b"[]", b"{}", b"7"):
        with pytest.raises(inbox.Poison):
            inbox.record(db, "e3", poison)
    with pytest.raises(inbox.Poison):
        inbox.record(db, None, body)


def test_a_saga_in_doubt_keeps_its_stock_until_recovery_knows() -> None:
    """Completed when the order was made, compensated when it was not, each once."""
    saga = pattern("saga")
    db = saga.database(":memory:")
    db.execute("INSERT INTO stock VALUES ('lamp', 2)")
    made: set[str] = set()

    def available() -> int:
        return int(db.execute("SELECT available FROM stock").fetchone()[0])

    def make(order_id: str, item: str, units: int) -> None:
        made.add(order_id)

    def die(order_id: str, item: str, units: int) -> None:
        raise Dies

    def refuse(order_id: str, item: str, units: int) -> None:
        raise saga.Refused

    def doubt(order_id: str, item: str, units: int) -> None:
        raise saga.InDoubt

    for broken, error in ((die, Dies), (doubt, saga.InDoubt)):
        with pytest.raises(error):
            saga.place(db, broken, "lamp", 1)
    assert available() == 0
    with pytest.raises(saga.OutOfStock):
        saga.place(db, make, "lamp", 1)
    assert saga.recover(db, doubt) == 2
    assert (saga.recover(db, make), available(), len(made)) == (0, 0, 2)
    db.execute("UPDATE stock SET available = 1")
    with pytest.raises(saga.Refused):
        saga.place(db, refuse, "lamp", 1)
    assert (saga.recover(db, refuse), available()) == (0, 1)


def test_a_request_has_one_effect_and_one_answer() -> None:
    """A failed one leaves its id unused; another one under a used id is refused."""
    idempotency = pattern("idempotency")
    db = idempotency.database(":memory:")
    request = {"owner": "anna", "cents": 5}

    def fail(*_: object) -> dict[str, Any]:
        raise Dies

    with pytest.raises(Dies):
        idempotency.once(db, "r", request, fail)
    answers = [idempotency.once(db, "r", request, idempotency.deposit) for _ in range(3)]
    assert answers == [{"cents": 5}] * 3
    with pytest.raises(idempotency.RequestIdReused):
        idempotency.once(db, "r", {"owner": "anna", "cents": 6}, idempotency.deposit)
    assert not db.in_transaction
    idempotency.purge(db)
    assert idempotency.once(db, "r", request, idempotency.deposit) == {"cents": 5}


async def test_writes_share_commits_and_one_harms_no_other(tmp_path: Path) -> None:
    """Each is on disk when it is answered."""
    path = str(tmp_path / "entries.db")
    entries = pattern("group_commit").GroupCommit(path, "INSERT INTO entries (text) VALUES (?)")
    texts = [f"entry {number}" for number in range(50)] + [""]
    results = await asyncio.gather(*(entries.write((text,)) for text in texts), return_exceptions=True)
    assert results[:50] == [None] * 50
    assert isinstance(results[50], sqlite3.IntegrityError)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM entries").fetchone() == (50,)
    await asyncio.gather(*(entries.write((text,)) for text in texts[:50]))
    assert entries.commits < 60
    await entries.close()
