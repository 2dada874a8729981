"""A terminal that is closed (SIGHUP) ends what was started in it as SIGTERM does, and nothing is left."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.api import eventually
from tests.integration.conftest import skip_without_rabbitmq
from tests.integration.order_service import order_service
from tests.running import addresses

LAUNCHER = (sys.executable, "-m", "ordersys.local", "--plain", "--broker-only")
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder in which the launcher makes its temporary one."""
    skip_without_rabbitmq()
    folder = tmp_path / "t"
    folder.mkdir()
    return folder


@contextmanager
def launcher(place: Path, command: Sequence[str] = LAUNCHER) -> Iterator["subprocess.Popen[str]"]:
    """It, in a session of its own, with a temporary folder."""
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_nothing_left(place: Path) -> None:
    """No folder, and no process that knows of it."""
    assert list(place.iterdir()) == []
    assert [p for p in psutil.process_iter(["cmdline", "environ"]) if str(place) in repr(p.info)] == []


@pytest.mark.parametrize("others", [(), (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)])
def test_a_hangup_ends_a_system_in_good_order(place: Path, others: Sequence[signal.Signals]) -> None:
    """Status 0, as for Ctrl-C; whatever is sent while it stops changes nothing."""
    with launcher(place) as process:
        assert addresses(process)
        for number in (signal.SIGHUP, *others):
            process.send_signal(number)
        assert process.wait(60) == 0
    assert_nothing_left(place)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_starts_is_its_status(place: Path, number: signal.Signals) -> None:
    """Processes begun by then are ended."""
    with launcher(place) as process:
        eventually(lambda: any(place.glob("ordersys-*/rabbitmq/ports.json")))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert_nothing_left(place)


def test_a_terminal_that_is_closed_ends_what_runs_in_it(place: Path) -> None:
    """It can't be written to any more, and that hinders nothing."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TMPDIR": str(place), "TERM": "xterm"}
    with subprocess.Popen(
        [word for word in LAUNCHER if word != "--plain"],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else starts a session
    ) as process:
        os.close(child)
        os.set_blocking(parent, False)
        try:
            eventually(lambda: any(place.glob("ordersys-*/rabbitmq/ports.json")) or process.poll() is not None)
            assert process.poll() is None, os.read(parent, 1 << 16)
            os.close(parent)
            assert process.wait(60) == 128 + signal.SIGHUP
        finally:
            process.kill()
    assert_nothing_left(place)


def test_what_was_told_to_ignore_a_hangup_goes_on(place: Path) -> None:
    """As `nohup` does."""
    with launcher(place, ("nohup", *LAUNCHER)) as process:
        assert addresses(process)
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert_nothing_left(place)


def test_a_service_ends_in_good_order(tmp_path: Path) -> None:
    """An order it has answered is there."""
    with order_service(tmp_path / "data") as service:
        order = service.create()
        service.process.send_signal(signal.SIGHUP)
        assert service.process.wait(60) == 0
        assert service.says("stopping")
    with order_service(tmp_path / "data") as service:
        assert service.has(order)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_backup_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """And says so; its status is that of the signal."""
    with order_service(tmp_path / "data") as service:
        service.create()
        assert service.stop() == 0
    script = (
        "import runpy, sys, time\n"
        "from ordersys.runtime.storage import backup\n"
        "backup._copy = lambda *_: (print('copying', flush=True), time.sleep(100))\n"
        "sys.argv[0] = 'x'\n"
        "runpy.run_module('ordersys.order_service', run_name='__main__')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "backup", str(tmp_path / "b.db")],
        env={**os.environ, "ORDERSYS_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said == "order-service: backup was interrupted; repeat it\n"
    assert [path.name for path in tmp_path.glob("*b.db*")] == []
    assert [path.name for path in tmp_path.glob(".*")] == []
