"""Ends what its owner started when the owner is gone, however it went: at the end of the pipe between them.

The owner starts `python -m ordersys.local.guard` first and writes a line for each process group: `+ LEADER STARTED`
to watch it, `- LEADER STARTED` to forget it. The lines also stand in a file, so that whoever uses the folder
next can end what is left should the guard have been killed too.
"""

import signal
import subprocess
import sys
from pathlib import Path

from ordersys.local.groups import Group, end, group_of

_RECORD = "processes"


class Guard:
    """The owner's side."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / _RECORD
        self._watched: set[Group] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ordersys.local.guard"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def watch(self, leader: int) -> Group:
        """Ends the group of `leader`, just started in a session of its own, when this process is gone."""
        group = group_of(leader)
        self._watched.add(group)
        self._write(f"+ {group.leader} {group.started!r}")
        return group

    def forget(self, group: Group) -> None:
        """The group is gone."""
        self._watched.discard(group)
        self._write(f"- {group.leader} {group.started!r}")

    def close(self) -> None:
        """Ends whatever is still watched, and the guard."""
        end(self._watched)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._record.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        with self._record.open("a") as record:
            record.write(f"{line}\n")
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


def end_leftovers(folder: Path) -> int:
    """Ends what an earlier owner of `folder` left running; how many groups were recorded."""
    record = folder / _RECORD
    watched: set[Group] = set()
    if record.exists():
        for line in record.read_text().splitlines():
            _note(watched, line)
        end(watched)
        record.unlink()
    return len(watched)


def _note(watched: set[Group], line: str) -> None:
    match line.split():
        case ["+", leader, started]:
            watched.add(Group(int(leader), float(started)))
        case ["-", leader, started]:
            watched.discard(Group(int(leader), float(started)))


def main() -> None:
    """The guard's side: reads until the owner is gone, then ends what is still watched."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: set[Group] = set()
    for line in sys.stdin:
        _note(watched, line)
    end(watched)


if __name__ == "__main__":
    main()
