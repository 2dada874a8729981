"""The view on the terminal: what is drawn from a document and a size, from the logs, and on which terminals at all."""

import asyncio
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.text import Text

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter
from ordersys.contract.topology import subscriptions
from ordersys.live.board import Board
from ordersys.live.drawing import Size, State, lines
from ordersys.live.graph import graph
from ordersys.live.ledger import Ledger
from ordersys.live.log_warnings import LogWarnings, Warned
from ordersys.live.snapshot import Broker, Depth, Facts, Letters, Process, document
from ordersys.live.terminal import _View
from ordersys.local import terminal_view

HOSTILE = "\x1b]0;owned\x07[bold]x[/bold]\u202e\n\t漢字"
NOW = 1_700_000_000.0
WIDE = Size(120, 40)


def facts() -> Facts:
    """A system at work, of which the Order Service is away."""
    subscribed = subscriptions()
    read = Facts(graph(), subscribed, Ledger(subscribed), "ordersys")
    names = ("product-service", "order-service", "notification-service-1", "notification-service-2")
    healths = ("SERVING", "does not answer", "SERVING", "SERVING")
    read.processes = {
        (name, HOSTILE): Process(name, HOSTILE, health, 0) for name, health in zip(names, healths, strict=True)
    }
    depths = {s.queue: Depth(1234, 1) for s in subscribed} | {s.dead_letter_queue: Depth(0, 1) for s in subscribed}
    read.broker = Broker("up", "", depths)
    return read


def event(number: int, **changes: Any) -> dict[str, Any]:
    """An event as the document has it."""
    plain = {"id": f"{number}", "kind": "OrderCreated", "order": f"0000{number:08}", "version": 1, "customer": "anna"}
    heard = {"heard": {"notification-service-1": 0}, "missing": ["notification-service-2"]}
    return {**plain, "text": "", "late": False, **heard, **changes}


def drawn(size: Size = WIDE, state: State | None = None, encoding: str = "utf-8", **sections: Any) -> Sequence[Text]:
    """The lines for a document with these sections in the place of its own."""
    return lines({**document(facts(), 0), **sections}, state or State(), NOW, size, encoding)


def text(shown: Sequence[Text]) -> str:
    """The lines without their colours."""
    return "\n".join(line.plain for line in shown)


def row(shown: Sequence[Text], name: str) -> str:
    """The line of that name."""
    return next(line.plain for line in shown if name in line.plain[:30])


def test_services_queues_events_and_warnings_are_shown() -> None:
    """A sign or a word says whatever colour says."""
    state = State([Warned(NOW, "order_service", "the disk is full")])
    shown = drawn(state=state, events=[event(5)], outboxes={"product_service": {"events": 3, "age": 12.0}})
    assert row(shown, "product-service").startswith("✓ product-service")
    assert "serving" in row(shown, "product-service") and "3 12s" in row(shown, "product-service")
    assert row(shown, "order-service").startswith("✗ order-service") and "does not answer" in text(shown)
    queue = subscriptions()[0].queue
    assert row(shown, queue).split() == ["!", queue, "1,234", "?", "1"]
    assert "OrderCreated" in text(shown) and "00000005" in text(shown) and "✓1 …2" in text(shown)
    assert "order_service: the disk is full" in text(shown)
    assert "Waiting" in shown[0].plain and "order-service" in shown[0].plain
    assert "q quit" in shown[-1].plain


@pytest.mark.parametrize(
    ("has_more", "waiting", "expected"), [(False, 0, "2 1"), (True, 0, "2+ 1"), (False, 7, "2 1 7 dead to take over")]
)
def test_dead_letters_are_those_that_the_subscriber_keeps(has_more: bool, waiting: int, expected: str) -> None:
    """As `status` counts them; their queue is empty once it has taken them over, and is told only where it is not."""
    read, subscribed = facts(), subscriptions()[0]
    read.letters = {subscribed.consumer: Letters([DeadLetter(id="a"), DeadLetter(id="b")], has_more, 0)}
    read.broker = Broker("up", "", {**read.broker.depths, subscribed.dead_letter_queue: Depth(waiting, 1)})
    shown = lines(document(read, 0), State(), NOW, WIDE)
    assert row(shown, subscribed.queue).split() == ["!", subscribed.queue, "1,234", *expected.split()]


def test_a_broker_that_is_away_hides_depths_that_were_known() -> None:
    """They may be others by now; the dead letters that a subscriber keeps are not in it."""
    letters = [{"consumer": s.consumer, "letters": [{}] * 5, "more": False, "listed": 0} for s in subscriptions()]
    shown = drawn(broker={"state": "away", "reason": "it is silent", "queues": {}}, letters=letters)
    assert row(shown, subscriptions()[0].queue).split()[-2:] == ["?", "5"]
    assert row(shown, "rabbitmq").startswith("✗ rabbitmq") and "it is silent" in text(shown)
    assert "1,234" not in text(shown)


@pytest.mark.parametrize("columns", [1, 2, 20, 33, 79, 80, 250])
@pytest.mark.parametrize("rows", [1, 2, 5, 13, 24, 60])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso8859-1"])
def test_it_fits_whatever_the_size(columns: int, rows: int, encoding: str) -> None:
    """No line is wider or lower than the terminal, or has what commands it, whoever wrote it."""
    bad = [Warned(NOW, HOSTILE, HOSTILE * 30)] * 60
    trouble = [{"source": HOSTILE, "reason": HOSTILE}]
    events = [event(number, kind=HOSTILE, customer=HOSTILE, order=HOSTILE) for number in range(100)]
    shown = drawn(Size(columns, rows), State(bad, link=HOSTILE), encoding, events=events, troubles=trouble)
    assert 1 <= len(shown) <= rows
    for line in shown:
        assert cell_len(line.plain) <= columns
        assert line.plain.isprintable()
        line.plain.encode(encoding)


def test_what_is_not_known_says_why() -> None:
    """As that a log is not read to its end; the verdict of before does not stay."""
    reason = "the log of notification-service-2 is not read to its end yet"
    checks = {"verdict": "unknown", "checks": [{"subject": "orders", "verdict": "unknown", "sentence": reason}]}
    head = drawn(checks=checks, services=[])[0].plain
    assert "Not known" in head and reason in head


def test_a_tiny_terminal_shows_first_whether_services_work() -> None:
    """And how to leave."""
    shown = drawn(Size(20, 5))
    assert len(shown) == 5
    assert "✓ product-service" in text(shown)
    assert shown[-1].plain.startswith("q quit")


def test_many_events_leave_room_for_warnings_and_many_warnings_for_events() -> None:
    """The newest of both."""
    events = [event(number) for number in range(100)]
    warnings = [Warned(NOW + number, "order_service", f"warning {number}.") for number in range(50)]
    shown = text(drawn(Size(100, 30), State(warnings), events=events))
    assert "warning 49." in shown and "warning 0." not in shown
    assert "00000000" in shown and "00000099" not in shown


def test_nothing_known_yet_is_drawn_as_that() -> None:
    """Before the first answer there is no section at all."""
    assert "Not known" in text(lines({}, State(), NOW, WIDE))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State(is_paused=True), "p go on"),
        (State(shows_link=True), "--live"),
        (State(shows_link=True, link="http://127.0.0.1:1/#key=x"), "http://127.0.0.1:1/#key=x"),
        (State(is_launched=True), "Ctrl-C stop everything"),
    ],
)
def test_the_last_line_says_what_can_be_done(state: State, expected: str) -> None:
    """By the state it is in."""
    assert expected in drawn(state=state)[-1].plain


def entry(level: str, message: str, at: str = "2026-01-02T03:04:05.678+00:00") -> str:
    """A line of a log."""
    return json.dumps({"time": at, "level": level, "service": "x", "message": message})


def test_warnings_are_read_on_from_the_logs(tmp_path: Path) -> None:
    """Those of this run alone; what is no line of ours is passed over, and half a line is read when it is whole."""
    log = tmp_path / "order_service.log"
    odd = ["Traceback", "[]", '{"level": "error"}', '{"level": "error", "time": 5, "message": "x"}', "\xff" * 9]
    old = entry("error", "before", "2020-01-01T00:00:00.000+00:00")
    first = [*odd, old, entry("info", "quiet"), entry("warning", "one")]
    log.write_text("\n".join(first) + "\n" + entry("error", "two")[:20], encoding="utf-8")
    warnings = LogWarnings(tmp_path, since=1_600_000_000.0 + 1e8)
    assert [warned.text for warned in warnings.newest()] == ["one"]
    with log.open("a", encoding="utf-8") as more:
        more.write(entry("error", "two")[20:] + "\n")
    assert [(warned.source, warned.text) for warned in warnings.newest()][1:] == [("order_service", "two")]
    log.write_text(entry("critical", "anew") + "\n", encoding="utf-8")
    assert [warned.text for warned in warnings.newest()] == ["one", "two", "anew"]


def test_a_log_that_grows_without_end_is_read_at_its_end(tmp_path: Path) -> None:
    """And costs no more memory than is shown."""
    log = tmp_path / "order_service.log"
    log.write_text("\n".join(entry("error", f"{number}") for number in range(5000)) + "\n", encoding="utf-8")
    newest = LogWarnings(tmp_path, 0.0).newest()
    assert len(newest) == 50
    assert newest[-1].text == "4999"
    log.unlink()
    os.mkfifo(log)
    assert len(LogWarnings(tmp_path, 0.0).newest()) == 0


@pytest.mark.parametrize(
    ("term", "terminals", "is_foreground", "expected"),
    [
        ("xterm-256color", {0, 1, 2}, True, True),
        ("xterm-256color", {0, 1, 2}, False, False),
        ("xterm-256color", {0, 2}, True, False),
        ("xterm-256color", {1, 2}, True, False),
        ("xterm-256color", {0, 1}, True, False),
        ("dumb", {0, 1, 2}, True, False),
        ("", {0, 1, 2}, True, False),
        ("linux", {0, 1, 2}, True, False),
    ],
)
def test_it_is_shown_where_a_person_sits_at_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, term: str, terminals: set[int], is_foreground: bool, expected: bool
) -> None:
    """In its foreground, with all three descriptors, and with another screen to give."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(os, "isatty", lambda number: number in terminals)
    monkeypatch.setattr(os, "tcgetpgrp", lambda number: os.getpgrp() if is_foreground else 1)
    assert terminal_view.can_show() is expected


STOPPED = """
import select
import sys
from ordersys.live.screen import Screen
screen = Screen()
screen.take()
print("taken", flush=True)
takes = select.poll()
takes.register(1, select.POLLOUT)
while takes.poll(0):  # until the key has stopped it
    pass
screen.give_back()
"""


def test_a_terminal_that_was_stopped_is_given_back_as_well() -> None:
    """Ctrl-S, then `q`: the other screen is left, and the cursor is there."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen([sys.executable, "-c", STOPPED], stdin=theirs, stdout=theirs) as process:
            written = b""
            while b"taken\r\n" not in written:  # whole: the key would keep the rest from coming
                written += os.read(ours, 10_000)
            os.write(ours, b"\x13")
            assert process.wait(60) == 0
        assert b"\x1b[?1049l" in os.read(ours, 10_000)
    finally:
        os.close(ours)
        os.close(theirs)


HUGE = """
import asyncio
from types import SimpleNamespace
from ordersys.console import output
from ordersys.live import terminal
from ordersys.live.board import Board
sources = SimpleNamespace(run=asyncio.Event().wait)
terminal.look = lambda data_dir: SimpleNamespace(board=Board(), folder="", sources=sources)
output.finish("view", lambda: asyncio.run(terminal.shown(None, None)))
"""


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_signal_ends_a_frame_that_its_terminal_does_not_take_whole(is_stopped: bool) -> None:
    """Ctrl-S in the midst of it, or nobody reads it any more: a single signal is enough, and its modes are as before.

    Where it takes something again the other screen is left.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 250, 1000, 0, 0))  # more than it holds by itself
    before = termios.tcgetattr(theirs)
    # Without a buffer Python would take a frame that was written in part for written.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", HUGE],
        stdin=theirs,
        stdout=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else starts a session
    )
    try:
        written = read_until(ours, lambda written: b"ordersys" in written)
        if is_stopped:
            os.write(ours, b"\x13")
        time.sleep(0.2)  # until it waits in the midst of the frame
        process.terminate()
        if is_stopped:
            written = read_until(ours, lambda written: b"\x1b[?1049l" in written)
            assert b"\x1b[?1049l\x1b[?25h" in written
        assert process.wait(30) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def read_until(terminal: int, is_enough: Callable[[bytes], bool]) -> bytes:
    """Reads no more than that, little at a time."""
    written = b""
    while not is_enough(written):
        assert select.select([terminal], [], [], 30)[0], f"nothing more came behind {written[-200:]!r}"
        written += os.read(terminal, 1000)
    return written


async def test_a_view_ends_by_the_signal_to_quit() -> None:
    """Ctrl-\\ would end it without giving the terminal back."""
    view = _View(SimpleNamespace(board=Board(), folder=""), None)  # type: ignore[arg-type]
    with view._signals():
        signal.raise_signal(signal.SIGQUIT)
        async with asyncio.timeout(10):
            await view._wanted.wait()
    assert view._is_over
    for number in (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP, signal.SIGQUIT):
        asyncio.get_running_loop().remove_signal_handler(number)
