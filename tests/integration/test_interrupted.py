"""Tests that hang, or are told to end, leave nothing behind: no broker, no service, no port mapper."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import skip_without_rabbitmq

pytestmark = pytest.mark.timeout(300)
_BEGIN_SECONDS = 120.0
_END_SECONDS = 60.0
_ROOT = Path(__file__).parents[2]
_ALONE: Sequence[str] = ()
_IN_A_WORKER = ("-n", "1")
HANGS = """
import asyncio, pathlib, socket, threading
import grpc, pytest
from tests.running import addresses, local

HERE = pathlib.Path(__file__).parent

@pytest.fixture
def system():
    with local(HERE / "system", "--broker-only") as process:
        addresses(process)
        yield

def call():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        grpc.insecure_channel(f"{{host}}:{{port}}").unary_unary("/s/m")(b"", wait_for_ready=True)

def loop():
    asyncio.run(asyncio.sleep(1000))

def thread():
    threading.Event().wait(1000)

@pytest.mark.timeout({timeout}, func_only=True)
def test_that_hangs(system):
    (HERE / "hangs").touch()
    {where}()
"""


@contextmanager
def hanging(
    folder: Path, where: str, timeout: float, options: Sequence[str] = _ALONE
) -> Iterator["subprocess.Popen[bytes]"]:
    """A run of pytest, with this project's options and those, that has started a broker and hangs."""
    skip_without_rabbitmq()
    file = folder / "test_hangs.py"
    file.write_text(HANGS.format(where=where, timeout=timeout))
    command = ["-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider", *options]
    program = [sys.executable, *command, str(file)]
    with subprocess.Popen(program, cwd=_ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        until = time.monotonic() + _BEGIN_SECONDS
        while not (folder / "hangs").exists():
            assert process.poll() is None, "it ended before it hung"
            assert time.monotonic() < until
            time.sleep(0.05)
        assert left(folder)
        try:
            yield process
        finally:
            process.kill()  # nothing to one that has ended


def left(folder: Path) -> list[object]:
    """The processes that have to do with a folder."""
    processes = (process.info for process in psutil.process_iter(["pid", "environ", "cmdline"]))
    return [info["cmdline"] for info in processes if str(folder) in str(info["environ"]) + str(info["cmdline"])]


@pytest.mark.parametrize(
    ("where", "options"), [("call", _ALONE), ("loop", _ALONE), ("thread", _ALONE), ("call", _IN_A_WORKER)]
)
def test_a_test_that_hangs_fails_and_ends_what_it_has_started(
    tmp_path: Path, where: str, options: Sequence[str]
) -> None:
    """In a call, in an event loop, in a wait for another thread; where several run at once, too."""
    with hanging(tmp_path, where, 1.0, options) as process:
        assert process.wait(_END_SECONDS) == pytest.ExitCode.TESTS_FAILED
    assert left(tmp_path) == []


@pytest.mark.parametrize("options", [_ALONE, _IN_A_WORKER], ids=["alone", "in a worker"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tests_that_are_interrupted_end_what_they_have_started(
    tmp_path: Path, number: signal.Signals, options: Sequence[str]
) -> None:
    """By whoever waits for them."""
    with hanging(tmp_path, "call", 1000.0, options) as process:
        process.send_signal(number)
        assert process.wait(_END_SECONDS) == pytest.ExitCode.INTERRUPTED
    assert left(tmp_path) == []


def test_tests_that_are_interrupted_at_a_terminal_end_what_they_have_started(tmp_path: Path) -> None:
    """By Ctrl-C, which reaches each of their processes."""
    with hanging(tmp_path, "call", 1000.0, _IN_A_WORKER) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(_END_SECONDS) == pytest.ExitCode.INTERRUPTED
    assert left(tmp_path) == []


def test_a_worker_that_is_killed_fails_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    """Nobody is left in it who could end what it has started: whoever has started it does."""
    with hanging(tmp_path, "call", 1000.0, _IN_A_WORKER) as process:
        (worker,) = psutil.Process(process.pid).children()
        worker.kill()
        assert process.wait(_END_SECONDS) == pytest.ExitCode.TESTS_FAILED
    assert left(tmp_path) == []
