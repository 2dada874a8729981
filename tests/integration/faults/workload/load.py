"""Offered load, from a process of its own: `python -m …faults.workload.load ADDRESS '{…}'` (an Offer as JSON).

First as many calls at a time as a client may have, each answer followed by the next call: what the service can
do. Then so many times as much, whether it answers or not; then as at first again, since others may have come to
work on the machine. One JSON array a call comes out: see Call.
"""

import asyncio
import base64
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from tests import http2
from tests.integration.faults.workload.manner import manner
from tests.integration.faults.workload.requests import new_id, placing

PATH = "/ordersys.api.product.v1.ProductService/PlaceOrder"
AT_A_TIME = 256
OK, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE = 0, 1, 4, 8, 14
_CONNECTIONS = 8
_TICK = 0.002
_WIDE = {http2.INITIAL_WINDOW_SIZE: http2.WIDEST_WINDOW}
_PREFIX = 5  # of a gRPC message: compressed or not, and its length


class Offer(NamedTuple):
    """The load to generate: `times` as much as the service does, for so many seconds."""

    name: str
    products: Sequence[str]
    times: float
    measured: float
    seconds: float
    timeout: float
    identities: str = ""
    """The folder of the identities, empty where all goes in clear."""


class Call(NamedTuple):
    """One call: when it was due and when it was answered (seconds of the monotonic clock), and with what."""

    due: float
    ended: float
    code: int
    retry: bool
    """True if it came with google.rpc.RetryInfo."""
    body: str
    """The response, in Base64."""
    offered: bool
    """True if it was part of the offered load; false if it measured what the service can do."""

    @property
    def took(self) -> float:
        """Seconds from when it was due."""
        return self.ended - self.due


def requests(name: str, products: Sequence[str]) -> Iterator[PlaceOrderRequest]:
    """The requests of a load of that name, always the same: each for a customer of its own."""
    dice = random.Random(name)
    number = 0
    while True:
        number += 1
        yield placing(new_id(dice), f"{name}-load-{number}", {dice.choice(products): 1})


def put(address: str, offer: Offer) -> list[Call]:
    """Has a process of its own put that load on a service; the calls in order of `requests`."""
    command = [sys.executable, "-m", "tests.integration.faults.workload.load", address, json.dumps(offer)]
    patience = offer.measured + offer.seconds + 3 * offer.timeout + 30
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=True)
    return [Call(*json.loads(line)) for line in done.stdout.splitlines()]


class _Open(NamedTuple):
    """A call under way."""

    number: int
    due: float


class _Connection(asyncio.Protocol):
    """One connection, with as many calls as the service lets it have."""

    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._heard = bytearray()
        self._bodies: dict[int, bytes] = {}
        self._next = 1
        self.open: dict[int, _Open] = {}
        self.most = AT_A_TIME

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        wider = http2.window_update(0, http2.WIDEST_WINDOW - http2.FIRST_WINDOW)
        transport.write(http2.greeting(_WIDE) + wider)

    def connection_lost(self, error: Exception | None) -> None:
        self.most = 0
        while self.open:
            self._generator.end(self.open.popitem()[1], UNAVAILABLE)

    def data_received(self, octets: bytes) -> None:
        self._heard += octets
        for frame in http2.frames(self._heard):
            self._transport.write(http2.answer_to(frame))
            if frame.kind == http2.SETTINGS:
                self.most = http2.settings_in(frame.payload).get(http2.MAX_CONCURRENT_STREAMS, self.most)
            elif frame.stream in self.open:
                self._take(frame)

    def _take(self, frame: http2.Frame) -> None:
        if frame.kind == http2.DATA:
            self._bodies[frame.stream] = self._bodies.get(frame.stream, b"") + frame.payload
        if frame.ends:
            code = http2.status_in(frame.payload) if frame.kind == http2.HEADERS else UNAVAILABLE
            body = self._bodies.pop(frame.stream, b"")[_PREFIX:]
            self._generator.end(
                self.open.pop(frame.stream), UNAVAILABLE if code is None else code, body, b"RetryInfo" in frame.payload
            )

    def call(self, opened: _Open, body: bytes, timeout: float) -> None:
        """Makes a call."""
        stream, self._next = self._next, self._next + 2
        self.open[stream] = opened
        deadline = ("grpc-timeout", f"{int(timeout * 1000)}m")
        fields = [*self._generator.fields, deadline]
        self._transport.write(http2.headers(stream, PATH, fields) + http2.message(stream, body))


class _Generator:
    """Makes the calls of an offer."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._requests = requests(offer.name, offer.products)
        self._offered = False
        self._follows = False
        self._quiet = asyncio.Event()
        self._calls: list[Call | None] = []
        self._connections: list[_Connection] = []
        self.fields: tuple[tuple[str, str], ...] = ()
        """Those that each call shows."""

    async def run(self, address: str) -> Sequence[Call | None]:
        """Every call made, in order."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        shown = manner(self._offer.identities)
        tls, self.fields = (None, ()) if shown is None else shown
        for _ in range(_CONNECTIONS):
            made = await loop.create_connection(lambda: _Connection(self), host, int(port), ssl=tls)
            self._connections.append(made[1])
        rate = await self._measure()
        self._offered = True
        await self._put(rate * self._offer.times)
        self._offered = False
        await self._measure()
        return self._calls

    def end(self, opened: _Open, code: int, body: bytes = b"", retry: bool = False) -> None:
        """A call has ended."""
        shown = base64.b64encode(body).decode()
        self._calls[opened.number] = Call(opened.due, time.monotonic(), code, retry, shown, self._offered)
        if self._follows:
            self._call(time.monotonic())
        elif not self._under_way():
            self._quiet.set()

    async def _measure(self) -> float:
        """The calls a second that are answered when each answer is followed by the next call."""
        self._follows = True
        for _ in range(AT_A_TIME):
            self._call(time.monotonic())
        await asyncio.sleep(self._offer.measured)
        self._follows = False
        answered = sum(call is not None and call.code == OK for call in self._calls)
        await self._answered()
        return max(1, answered) / self._offer.measured

    async def _put(self, rate: float) -> None:
        began, made = time.monotonic(), 0
        while made < self._offer.seconds * rate:
            while made < min(time.monotonic() - began, self._offer.seconds) * rate:
                self._call(began + made / rate)
                made += 1
            await asyncio.sleep(_TICK)
        await self._answered()

    async def _answered(self) -> None:
        """Returns when every call is answered, or much more time than it was given has passed."""
        self._quiet.clear()
        if self._under_way():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), 2 * self._offer.timeout)

    def _under_way(self) -> bool:
        return any(connection.open for connection in self._connections)

    def _call(self, due: float) -> None:
        """Makes a call, unless there are as many under way as the service lets its clients have."""
        connection = min(self._connections, key=lambda candidate: len(candidate.open) - candidate.most)
        if len(connection.open) < connection.most:
            opened = _Open(len(self._calls), due)
            self._calls.append(None)
            connection.call(opened, next(self._requests).SerializeToString(), self._offer.timeout)


def main() -> None:
    """Tells of each call; one that was never answered has exceeded its deadline."""
    address, asked = sys.argv[1:]
    offer = Offer(*json.loads(asked))
    for call in asyncio.run(_Generator(offer).run(address)):
        print(json.dumps(call or Call(0.0, 2 * offer.timeout, DEADLINE_EXCEEDED, False, "", True)))


if __name__ == "__main__":
    main()
