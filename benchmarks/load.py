"""The load generator, a process of its own: `python -m benchmarks.load`, with requests as lines of JSON.

Closed loop: a number of callers, each of which makes its next call when the last is answered. Open loop: calls at a
fixed rate whether or not earlier ones were answered, timed from when they were due, so that a stall counts for each
call that it delayed.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc.status_pb2 import Status

from benchmarks import samples
from benchmarks.baselines.echo import PATH
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.grpc_client.credentials import credentials

if TYPE_CHECKING:
    from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceAsyncStub

_TIMEOUT = 30.0  # seconds for a call; more than any call takes at the largest load
_BALANCED = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
Call = Callable[[], Awaitable[Sequence[str]]]
"""Makes one call; what it returns is the ids of the orders it placed, none for an echo."""


class NotPlaced(Exception):
    """An order of a batch was refused."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self._status = status

    def code(self) -> grpc.StatusCode:
        """The fields of a call that was refused."""
        return next(code for code in grpc.StatusCode if code.value[0] == self._status.code)


class Tally:
    """The results of one round: latencies in seconds, ids of accepted orders, refusals by code."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.orders: list[str] = []
        self.failed: dict[str, int] = {}

    async def make(self, call: Call, due: float) -> None:
        """Makes one call, timed from `due` (time.monotonic)."""
        try:
            order_ids = await call()
        except (grpc.aio.AioRpcError, NotPlaced) as error:
            self.failed[error.code().name] = self.failed.get(error.code().name, 0) + 1
            return
        self.latencies.append(time.monotonic() - due)
        self.orders.extend(order_ids)


def echo(channel: grpc.aio.Channel) -> Call:
    """A call with an empty message."""
    method: Any = channel.unary_unary(PATH)

    async def call() -> list[str]:
        await method(b"", timeout=_TIMEOUT)
        return []

    return call


def place_order(channel: grpc.aio.Channel, catalogue: int) -> Call:
    """A PlaceOrder of two products."""
    stub: ProductServiceAsyncStub = ProductServiceStub(channel)

    async def call() -> list[str]:
        response = await stub.PlaceOrder(samples.place_order(catalogue), timeout=_TIMEOUT)
        return [response.order.id]

    return call


def batch_place_orders(channel: grpc.aio.Channel, catalogue: int, orders: int) -> Call:
    """A BatchPlaceOrders of that many orders of two products."""
    stub: ProductServiceAsyncStub = ProductServiceStub(channel)

    async def call() -> list[str]:
        request = BatchPlaceOrdersRequest(requests=[samples.place_order(catalogue) for _ in range(orders)])
        results = (await stub.BatchPlaceOrders(request, timeout=_TIMEOUT)).results
        for result in results:
            if not result.HasField("order"):
                raise NotPlaced(result.status)
        return [result.order.id for result in results]

    return call


CALLS: dict[str, Callable[[grpc.aio.Channel, int, int], Call]] = {
    "echo": lambda channel, catalogue, orders: echo(channel),
    "place_order": lambda channel, catalogue, orders: place_order(channel, catalogue),
    "batch_place_orders": batch_place_orders,
}


async def closed(call: Call, tally: Tally, in_flight: int, seconds: float, most: int) -> None:
    """Keeps `in_flight` calls under way for `seconds`, or until `most` calls were made."""
    end = time.monotonic() + seconds
    left = iter(range(most))

    async def caller() -> None:
        while (now := time.monotonic()) < end and next(left, None) is not None:
            await tally.make(call, now)

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def opened(call: Call, tally: Tally, rate: float, seconds: float) -> None:
    """Makes `rate` calls a second for `seconds`, and waits for the last answer."""
    began = time.monotonic()
    calls = set()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        calls.add(asyncio.create_task(tally.make(call, due)))
    await asyncio.gather(*calls)


def options(target: str) -> Sequence[tuple[str, Any]]:
    """Of several addresses each gets its share of the calls."""
    return (("grpc.service_config", _BALANCED),) if "," in target else ()


class Loads:
    """Serves requests; a channel to each address is kept, so that no round pays for connecting."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, ...], grpc.aio.Channel] = {}

    async def answer(
        self,
        target: str,
        call: str,
        *,
        service: str = "",
        identity: Mapping[str, str] = MappingProxyType({}),
        catalogue: int = 0,
        orders: int = 1,
        **manner: Any,
    ) -> dict[str, Any]:
        """Makes a round: closed loop with `in_flight`, `seconds`, `most`, or open loop with `rate`, `seconds`.

        `identity` has the client's settings, `service` the name in the server's certificate; both empty for calls in
        clear. `orders` is the number of orders in each call of a batch.
        """
        tally, made = Tally(), CALLS[call](self._channel(target, service, identity), catalogue, orders)
        began, worked = time.monotonic(), time.process_time()
        await (opened if "rate" in manner else closed)(made, tally, **manner)
        ended, cpu = time.monotonic(), time.process_time() - worked
        return {"began": began, "ended": ended, "cpu": cpu, **vars(tally)}

    def _channel(self, target: str, service: str, identity: Mapping[str, str]) -> grpc.aio.Channel:
        at = (target, *identity.values())  # a port may be another system's later, with another authority
        if at not in self._channels:
            self._channels[at] = credentials(identity).channel(target, service, options(target))
        return self._channels[at]


async def main() -> None:
    """Serves requests from standard input until it ends."""
    loads, loop = Loads(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await loads.answer(**json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
