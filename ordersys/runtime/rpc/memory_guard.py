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
from functools import cache

from ordersys.runtime.base import system_calls
from ordersys.runtime.rpc.connections import Connection, connections

_log = logging.getLogger(__name__)
_SIZE, _SIZE_BYTES = b"/proc/self/statm", 128
_PAGE = os.sysconf("SC_PAGESIZE")
# A flood fills some 200 MiB a second. While nothing grows, one is found before it has filled what is borne (_GROWN);
# from then on, and while it lasts, it matters what comes between two looks.
_CALM_LOOK_SECONDS, _LOOK_SECONDS, _FLOOD_SECONDS = 0.04, 0.01, 0.002
# Looking at many connections takes longer: then this share of the time goes into it at most, and in a flood that one.
_SHARE, _FLOOD_SHARE = 0.1, 0.5
_CALM_SECONDS = 1.0
# Shares of what clients may fill: the limit less what the process has by itself. From the first on, who sends much and
# has called nobody is sent away; from the second on, whoever has sent most for nothing. What is left above is for what
# comes meanwhile.
_GROWING, _SHORT = 0.25, 0.5
# So much more of the limit than a second ago may be a flood as well; than after the last time, it is worth freeing.
_GROWN = 1 / 16
_GROWS = 1 / 4  # of that: it may become a flood
# Who has called nobody yet can't have sent so much and mean it: HTTP/2 lets 64 KiB of requests come unasked, and no
# more calls wait unseen than some 100 KiB of metadata make.
_SUSPICIOUS_BYTES = 131_072
# Each time that some have to go, the next who have called nobody may have sent half as much; but no connection with
# less than this is worth ending: a call under way may well have sent as much.
_LEAST_BYTES = 16_384
# With a call come its headers and frames.
_CALL_BYTES = 1024
# After a shortage freeing may be worth its while for so long.
_LATELY_SECONDS = 30.0


class MemoryGuard:
    """Watches, in a thread of its own, how large this process is, for a server on `port`."""

    def __init__(self, port: int, most_bytes: int) -> None:
        self._port = port
        self._most = most_bytes
        self._grown = int(_GROWN * most_bytes)
        self._called: Counter[str] = Counter()
        self._before: dict[str, int] = {}
        self._size = self._trimmed = self._calm = self._own = resident_bytes()
        self._bearable = _SUSPICIOUS_BYTES
        self._last_ended = self._looked = self._logged_at = time.monotonic() - _LATELY_SECONDS
        self._not_logged = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-guard", daemon=True)

    def start(self) -> None:
        """Begins to watch, on Linux; what the process has now is its own."""
        self._own = resident_bytes()
        if self._own:
            share_arenas()
            self._thread.start()

    def stop(self) -> None:
        """Ends it, at once."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def call(self, peer: str) -> None:
        """Notes that this client has made a call, be it one that is refused."""
        self._called[peer] += _CALL_BYTES

    def account(self, peer: str, octets: int) -> None:
        """Notes so many bytes of a request: they are held, or were, for a good reason."""
        self._called[peer] += octets

    @property
    def _growing(self) -> int:
        return self._filled(_GROWING)

    @property
    def _short(self) -> int:
        return self._filled(_SHORT)

    def _filled(self, share: float) -> int:
        """The size of this process when clients fill such a share of what they may."""
        return self._own + int(share * max(0, self._most - self._own))

    def _watch(self) -> None:
        pause = _LOOK_SECONDS
        while not self._over.wait(pause):
            began = time.thread_time()  # of this thread: a busy machine must not make it look away
            try:
                self._look(time.monotonic())
            except Exception:  # noqa: BLE001 - logged; the guard goes on, as without it nothing is bounded
                _log.exception("the memory guard failed; it goes on")
            pause = self._pause(time.monotonic(), time.thread_time() - began)

    def _pause(self, now: float, worked: float) -> float:
        """The pause before the next look, after one that took `worked` seconds of processor time."""
        if now - self._last_ended < _CALM_SECONDS:
            return max(_FLOOD_SECONDS, worked / _FLOOD_SHARE)
        grows = self._size > min(self._growing, self._calm + _GROWS * self._grown)
        return max(_LOOK_SECONDS if grows else _CALM_LOOK_SECONDS, worked / _SHARE)

    def _look(self, now: float) -> None:
        self._size = size = resident_bytes()
        if size > min(self._growing, self._calm + self._grown) and (ended := self._relieve(size)):
            self._last_ended = now
            self._not_logged += ended
        elif now - self._looked > _CALM_SECONDS:
            self._looked = now
            self._settle(size, now)
        if self._not_logged and now - self._logged_at > _CALM_SECONDS:
            self._logged_at = now
            text = "memory grows (%d MiB): ended %d connections, which sent much and called little"
            _log.warning(text, size >> 20, self._not_logged)
            self._not_logged = 0

    def _relieve(self, size: int) -> int:
        """Ends connections that fill this process for nothing: how many."""
        present = connections(self._port)
        sent = {c.peer: c.received - self._called[c.peer] - self._before.get(c.peer, 0) for c in present}
        strangers = (c for c in present if c.peer not in self._before and not self._called[c.peer])
        ended = [c for c in strangers if sent[c.peer] > self._bearable]
        if size > self._short and not ended:
            ended = heaviest(present, sent, size - self._short)
        for connection in ended:
            connection.end()
        if ended:
            self._bearable = max(self._bearable // 2, _LEAST_BYTES)
        return len(ended)

    def _settle(self, size: int, now: float) -> None:
        """Work for once a second, when nobody had to be sent away."""
        # Not while it still comes: freeing takes as long then as there is to free, and the guard's time.
        lately = _CALM_SECONDS < now - self._last_ended < _LATELY_SECONDS
        if lately or size > self._trimmed + self._grown:
            free()
            self._trimmed = resident_bytes()
        self._calm = resident_bytes()
        if size < self._short:
            self._bearable = _SUSPICIOUS_BYTES
            self._forget()

    def _forget(self) -> None:
        """While there is memory: forgets who has gone, and what has been sent until now by those who call."""
        called = list(self._called)  # before the look: who comes behind it has not gone
        there = connections(self._port)
        for peer in set(called).difference(connection.peer for connection in there):
            del self._called[peer]
        self._before = {c.peer: c.received - self._called[c.peer] for c in there if self._called[c.peer]}


def heaviest(candidates: Iterable[Connection], sent: Mapping[str, int], excess: int) -> list[Connection]:
    """The connections that sent most: as few as sent `excess` bytes together, and half of what all sent.

    Half: how much memory a byte takes can't be known (a header of two letters takes 13 times as much as it has), and
    while this is decided more is on its way.
    """
    left = max(excess, sum(octets for octets in sent.values() if octets > 0) // 2)
    chosen: list[Connection] = []
    for connection in sorted(candidates, key=lambda connection: -sent[connection.peer]):
        if left <= 0 or sent[connection.peer] < _LEAST_BYTES:
            break
        left -= sent[connection.peer]
        chosen.append(connection)
    return chosen


def resident_bytes() -> int:
    """The memory this process has (resident), 0 where the system does not say."""
    try:
        return int(system_calls.read_again(_statm(os.getpid()), _SIZE_BYTES).split()[1]) * _PAGE
    except OSError:
        return 0


@cache
def _statm(process: int) -> int:
    """Open as long as the process lives: opening takes as long as all the rest, and clients may use up descriptors.

    Whoever was forked from `process` has a size of its own.
    """
    return system_calls.open_file(_SIZE)


def free() -> None:
    """Has glibc give back what it keeps for later; takes some milliseconds, without the interpreter's lock."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)


def share_arenas() -> None:
    """Has the threads of gRPC share their memory: what a flood has filled in one, the next part of it uses again.

    glibc has an arena for each thread otherwise, up to eight a core, and each of them would grow to its own peak.
    """
    mallopt = getattr(_LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, _ARENAS)


_LIBC = ctypes.CDLL(None)
_ARENA_MAX, _ARENAS = -8, 2  # malloc.h: M_ARENA_MAX
