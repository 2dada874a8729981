"""Points between two effects at which a process can be told to die, so that tests can show that it may.

Nothing happens there, unless ORDERSYS_CRASH_POINT names the point: as NAME, or as NAME:N for its N-th pass. Then the
process ends as by kill -9; of NAME:N:stop it stops there, until it is sent SIGCONT; of NAME:N:hang the thread that came
there stays for good, while others go on, as the one that exports spans. A switch for tests, no setting.
"""

import os
import signal
import threading
from collections.abc import Callable
from itertools import count

VARIABLE = "ORDERSYS_CRASH_POINT"


def _go_on(name: str) -> None:
    """A failpoint where none is named: does nothing."""


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _hang() -> None:
    threading.Event().wait()


_DEEDS = {"stop": _stop, "hang": _hang}


def _die_at(wanted: str) -> Callable[[str], None]:
    name, number, deed = [*wanted.split(":"), "", ""][:3]
    end = _DEEDS.get(deed, _kill)
    last, passes = int(number or 1), count(1)

    def pass_or_die(point: str) -> None:
        if point == name and next(passes) == last:
            end()

    return pass_or_die


failpoint: Callable[[str], None] = _die_at(os.environ[VARIABLE]) if VARIABLE in os.environ else _go_on
"""Called with the name of a point, which stands in the code once."""
