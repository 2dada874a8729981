"""Signals that come at the worst moment: each in a process of its own, as a handler belongs to a whole process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ordersys.console import interrupts

SECONDS = 20.0
DROPPED = """
import signal, time
from ordersys.console.interrupts import Interrupted, interrupts

class Cleared:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        [None for _ in range(10)]

try:
    with interrupts.raising():
        Cleared()
        time.sleep(30)
except Interrupted:
    raise SystemExit(interrupts.exit_status) from None
"""
# What is raised as soon as the lock is held leaves it held: whoever waits for the process then waits for ever.
POLLED = """
import signal, sys
from pathlib import Path
from ordersys.console.interrupts import Interrupted, interrupts
from ordersys.local.child import Child
from ordersys.local.guard import Guard

class Lock:
    def __init__(self, lock):
        self.lock, self.signals = lock, [signal.SIGTERM]

    def acquire(self, blocking=True):
        is_held = self.lock.acquire(blocking)
        if is_held and self.signals:
            signal.raise_signal(self.signals.pop())
        return is_held

    def release(self):
        self.lock.release()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()

folder = Path(sys.argv[1])
guard = Guard(folder)
child = Child(["sleep", "60"], {}, folder / "log", guard)
child._process._waitpid_lock = Lock(child._process._waitpid_lock)
try:
    with interrupts.raising():
        eval(sys.argv[2])
        raise SystemExit("no signal has come")
except Interrupted:
    child.kill()
    guard.close()
    raise SystemExit(interrupts.exit_status) from None
"""


@pytest.mark.parametrize("deed", ["child.running", "child.exit_status", "child.stop(5)"])
def test_a_signal_while_a_child_is_asked_leaves_no_lock(tmp_path: Path, deed: str) -> None:
    """It counts once the child has been asked, and the child can still be ended."""
    command = [sys.executable, "-c", POLLED, str(tmp_path), deed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (interrupts._BASE + signal.SIGTERM, "")


def test_a_signal_is_not_lost_while_something_is_cleared_away() -> None:
    """Python drops an exception of a destructor, with a word on stderr: the signal counts all the same, without one."""
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (interrupts._BASE + signal.SIGTERM, "")
