"""Calls that stay open: how many of them, and that they end when the server does. Health (grpc.health.v1) on top.

A stream has no place among the calls (it waits, mostly), but a connection may only hold so many of them; and none
keeps a server from stopping.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import (  # type: ignore[attr-defined]
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import status_error
from ordersys.runtime.base.futures import wait_first
from ordersys.runtime.rpc.admission import Context

HEALTH = cast(ServiceDescriptor, health_pb2.DESCRIPTOR.services_by_name["Health"])
LIVENESS = "liveness"
"""Says that the process answers, whatever it depends on and also while it stops (product_service.proto)."""
STREAMS_A_CONNECTION = 4
"""A client watches a server or one of its services over a connection; nobody needs more than a few such streams."""
_LAST_WORD_SECONDS = 1.0  # for the last status to reach whoever watches
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Streams:
    """The streams that are open, by connection."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._open: Counter[str] = Counter()
        self._none_left = asyncio.Event()
        self._none_left.set()

    @contextmanager
    def one(self, context: Context) -> Iterator[None]:
        """A stream of the connection `context` belongs to. Raises StatusError (TOO_MANY_CALLS) when it has enough."""
        peer = context.peer()
        if self._open[peer] >= STREAMS_A_CONNECTION:
            raise status_error(ErrorReason.TOO_MANY_CALLS)
        self._open[peer] += 1
        self._none_left.clear()
        try:
            yield
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
            if not self._open:
                self._none_left.set()

    async def requests(self, context: Context) -> AsyncGenerator[bytes]:
        """The requests of one stream as they come, until the client has no more, or the server stops."""
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            while True:
                read = asyncio.ensure_future(context.read())
                await wait_first(read, stopping)
                if not read.done():
                    read.cancel()
                    return
                if not isinstance(raw := read.result(), bytes):
                    return
                yield raw
        finally:
            stopping.cancel()

    async def end(self, seconds: float) -> set[str]:
        """Waits for every stream to end, now that `stopping` is set: a second at most.

        The connections on which streams are left: nobody takes the last word there.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._none_left.wait(), min(seconds, _LAST_WORD_SECONDS))
        return set(self._open)


class Health:
    """The servicer of grpc.health.v1. Unlike grpcio's, it waits for nobody who watches."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._statuses: dict[str, int] = {"": NOT_SERVING, LIVENESS: SERVING}
        # An event each, and nobody waits for a watcher: grpcio's servicer holds a lock while it writes
        # (docs/reliability.md, "a watcher that reads nothing").
        self._watchers: set[asyncio.Event] = set()

    def set(self, names: list[str], serving: bool) -> None:
        """Says of these services whether they work, until the server stops."""
        # A probe that ends late must not take back the last word.
        if not self._streams.stopping.is_set():
            self._say(names, SERVING if serving else NOT_SERVING)

    def stop(self) -> None:
        """Says of each service that it does not work. The process is alive until it has ended.

        A supervisor restarts what is not alive: it would end the calls that are under way.
        """
        self._say([name for name in self._statuses if name != LIVENESS], NOT_SERVING)

    async def check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """The status of a service; NOT_FOUND for one that is not here."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service here.")
            raise AssertionError("abort raises")
        return HealthCheckResponse(status=status)

    async def statuses(self, request: HealthListRequest, context: Context) -> HealthListResponse:
        """The status of each service, by name."""
        checked = {name: HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return HealthListResponse(statuses=checked)

    async def watch(self, request: HealthCheckRequest, context: Context) -> AsyncGenerator[HealthCheckResponse]:
        """The statuses of a service until the server stops; the last is NOT_SERVING, but for LIVENESS."""
        said = None
        async with self._watched() as changed:
            while True:
                # Before the look: a change in between sets it again, and is not slept through.
                changed.clear()
                stopping = self._streams.stopping.is_set()
                status = self._statuses.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
                if status != said:
                    yield HealthCheckResponse(status=status)
                    said = status
                if stopping:
                    return
                await changed.wait()

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[asyncio.Event]:
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            yield changed
        finally:
            self._watchers.discard(changed)

    def _say(self, names: list[str], status: int) -> None:
        self._statuses.update(dict.fromkeys(names, status))
        for changed in self._watchers:
            changed.set()
