"""Process groups are ended as a whole, whatever they do meanwhile."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from ordersys.local import guard as guards
from ordersys.local.groups import end, group_of, kill, members
from ordersys.local.guard import Guard, end_leftovers
from ordersys.local.service import Program, Service

# One process at a time, which forks its successor and ends: whoever is listed has gone when it is signalled. For 20 s.
RUNNING_AWAY = """
import os, signal, time
until = time.monotonic() + 20
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
if os.fork():
    signal.pause()
while time.monotonic() < until:
    if os.fork():
        os._exit(0)
"""


def running_away() -> "subprocess.Popen[bytes]":
    """A program that is never where it was, in a group of its own."""
    process = subprocess.Popen([sys.executable, "-c", RUNNING_AWAY], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.read(1)
    return process


def is_gone(process: "subprocess.Popen[bytes]") -> bool:
    """True when nobody has its output open any more."""
    assert process.stdout is not None
    ended, _, _ = select.select([process.stdout], [], [], 10)
    assert process.wait(10) == -signal.SIGKILL
    return bool(ended)


def test_what_forks_while_it_is_killed_is_killed_too() -> None:
    """A broker that is killed while it boots, say."""
    with running_away() as process:
        group = group_of(process.pid)
        kill([group])
        assert is_gone(process)


def test_what_ignores_its_end_is_killed() -> None:
    """After the time it was given."""
    with running_away() as process:
        group = group_of(process.pid)
        end([group], term_seconds=0.2)
        assert is_gone(process)


def test_what_a_service_has_left_is_ended_before_it_is_started_again(tmp_path: Path) -> None:
    """A program in the place of ours may leave workers that hold its port; nobody would find them later."""
    program = Program(["/bin/sh", "-c", "sleep 600 & wait"], {"PATH": "/usr/bin:/bin"})
    with closing(Guard(tmp_path)) as guard:
        service = Service("order_service", "127.0.0.1:1", program, tmp_path, guard)
        service.start()
        group = service.group
        assert group is not None
        while len(members(group)) < 2:
            time.sleep(0.01)
        (leader,) = [process for process in members(group) if process.pid == group.leader]
        leader.kill()
        while service.running:
            time.sleep(0.01)
        service.start()
        assert not members(group)
        service.kill()


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Sets the clock of this machine, as whoever asks when it was started sees it: that is told by the clock."""

    def set_clock() -> None:
        booted = psutil.boot_time()
        monkeypatch.setattr("psutil._psplatform.boot_time", lambda: booted + 3600)

    return set_clock


@pytest.mark.parametrize("is_of_this_boot", [True, False])
def test_what_an_owner_has_left_is_found_though_the_clock_was_set(
    tmp_path: Path, set_clock: Callable[[], None], monkeypatch: pytest.MonkeyPatch, is_of_this_boot: bool
) -> None:
    """By a time server, or for a machine that slept; after another start of the machine it is somebody else's."""
    with closing(Guard(tmp_path)) as guard:
        process, group = guard.start(["/bin/sleep", "600"], {}, tmp_path / "log")
        set_clock()
        assert [member.pid for member in members(group)] == [process.pid]
        if not is_of_this_boot:
            monkeypatch.setattr(guards, "boot", lambda: "another")
        assert end_leftovers(tmp_path) == is_of_this_boot
        assert bool(members(group)) is not is_of_this_boot
        kill([group])
        process.wait()
