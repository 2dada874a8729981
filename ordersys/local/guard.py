"""Ends what its owner started when the owner is gone, however it went: at the end of the pipe between them.

The owner starts `python -m ordersys.local.guard` first and writes a line for each process group: `+ LEADER STARTED
BOOT` to watch it, `- LEADER STARTED BOOT` to forget it. The lines also stand in a file, so that whoever uses the folder
next can end what is left should the guard have been killed too.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ordersys.console.opening import open_regular
from ordersys.local.groups import Group, boot, end, group_of

_RECORD = "processes"
_LINE = re.compile(r"([+-]) (\d+) (\d+\.\d+) (\S+)\n")
# Waits until it is recorded; ends when its owner ends before.
_GATE = 'read -r _ && exec "$@" </dev/null'


class Guard:
    """The owner's side."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / _RECORD
        self._watched: set[Group] = set()
        self._process = _started()

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path | None = None
    ) -> "tuple[subprocess.Popen[bytes], Group]":
        """Starts `command` in a process group of its own, watched before it does anything; its output goes to `log`.

        It runs in `folder`, or where this process does. A program that can't be run ends with status 126 or 127 and
        says so in the log.
        """
        with os.fdopen(open_regular(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "sh", *command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            group = self.watch(process.pid)
        except OSError:  # the disk is full: what nobody would find again does not begin
            process.kill()
            process.wait()
            raise
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), process.stdin as gate:
                gate.write(b"\n")
        return process, group

    def watch(self, leader: int) -> Group:
        """Ends the group of `leader`, just started as its leader, when this process is gone. Raises OSError."""
        group = group_of(leader)
        line = _line("+", group)
        self._record_line(line)
        self._watched.add(group)
        self._tell(line)
        return group

    def forget(self, group: Group) -> None:
        """The group is gone."""
        self._watched.discard(group)
        line = _line("-", group)
        with contextlib.suppress(OSError):  # a record of what is gone ends nobody
            self._record_line(line)
        self._tell(line)

    def close(self) -> None:
        """Ends whatever is still watched, and the guard."""
        end(self._watched)
        self._close_pipe()
        with contextlib.suppress(OSError):  # a file system that is read-only by now; it names nobody who runs
            self._record.unlink(missing_ok=True)

    def _record_line(self, line: str) -> None:
        with os.fdopen(open_regular(self._record, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as record:
            record.write(line)

    def _tell(self, line: str) -> None:
        """Tells the guard's side; one that was killed has a successor, who is told everything."""
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._close_pipe()
            self._process = _started()
            for group in self._watched:
                self._tell(_line("+", group))

    def _close_pipe(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()


def _started() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ordersys.local.guard"], stdin=subprocess.PIPE, start_new_session=True, text=True
    )


def _line(sign: str, group: Group) -> str:
    return f"{sign} {group.leader} {group.started!r} {boot()}\n"


def end_leftovers(folder: Path) -> int:
    """Ends what an earlier owner of `folder` left running; how many groups were recorded. Raises OSError.

    What is no whole line of ours, or of another start of this machine, is nobody's that runs.
    """
    record = folder / _RECORD
    watched: set[Group] = set()
    if record.exists():
        descriptor = open_regular(record, os.O_RDONLY)
        with os.fdopen(descriptor, encoding="ascii", errors="replace", newline="\n") as lines:
            for line in lines:
                _note(watched, line)
        end(watched)
        record.unlink()
    return len(watched)


def _note(watched: set[Group], line: str) -> None:
    record = _LINE.fullmatch(line)
    if record and record[4] == boot():
        group = Group(int(record[2]), float(record[3]))
        (watched.add if record[1] == "+" else watched.discard)(group)


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
