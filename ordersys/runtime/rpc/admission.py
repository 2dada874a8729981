"""Admission: how many calls, orders and bytes of requests a server has under way at a time; more are refused, soon.

A call passes three gates. Its request is on its way (`Arrivals`): it takes no place, but not for long, and only so
many wait at a time. It is admitted (`Admission`) by what it carries. Its answer is on its way (`UnreadResponses`).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import status_error

# The context of a call, as grpc.aio hands it to a servicer.
Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_SECONDS = 5.0
"""Seconds a client has to send the request of a call it has begun."""
ORDERS_A_CALL = 10
"""So many orders may be under way as there may be calls, times this: a batch commits them together, which makes an
order of a batch some ten times cheaper than one that comes alone."""
_MAX_REQUEST_BYTES = 32 * 1024 * 1024  # of requests under way, all together: eight of the largest
_MAX_UNREAD_BYTES = 16 * 1024 * 1024  # of responses that a connection does not take
_WAITING_A_CALL = 4  # times what is admitted may be on its way in: these are refused, soon, not hung up on


class _Arrival:
    """A request on its way, and the task that waits for it."""

    def __init__(self, task: "asyncio.Task[Any]", until: float) -> None:
        self.until = until
        self._task = task
        self._cancelling = task.cancelling()
        self._is_given_up = False

    def give_up(self) -> None:
        """Ends the waiting."""
        self._is_given_up = True
        self._task.cancel()

    def was_given_up(self) -> bool:
        """True when a cancellation just met is this one's, and nobody else's as well: as asyncio.timeout asks."""
        return self._is_given_up and self._task.uncancel() <= self._cancelling


class Arrivals:
    """The calls whose request is on its way. When there are too many, who has most of them loses the first.

    One timer is for all of them, the oldest of which is the first to be given up; `asyncio.timeout` would set and
    cancel one for each call.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._by_peer: dict[str, dict[_Arrival, None]] = {}
        self._oldest_first: dict[_Arrival, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def request(self, context: Context, peer: str) -> bytes:
        """The bytes of the request of a call of `peer`.

        Raises StatusError: REQUEST_INCOMPLETE when it does not come in REQUEST_SECONDS, or there is no room to wait for
        it; UNDECODABLE_REQUEST when the client has ended the call without one.
        """
        task: Any = asyncio.current_task()
        loop = asyncio.get_running_loop()
        arrival = _Arrival(task, loop.time() + REQUEST_SECONDS)
        self._add(peer, arrival, loop)
        try:
            raw: object = await context.read()
        except asyncio.CancelledError as error:
            if arrival.was_given_up():
                raise status_error(ErrorReason.REQUEST_INCOMPLETE) from error
            raise
        finally:
            self._remove(peer, arrival)
        if not isinstance(raw, bytes):
            raise status_error(ErrorReason.UNDECODABLE_REQUEST)
        return raw

    def _add(self, peer: str, arrival: _Arrival, loop: asyncio.AbstractEventLoop) -> None:
        if self._left <= 0:
            self._give_up_one()
        self._left -= 1
        self._by_peer.setdefault(peer, {})[arrival] = None
        self._oldest_first[arrival] = None
        if self._timer is None:
            self._timer = loop.call_at(arrival.until, self._look, loop)

    def _remove(self, peer: str, arrival: _Arrival) -> None:
        self._left += 1
        self._oldest_first.pop(arrival, None)
        theirs = self._by_peer.get(peer, {})
        theirs.pop(arrival, None)
        if not theirs:
            self._by_peer.pop(peer, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gives up what is too old, and comes again for the next."""
        self._timer = None
        while self._oldest_first:
            oldest = next(iter(self._oldest_first))
            if oldest.until > loop.time():
                self._timer = loop.call_at(oldest.until, self._look, loop)
                return
            del self._oldest_first[oldest]
            oldest.give_up()

    def _give_up_one(self) -> None:
        # Not the oldest of all: a client with few would lose its only one to a client with thousands.
        theirs = max(self._by_peer.values(), key=len, default=None)
        if theirs:
            first = next(iter(theirs))
            del theirs[first]
            del self._oldest_first[first]
            first.give_up()


class Admission:
    """The calls under way, each by what it carries."""

    def __init__(self, most_calls: int) -> None:
        self._most_calls = most_calls
        self._most_orders = ORDERS_A_CALL * most_calls
        self._calls = 0
        self._orders = 0
        self._bytes = 0

    @property
    def calls(self) -> int:
        """The number of calls under way."""
        return self._calls

    def check(self) -> None:
        """Raises StatusError (TOO_MANY_CALLS) when there is no room for another one, however small."""
        full = self._orders >= self._most_orders or self._bytes >= _MAX_REQUEST_BYTES
        if self._calls >= self._most_calls or full:
            raise status_error(ErrorReason.TOO_MANY_CALLS)

    @contextmanager
    def admitted(self, orders: int, request_bytes: int) -> Iterator[None]:
        """A call with so many orders and bytes is under way. Raises StatusError (TOO_MANY_CALLS) when it does not fit.

        What would never fit does when nothing else is under way.
        """
        self.check()
        too_many = self._orders + orders > self._most_orders or self._bytes + request_bytes > _MAX_REQUEST_BYTES
        if self._calls and too_many:
            raise status_error(ErrorReason.TOO_MANY_CALLS)
        self._add(1, orders, request_bytes)
        try:
            yield
        finally:
            self._add(-1, -orders, -request_bytes)

    def _add(self, calls: int, orders: int, request_bytes: int) -> None:
        self._calls += calls
        self._orders += orders
        self._bytes += request_bytes


def most_waiting(most_calls: int) -> int:
    """The number of requests that may be on their way where so many calls are served."""
    return _WAITING_A_CALL * most_calls


class UnreadResponses:
    """Response bytes a connection has not read yet. Above 16 MiB its list calls get TOO_MANY_CALLS."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()

    def add(self, page: bytes, context: Context) -> None:
        """Counts a page that is to go out. Raises StatusError when too many wait already."""
        peer = context.peer()
        if self._bytes[peer] > _MAX_UNREAD_BYTES:
            raise status_error(ErrorReason.TOO_MANY_CALLS)
        self._bytes[peer] += len(page)
        on_read: Any = partial(self._count_read, peer, len(page))
        context.add_done_callback(on_read)

    def _count_read(self, peer: str, octets: int, _: object) -> None:
        self._bytes[peer] -= octets
        if not self._bytes[peer]:
            del self._bytes[peer]
