"""The folder of a system: made where it is not there yet, for one user and for one system at a time."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ordersys.console.opening import open_regular
from ordersys.console.secret_files import keep_out_of_git
from ordersys.local import state
from ordersys.local.choices import CannotStart
from ordersys.local.guard import end_leftovers
from ordersys.runtime.base.files import make_private

# RabbitMQ's scripts break at quotes; Erlang takes the others for a pattern when it looks for the logs of its queues
# (filelib:wildcard), and finds none.
_NOT_FOR_A_BROKER = frozenset("'\"`{}[]*?\\")


@contextmanager
def locked(folder: Path, processes: Sequence[str], holds_broker: bool) -> Iterator[None]:
    """Meanwhile it belongs to this system, and nothing of an earlier one runs. Raises CannotStart, OSError.

    Each of `processes` has a log there; a folder that `holds_broker` needs a name that RabbitMQ can use.
    """
    _check_name(folder, holds_broker)
    make_private(folder)
    if not any(folder.iterdir()):  # git is not to pass over the things of somebody else
        keep_out_of_git(folder)
    make_private(folder / "databases")
    make_private(folder / "log")
    for name in processes:  # what is no file is better known before the first process runs
        os.close(open_regular(folder / "log" / f"{name}.log", os.O_WRONLY | os.O_CREAT))
    descriptor = open_regular(folder / state.LOCK, os.O_WRONLY | os.O_CREAT)
    with os.fdopen(descriptor, "w") as lock:
        _lock(lock, folder)
        end_leftovers(folder)
        (folder / state.FILE).unlink(missing_ok=True)
        yield


def _check_name(folder: Path, holds_broker: bool) -> None:
    if not str(folder).isprintable():  # Erlang takes neither line ends nor octets that are not UTF-8
        raise CannotStart(f"{str(folder)!r} can't be used; name a folder in UTF-8 with --data-dir")
    if holds_broker and (odd := _NOT_FOR_A_BROKER.intersection(str(folder))):
        signs = " ".join(sorted(odd))
        raise CannotStart(f"{folder} can't hold a RabbitMQ, for its {signs}; name another folder with --data-dir")


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"{folder} is in use by another system; stop that one or name another folder") from None
