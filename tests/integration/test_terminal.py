"""The view on a terminal, of the real system on a real one: what is shown, and what is left behind however it ends."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest

from ordersys.local.choices import SERVICES
from tests.integration.api import Api, eventually
from tests.integration.conftest import skip_without_rabbitmq
from tests.integration.place import Place
from tests.running import rolling

pytestmark = pytest.mark.timeout(300)
LONG = 90.0
TAKEN, LEFT, HOME = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[H"
COMMAND = re.compile(rb"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)")
COLOUR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7])(?:;[0-9;]*)?m")


class Terminal:
    """A terminal, a system that runs in it, and everything that was written to it."""

    def __init__(self, command: Sequence[str], columns: int, rows: int, environment: Mapping[str, str]) -> None:
        self.parent, self._child = pty.openpty()
        self.written = b""
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._child)
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=self._child,
            stdout=self._child,
            stderr=self._child,
            env={**os.environ, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else starts a session
        )
        self._is_read = threading.Event()
        self._is_read.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):
            while octets := os.read(self.parent, 65_536):
                self.written += octets
                self._is_read.wait()

    def close(self) -> None:
        """Ends whatever runs in it."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(LONG)
        finally:
            self.process.kill()
            self._is_read.set()
            os.close(self._child)
            os.close(self.parent)

    def fill(self) -> None:
        """Has nobody read it any more, and leaves no room in it."""
        self._is_read.clear()
        device = os.open(os.ttyname(self._child), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            while select.select([], [device], [], 2.0)[1]:
                with suppress(BlockingIOError):
                    os.write(device, b"x" * 1000)
        finally:
            os.close(device)

    def resize(self, columns: int, rows: int) -> None:
        """Has it another size."""
        fcntl.ioctl(self._child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Has somebody type."""
        os.write(self.parent, keys)

    @property
    def frame(self) -> Sequence[str]:
        """The lines of the last frame that was written whole; none where the view is not shown."""
        start = self.written.rpartition(TAKEN)[2]
        if LEFT in start or TAKEN not in self.written or start.count(HOME) < 2:
            return []
        return COMMAND.sub(b"", start.split(HOME)[-2]).decode().splitlines()

    def until(self, wanted: Callable[[str], object]) -> None:
        """Waits for a frame."""
        eventually(lambda: wanted("\n".join(self.frame)), LONG)

    def until_said(self, text: str) -> None:
        """Waits for a line that is printed beside the view."""
        eventually(lambda: text in self.said, LONG)

    @property
    def said(self) -> str:
        """Everything that is on it when the view is not: what was written on its other screen is gone."""
        without = re.sub(rb"\x1b\[\?1049h.*?(\x1b\[\?1049l|$)", b"", self.written, flags=re.DOTALL)
        return COMMAND.sub(b"", without).decode()

    @property
    def is_sane(self) -> bool:
        """True where it is as it was: its modes, its screen, its cursor."""
        last_cursor = max(self.written.rfind(b"\x1b[?25h"), 0)
        return (
            termios.tcgetattr(self._child) == self.before
            and self.written.rfind(LEFT) >= self.written.rfind(TAKEN)
            and last_cursor >= self.written.rfind(b"\x1b[?25l")
        )

    def child(self, word: str) -> psutil.Process:
        """The process that it has started with this word in its command line."""
        (child,) = [p for p in psutil.Process(self.process.pid).children(recursive=True) if word in p.cmdline()]
        return child

    @property
    def view(self) -> psutil.Process:
        """The process of the view."""
        return self.child("--terminal")

    def end(self) -> int:
        """Has it end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG)


@contextmanager
def terminal(command: Sequence[str], columns: int = 100, rows: int = 30, **environment: str) -> Iterator[Terminal]:
    """A command in a terminal."""
    skip_without_rabbitmq()
    opened = Terminal(command, columns, rows, environment)
    try:
        yield opened
    finally:
        opened.close()


def local(folder: Path, *arguments: str) -> Sequence[str]:
    """The command of a system, which boots a broker of its own where it is given none."""
    return ["ordersys.local", "--data-dir", str(folder / "d"), "--insecure", *arguments]


def at(place: Place) -> Sequence[str]:
    """The arguments that give it a broker, which is none of its processes."""
    return ["--amqp-url", place.url_of_guest]


def addresses(said: str) -> Mapping[str, str]:
    """Those that it prints for other shells."""
    return dict(line.strip().removeprefix("export ").split("=", 1) for line in said.splitlines() if " export " in line)


def has(api: Api, order: str) -> bool:
    """True where the order is told; its service may be starting still."""
    try:
        return api.order(order).id == order
    except grpc.RpcError:
        return False


def all_serve(frame: str) -> bool:
    """True where all four services are well."""
    return len(re.findall(r"✓ (?:product|order|notification)\S* +serving", frame)) == 4


def test_it_shows_what_happens_and_q_leaves_the_system_running(tmp_path: Path, place: Place) -> None:
    """Without a colour where nobody wants one; in any size; what is said meanwhile stands below the addresses."""
    with terminal(local(tmp_path, *at(place)), NO_COLOR="1") as shown:
        shown.until(all_serve)
        with Api(addresses(shown.said)) as api:
            order = api.place({"paper-a4": 1}).id
            shown.until(lambda frame: f"{order[-8:]}" in frame and "✓1 ✓2" in frame)
            assert not COLOUR.search(shown.written.partition(TAKEN)[2])
            shown.press(b"p")
            shown.until(lambda frame: "paused" in frame)
            later = api.place({"paper-a4": 1}).id
            shown.press(b"o")
            shown.until(lambda frame: "--live" in frame)
            assert later[-8:] not in "\n".join(shown.frame)
            shown.press(b"po")
            shown.until(lambda frame: later[-8:] in frame)
            shown.resize(20, 5)
            shown.until(lambda frame: len(frame.splitlines()) == 5 and "✓ product-service" in frame)
            shown.resize(60, 18)
            shown.until(lambda frame: len(frame.splitlines()) == 18)
            shown.child("ordersys.order_service").kill()
            shown.until(lambda frame: "order_service ended" in frame)
            view = shown.view
            shown.press(b"q")
            shown.until_said("everything runs on")
            assert shown.is_sane
            assert not view.is_running()
            assert "order_service ended with status" in shown.said.partition("Ctrl-C stops everything.")[2]
            eventually(lambda: has(api, order), LONG)
        assert shown.end() == 0
        assert shown.said.rstrip().endswith("stopping")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_however_it_is_stopped_the_terminal_is_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    """The addresses stand there still; Ctrl-C as a key, which comes to the view as well."""
    with terminal(local(tmp_path), columns=20, rows=5) as shown:
        shown.until(lambda frame: "✓ product-service" in frame)
        view = shown.view
        if number == signal.SIGINT:
            shown.press(b"\x03")
        else:
            shown.process.send_signal(number)
        assert shown.process.wait(LONG) == 0
        assert shown.is_sane
        assert not view.is_running()
        assert len(addresses(shown.said)) == 5
        assert shown.said.rstrip().endswith("stopping")


def test_a_view_that_is_killed_is_one_line_and_the_system_goes_on(tmp_path: Path, place: Place) -> None:
    """It had no time to give the terminal back."""
    with terminal(local(tmp_path, *at(place))) as shown:
        shown.until(all_serve)
        shown.view.kill()
        shown.until_said("everything runs on")
        assert shown.is_sane
        (line,) = shown.said.partition("Running; Ctrl-C stops everything.")[2].split("\r\n")[1:-1]
        assert line.startswith("the view has ended (")
        with Api(addresses(shown.said)) as api:
            api.place({"paper-a4": 1})
        assert shown.end() == 0


def test_a_view_that_dies_while_processes_are_restarted_is_told_of_at_once(tmp_path: Path, place: Place) -> None:
    """A process that does not end has its restart take half a minute: the terminal is given back long before."""
    with terminal(local(tmp_path, *at(place))) as shown:
        shown.until(all_serve)
        services = [shown.child(f"ordersys.{module}") for module in SERVICES]
        for service in services:
            service.suspend()
        with rolling(tmp_path / "d") as roll:
            shown.until(lambda frame: "restarting" in frame)
            shown.view.kill()
            shown.until_said("everything runs on")
            assert shown.is_sane
            assert shown.said.count("restarting") == 1  # the first of them still
            for service in services:
                service.resume()
            assert roll.wait(LONG) == 0
        assert shown.end() == 0


def test_a_view_that_hangs_keeps_no_system_from_ending(tmp_path: Path) -> None:
    """Nor does it keep the terminal."""
    with terminal(local(tmp_path)) as shown:
        shown.until(all_serve)
        view = shown.view
        view.suspend()
        assert shown.end() == 0
        assert shown.is_sane
        assert not view.is_running()


@pytest.mark.parametrize("arguments", [["--plain"], []])
@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_terminal_that_takes_nothing_keeps_no_system_from_ending(
    tmp_path: Path, arguments: list[str], is_stopped: bool
) -> None:
    """Somebody has stopped it (Ctrl-S), or nobody reads it; the view, which hangs as well, has not given it back."""
    with terminal(local(tmp_path, *arguments)) as shown:
        if arguments:
            shown.until_said("Running; Ctrl-C stops everything.")
        else:
            shown.until(all_serve)
            shown.view.suspend()
        if is_stopped:
            shown.press(b"\x13")
        else:
            shown.fill()
        started = psutil.Process(shown.process.pid).children(recursive=True)
        shown.process.send_signal(signal.SIGTERM)
        assert shown.process.wait(LONG) == 0
        assert not psutil.wait_procs(started, LONG)[1]
        if is_stopped and not arguments:
            eventually(lambda: shown.is_sane, LONG)


def test_a_terminal_that_takes_nothing_keeps_nobody_from_starting_services_again(tmp_path: Path, place: Place) -> None:
    """The lines about it wait for a reader."""
    with terminal(local(tmp_path, "--plain", *at(place))) as shown:
        shown.until_said("Running; Ctrl-C stops everything.")
        shown.press(b"\x13")
        for _ in range(2):
            service = shown.child("ordersys.order_service")
            service.kill()
            eventually(lambda service=service: not service.is_running(), LONG)  # type: ignore[misc]
            eventually(lambda: is_there(shown, "ordersys.order_service"), LONG)
        shown.press(b"\x11")
        eventually(lambda: shown.said.count("order_service ended with status -9") == 2, LONG)
        assert shown.end() == 0


def is_there(shown: Terminal, word: str) -> bool:
    """True where it has started a process with this word in its command line."""
    try:
        return shown.child(word).is_running()
    except (ValueError, psutil.Error):
        return False


def test_a_launcher_that_is_killed_takes_its_view_with_it(tmp_path: Path, place: Place) -> None:
    """The view gives the terminal back."""
    with terminal(local(tmp_path, *at(place))) as shown:
        shown.until(all_serve)
        view = shown.view
        shown.process.kill()
        view.wait(LONG)
        eventually(lambda: shown.is_sane, LONG)


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(tmp_path: Path, place: Place) -> None:
    """As a shell stops a job, and has it go on in the foreground."""
    with terminal(local(tmp_path, *at(place))) as shown:
        shown.until(all_serve)
        launcher, view = psutil.Process(shown.process.pid), shown.view
        for _ in range(2):
            shown.press(b"\x1a")
            eventually(lambda: launcher.status() == psutil.STATUS_STOPPED, LONG)
            assert view.status() == psutil.STATUS_STOPPED
            eventually(lambda: shown.is_sane, LONG)
            os.killpg(shown.process.pid, signal.SIGCONT)
            shown.until(all_serve)
        shown.press(b"\x03")
        assert shown.process.wait(LONG) == 0
        assert shown.is_sane


@pytest.mark.parametrize(("arguments", "term"), [(["--plain"], "xterm-256color"), ([], "dumb")])
def test_without_a_view_there_is_no_process_of_it_and_nothing_but_lines(
    tmp_path: Path, place: Place, arguments: list[str], term: str
) -> None:
    """As they were before."""
    with terminal(local(tmp_path, *arguments, *at(place)), TERM=term) as shown:
        shown.until_said("Running; Ctrl-C stops everything.")
        time.sleep(1.0)  # nothing happens: there is nothing to wait for
        children = [process.cmdline() for process in psutil.Process(shown.process.pid).children()]
        assert children and not [command for command in children if "--terminal" in command]
        assert b"\x1b[?" not in shown.written
        assert shown.end() == 0


def test_a_view_without_a_launcher_is_shown_beside_a_system_and_leaves_it_alone(tmp_path: Path) -> None:
    """`python -m ordersys.live --terminal`, for a system that runs elsewhere."""
    with terminal(local(tmp_path, "--plain")) as system:
        system.until_said("Running; Ctrl-C stops everything.")
        command = ["ordersys.live", "--terminal", "--data-dir", str(tmp_path / "d")]
        with terminal(command) as shown:
            shown.until(all_serve)
            shown.press(b"q")
            assert shown.process.wait(LONG) == 0
            assert shown.is_sane
            assert shown.said.strip() == ""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            capture_output=True,
            text=True,
            timeout=LONG,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "needs a terminal" in done.stderr
