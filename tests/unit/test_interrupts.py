"""Signals that come at the worst moment: each in a process of its own, as a handler belongs to a whole process."""

import signal
import subprocess
import sys

from ordersys.console import interrupts

SECONDS = 30.0
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


def test_a_signal_is_not_lost_while_something_is_cleared_away() -> None:
    """Python drops an exception of a destructor, with a word on stderr: the signal counts all the same, without one."""
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (interrupts._BASE + signal.SIGTERM, "")
