"""A program as a child: its output goes to a log, and it ends with all that it has started."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from ordersys.console.interrupts import interrupts
from ordersys.console.opening import open_regular
from ordersys.local.groups import Group, ending, going, kill, members, wait
from ordersys.local.guard import Guard

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
        self._process, self._group = guard.start(command, environment, log, folder)

    @property
    def running(self) -> bool:
        """True while its leader runs."""
        return self.exit_status is None

    @property
    def pid(self) -> int:
        """The process that leads its group."""
        return self._process.pid

    @property
    def group(self) -> Group:
        """Its process group."""
        return self._group

    @property
    def exit_status(self) -> int | None:
        """The exit status of its leader, None while it runs."""
        with interrupts.holding():  # an exception in its midst would leave a lock of the process locked
            return self._process.poll()

    def listens(self, port: int) -> bool:
        """True where this program, or one that it has started, listens on a TCP port."""
        return any(_listens(process, port) for process in members(self._group))

    def stop(self, seconds: float, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it in good order by that signal; what is left after so many seconds is killed."""
        wait(self.stopping(seconds, number))

    def stopping(self, seconds: float, number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        """As `stop`, for whoever has more to do meanwhile: yields while there is something to wait for."""
        if self.running:
            with interrupts.holding():
                self._process.send_signal(number)
            yield from going([self._group], seconds)
        yield from ending([self._group])
        self.forget()

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        kill([self._group])
        self.forget()

    def forget(self) -> None:
        """Reaps it, once it has ended: its group's number may be somebody else's from now on."""
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


def not_started(program: str, log: Path, lines: Sequence[str], seconds: float | None) -> str:
    """The words about a server that does not answer: after so many seconds, or None where it has ended by itself."""
    if seconds is None:
        why, way_out = "has ended before it answered", "mend what its log names, and start again"
    else:
        why = f"has not answered within {seconds:g} s"
        way_out = "mend what its log names, or start again when the machine has less to do"
    end = "\n".join(lines)
    return f"{program} did not start: it {why}; {way_out}. The end of its log {log}:\n{end}"


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        listening = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(connection.laddr.port == port for connection in listening)
