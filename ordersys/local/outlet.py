"""Standard error of a process that others depend on: whoever reads it may stop, and is not waited for.

A terminal that is stopped (Ctrl-S), and a pipe that nobody reads, keep whoever writes to them as long as that lasts. So
a thread of its own writes. Lines that have no room any more are left out, and counted.
"""

import os
import queue
import sys
import threading

from ordersys.console import output

_PATIENCE_SECONDS = 0.5
_MOST_WAITING = 1000  # pieces of text; few are longer than a line


class Outlet:
    """Standard error. A signal may raise in the midst of its methods.

    So each piece of text has a bare lock of its own, which is free once it is out: there is none for all of them that a
    signal could leave locked.
    """

    def __init__(self) -> None:
        self._descriptor, self._encoding = sys.stderr.fileno(), sys.stderr.encoding
        self._pieces: queue.SimpleQueue[tuple[bytes, threading.Lock]] = queue.SimpleQueue()
        self._last = threading.Lock()
        self._left_out = 0
        self._has_lost_reader = False
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> bool:
        """Our own `text` as it is, behind what was written before; false when the reader has just gone.

        Blocks for half a second at most, and not at all while something written before is not out.
        """
        is_stuck = self._last.locked()
        self.offer(text)
        if not is_stuck:
            self.wait(_PATIENCE_SECONDS)
        lost, self._has_lost_reader = self._has_lost_reader, False
        return not lost

    def offer(self, text: str) -> None:
        """As `write`, without waiting for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standard error", daemon=True)
            self._thread.start()
        if self._pieces.qsize() >= _MOST_WAITING:
            self._left_out += 1
            return
        if self._left_out:
            text = f"({self._left_out:,} lines were left out, since nobody read them)\n{text}"
            self._left_out = 0
        out = threading.Lock()
        out.acquire()
        self._pieces.put((text.encode(self._encoding, "backslashreplace"), out))
        self._last = out

    def wait(self, seconds: float) -> None:
        """Returns when all is out, after that many seconds at most."""
        last = self._last
        if last.acquire(timeout=seconds):
            last.release()

    def _run(self) -> None:
        while True:
            octets, out = self._pieces.get()
            try:
                while octets:
                    octets = octets[os.write(self._descriptor, octets) :]
            except OSError as error:
                self._has_lost_reader = isinstance(error, BrokenPipeError)
                output.drop_errors()
            finally:
                out.release()
