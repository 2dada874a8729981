"""Keeps a process within its memory against clients that fill it before a call of theirs is admitted.

Until a client has acknowledged the server's SETTINGS, HTTP/2 knows no limit on its metadata, and gRPC keeps up to
16 MiB of it a call, with some four times as much to hold it (docs/reliability.md, header floods). gRPC's own memory
quota can't be reached from Python. So the process looks at its own size, and when it nears its limit, ends the
connections that have sent most of what became no call. What glibc holds back after such a flood, it is told to return.
"""

import ctypes
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ordersys.runtime.connections import Connection, connections

_log = logging.getLogger(__name__)
_SIZE = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGESIZE")
# A flood fills some 100 MiB a second and core: this is often enough, and costs 0.1 % of one.
_LOOK_SECONDS = 0.01
_CALM_SECONDS = 1.0
# After a look at which there was nobody to end: memory is held for good reasons, and looking costs some, too.
_NOBODY_SECONDS = 0.1
# From here on, as a share of the limit, something is done: the rest is for what is on its way meanwhile.
_NEAR = 0.7
# No connection with less than that is worth ending: a call under way may well have sent as much.
_LEAST_BYTES = 16_384
# With a call come its headers and frames.
_CALL_BYTES = 1024
# So much more than after the last time, or a shortage so lately, and freeing may be worth its while.
_GROWN = 16 * 1024 * 1024
_LATELY_SECONDS = 30.0


class MemoryGuard:
    """Watches, in a thread of its own, how large this process is, for a server on `port`."""

    def __init__(self, port: int, most_bytes: int) -> None:
        self._port = port
        self._near = int(_NEAR * most_bytes)
        self._calls: Counter[str] = Counter()
        self._before: dict[str, int] = {}
        self._trimmed = resident_bytes()
        self._short = -_LATELY_SECONDS
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-guard", daemon=True)

    def start(self) -> None:
        """Begins to watch, on Linux."""
        if resident_bytes():
            self._thread.start()

    def stop(self) -> None:
        """Ends it, within some 10 ms."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def account(self, peer: str, request_bytes: int) -> None:
        """Notes that a request of so many bytes became a call: they are held, or were, for a good reason."""
        self._calls[peer] += request_bytes + _CALL_BYTES

    def _watch(self) -> None:
        calm = time.monotonic()
        pause = _LOOK_SECONDS
        while not self._over.wait(pause):
            pause = _LOOK_SECONDS
            try:
                if resident_bytes() > self._near:
                    pause = _LOOK_SECONDS if self._relieve() else _NOBODY_SECONDS
                elif time.monotonic() - calm > _CALM_SECONDS:
                    calm = time.monotonic()
                    self._remember()
            except Exception:  # noqa: BLE001 - logged; the guard goes on, as without it nothing is bounded
                _log.exception("the memory guard failed; it goes on")

    def _relieve(self) -> int:
        """Frees what can be freed; if that is not enough, ends the connections that sent most for nothing: how many."""
        free()
        self._trimmed = resident_bytes()
        excess = self._trimmed - self._near
        self._short = time.monotonic()
        if excess <= 0:
            return 0
        with connections(self._port) as found:
            ended = list(heaviest(found, self._idle_bytes(found), excess))
            for connection in ended:
                connection.end()
        if ended:
            _log.warning(
                "memory is short (%d MiB): ended %d of %d connections, which sent most and called least, first %s",
                (self._near + excess) >> 20,
                len(ended),
                len(found),
                ended[0].peer,
            )
        return len(ended)

    def _idle_bytes(self, found: Iterable[Connection]) -> dict[str, int]:
        """By peer, the bytes it has sent since it was calm and that became no call."""
        return {c.peer: c.received - self._calls[c.peer] - self._before.get(c.peer, 0) for c in found}

    def _remember(self) -> None:
        """While there is memory: forgets who has gone, and what has been sent until now."""
        lately = time.monotonic() - self._short < _LATELY_SECONDS
        if lately or resident_bytes() > self._trimmed + _GROWN:
            free()
            self._trimmed = resident_bytes()
        with connections(self._port) as found:
            present = {connection.peer for connection in found}
            for peer in [peer for peer in list(self._calls) if peer not in present]:
                del self._calls[peer]
            self._before = {c.peer: c.received - self._calls[c.peer] for c in found}


def heaviest(found: Iterable[Connection], sent: dict[str, int], excess: int) -> Iterator[Connection]:
    """The connections that sent most, as few as sent `excess` bytes together."""
    for connection in sorted(found, key=lambda connection: -sent[connection.peer]):
        if excess <= 0 or sent[connection.peer] < _LEAST_BYTES:
            return
        excess -= sent[connection.peer]
        yield connection


def resident_bytes() -> int:
    """The memory this process has (resident), 0 where the system does not say."""
    try:
        return int(_SIZE.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


def free() -> None:
    """Has glibc give back what it keeps for later; takes some milliseconds, without the interpreter's lock."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)


_LIBC = ctypes.CDLL(None)
