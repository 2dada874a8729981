"""A program of somebody else's as a child: its output goes to a log, and it ends with all that it has started."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from ordersys.console.opening import open_regular
from ordersys.local.groups import end, gone, kill, members
from ordersys.local.guard import Guard

_STOP_SECONDS = 30.0
_LAST_BYTES = 65_536


class Child:
    """A running program, in a process group of its own; in `folder`, or where this process runs."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        guard: Guard,
        folder: Path | None = None,
    ) -> None:
        self._guard = guard
        program = [_found(command[0], environment["PATH"]), *command[1:]]
        self._process, self._group = guard.start(program, environment, log, folder)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that leads its group."""
        return self._process.pid

    def listens(self, port: int) -> bool:
        """Whether it is this program, or what it has started, that listens on a TCP port."""
        return any(_listens(process, port) for process in members(self._group))

    def stop(self) -> None:
        """Ends it in good order; what is left after a while is killed."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            gone([self._group], _STOP_SECONDS)
        end([self._group])
        self._forget()

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        kill([self._group])
        self._forget()

    def _forget(self) -> None:
        self._process.wait()
        self._guard.forget(self._group)


def last_lines(log: Path) -> Sequence[str]:
    """The last lines of a log, which may have grown for years, or be gone."""
    try:
        descriptor = open_regular(log, os.O_RDONLY)
    except OSError as error:
        return [f"it can't be read: {error.strerror}"]
    try:
        begin = max(os.fstat(descriptor).st_size - _LAST_BYTES, 0)
        lines = os.pread(descriptor, _LAST_BYTES, begin).decode(errors="replace").splitlines()
    finally:
        os.close(descriptor)
    return lines[1:] if begin else lines


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        listening = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(connection.laddr.port == port for connection in listening)


def _found(program: str, path: str) -> str:
    """epmd stands beside erl, or deep inside Erlang's own folder."""
    for folder in path.split(os.pathsep):
        for candidate in (Path(folder) / program, *Path(folder).glob(f"../erts-*/bin/{program}")):
            if candidate.exists():
                return str(candidate)
    return program
