"""Keeps a process within its memory against clients that fill it before a call of theirs is admitted.

Until a client has acknowledged the server's SETTINGS, HTTP/2 knows no limit on its metadata, and gRPC keeps up to
16 MiB of it a call, with some four times as much to hold it (docs/reliability.md, header floods). gRPC's own memory
quota can't be reached from Python. So the process looks at its own size, and when that grows, ends the connections
that have sent most of what became no call. What glibc keeps back after such a flood, it is told to return.
"""

import ctypes
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ordersys.runtime.connections import Connection, connections

_log = logging.getLogger(__name__)
_SIZE = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGESIZE")
# A flood fills some 200 MiB a second: this is often enough, and costs 0.1 % of a core while there is memory.
_LOOK_SECONDS = 0.01
# Looking at many connections takes longer: then this share of the time goes into it at most.
_SHARE = 0.1
_CALM_SECONDS = 1.0
# Shares of the limit. From the first on, who sends much and has called nobody is sent away; from the second on,
# whoever has sent most for nothing. What is left above is for what comes meanwhile.
_GROWING, _SHORT = 0.45, 0.65
# Who has called nobody yet can't have sent so much and mean it: HTTP/2 lets 64 KiB of requests come unasked, and no
# more calls wait unseen than some 100 KiB of metadata make.
_SUSPICIOUS_BYTES = 131_072
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
        self._growing, self._short = int(_GROWING * most_bytes), int(_SHORT * most_bytes)
        self._called: Counter[str] = Counter()
        self._before: dict[str, int] = {}
        self._trimmed = resident_bytes()
        self._last_ended = self._looked = time.monotonic() - _LATELY_SECONDS
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

    def account(self, peer: str, octets: int) -> None:
        """Notes a call, or so many bytes of its request: they are held, or were, for a good reason."""
        self._called[peer] += octets + _CALL_BYTES

    def _watch(self) -> None:
        pause = _LOOK_SECONDS
        while not self._over.wait(pause):
            began = time.thread_time()  # of this thread: a busy machine must not make it look away
            try:
                self._look(time.monotonic())
            except Exception:  # noqa: BLE001 - logged; the guard goes on, as without it nothing is bounded
                _log.exception("the memory guard failed; it goes on")
            pause = max(_LOOK_SECONDS, (time.thread_time() - began) / _SHARE)

    def _look(self, now: float) -> None:
        size = resident_bytes()
        if size > self._growing and self._relieve(size):
            self._last_ended = now
        elif now - self._looked > _CALM_SECONDS:
            self._looked = now
            # Not while it still comes: freeing takes as long then as there is to free, and the guard's time.
            lately = _CALM_SECONDS < now - self._last_ended < _LATELY_SECONDS
            if lately or size > self._trimmed + _GROWN:
                free()
                self._trimmed = resident_bytes()
            if size < self._short:
                self._forget()

    def _relieve(self, size: int) -> int:
        """Ends connections that fill this process for nothing: how many."""
        with connections(self._port) as found:
            sent = {c.peer: c.received - self._called[c.peer] - self._before.get(c.peer, 0) for c in found}
            ended = [c for c in found if c.peer not in self._before and sent[c.peer] > _SUSPICIOUS_BYTES]
            ended = [c for c in ended if not self._called[c.peer]]
            if size > self._short and not ended:
                ended = heaviest(found, sent, size - self._short)
            for connection in ended:
                connection.end()
        if ended:
            text = (
                "memory is short (%d MiB): ended %d of %d connections, which sent much and called little, one from %s"
            )
            _log.warning(text, size >> 20, len(ended), len(found), ended[0].peer)
        return len(ended)

    def _forget(self) -> None:
        """While there is memory: forgets who has gone, and what has been sent until now by those who call."""
        with connections(self._port) as found:
            present = {connection.peer for connection in found}
            for peer in [peer for peer in list(self._called) if peer not in present]:
                del self._called[peer]
            self._before = {c.peer: c.received - self._called[c.peer] for c in found if self._called[c.peer]}


def heaviest(found: Iterable[Connection], sent: Mapping[str, int], excess: int) -> list[Connection]:
    """The connections that sent most: as few as sent `excess` bytes together, and half of what all sent.

    Half: how much memory a byte takes can't be known (a header of two letters takes 13 times as much as it has), and
    while this is decided more is on its way.
    """
    left = max(excess, sum(octets for octets in sent.values() if octets > 0) // 2)
    chosen: list[Connection] = []
    for connection in sorted(found, key=lambda connection: -sent[connection.peer]):
        if left <= 0 or sent[connection.peer] < _LEAST_BYTES:
            break
        left -= sent[connection.peer]
        chosen.append(connection)
    return chosen


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
