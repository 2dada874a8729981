"""Runs a program that refuses root: `python -m ordersys.local.unprivileged HOW PROGRAM ARGUMENT…`.

PostgreSQL does not run with the user id 0, which is everybody's in many containers and in CI. Two ways:

- `namespace`: a user namespace of its own in which no id is mapped. The program sees itself and its files as those of
  the overflow user, while on disk everything goes on belonging to root: nothing has to be handed over, and folders
  that only root may enter stay usable. Needs Linux, and the right to make a user namespace.
- a user id, such as `65534`: the program runs as that user, who has to own its data and to reach its files.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ordersys.runtime.base.files import UnusableFolder

_NAMESPACE = "namespace"
_OTHER_USER = 65_534  # "nobody" nearly everywhere; it needs no entry in the list of users
_CLONE_NEWUSER = 0x10000000  # linux/sched.h; os.unshare is there from Python 3.12 on
_PROBE_SECONDS = 30.0


def prefix(folder: Path) -> Sequence[str]:
    """The words before a command that refuses root and writes to `folder`; none for other users.

    Without user namespaces `folder` is handed to another user, whom its parent lets pass. Raises UnusableFolder where
    that user can't reach it all the same.
    """
    if os.geteuid() != 0:
        return ()
    if has_namespaces(_NAMESPACE) and folder.stat().st_uid == 0:
        return _words(_NAMESPACE)
    _hand_over(folder)
    if not _works(str(_OTHER_USER), "test", "-w", str(folder)):
        raise UnusableFolder(
            f"{folder} can't be used by PostgreSQL: it refuses to run as root, and user {_OTHER_USER}, as whom it would"
            " run, may not enter a folder above; name a folder outside of root's home, or run this as another user"
        )
    return _words(str(_OTHER_USER))


def _hand_over(folder: Path) -> None:
    """Gives all that is in a folder of ours to the other user, who may pass through its parent, not read it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _OTHER_USER, _OTHER_USER, follow_symlinks=False)
    parent = folder.parent
    parent.chmod(parent.stat().st_mode | 0o001)


@cache
def has_namespaces(how: str = _NAMESPACE) -> bool:
    """True where root can make a user namespace. Runs a process at the first time."""
    return _works(how, "true")


def _works(how: str, *command: str) -> bool:
    done = subprocess.run([*_words(how), *command], capture_output=True, timeout=_PROBE_SECONDS, check=False)
    return done.returncode == 0


def _words(how: str) -> Sequence[str]:
    return sys.executable, "-m", __name__, how


def _leave_root(how: str) -> None:
    """Raises OSError."""
    if how == _NAMESPACE:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "no user namespace can be made")
    else:
        os.setgroups([])
        os.setgid(int(how))
        os.setuid(int(how))


def main() -> None:
    """Becomes the program, as somebody else than root."""
    how, *command = sys.argv[1:]
    _leave_root(how)
    os.chdir("/")  # where this was started may be closed to that user
    os.execvp(command[0], command)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
