"""Many orders placed with few calls: each entry of a file gets an outcome, whatever becomes of the others.

Every entry is a request with an id of its own that follows from the file, so that whoever was interrupted, or got no
answer, places the same file again and loses and doubles nothing.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from google.rpc.status_pb2 import Status

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest, PlaceOrderRequest
from ordersys.grpc_client import errors, outcome
from ordersys.grpc_client.connection import Client, Failed, Patience, Waited, may_help

# Few enough that progress is seen, and that a service admits several at a time; the contract allows 500.
CHUNK = 100
# A quarter of what a service takes unless told otherwise, and enough for 100 orders of everyday size.
_CHUNK_BYTES = 1024 * 1024
# While one is being decided the next is on its way, and another one's answer is read.
_IN_FLIGHT = 4

Outcome: TypeAlias = Order | Failed
Rendered: TypeAlias = Callable[[int, Outcome], None]


class Batch:
    """Places `requests`, and shows the outcome of each as soon as those before it are known.

    `again` is how one that failed is repeated (see Failed).
    """

    def __init__(self, client: Client, requests: Sequence[PlaceOrderRequest], show: Rendered, again: str = "") -> None:
        self.outcomes: list[Outcome | None] = [None] * len(requests)
        """The outcome of each; None while that is not known."""
        self.asked = 0
        """The number of requests that were sent."""
        self._client = client
        self._requests = requests
        self._show = show
        self._again = again
        self._next_shown = 0
        self._stopped = False

    async def place(self) -> None:
        """Returns when each was asked for, or when the service does not answer. To be called once."""
        chunks = _chunks(self._requests)
        async with asyncio.TaskGroup() as group:
            for _ in range(_IN_FLIGHT):
                group.create_task(self._lane(chunks))

    async def _lane(self, chunks: Iterator[range]) -> None:
        for chunk in chunks:
            if self._stopped:
                return
            self.asked = chunk.stop
            await self._settle(chunk)
            self._show_known()

    async def _settle(self, entries: Sequence[int]) -> None:
        """Asks for these until each has an outcome; a batch that is refused as a whole is asked for in halves."""
        patience = Patience(self._client.timeout)
        left = entries
        while left:
            try:
                statuses = await self._ask(left)
            except Failed as failed:
                if len(left) > 1 and errors.exit_status(failed) == outcome.REFUSED and not may_help(failed.status):
                    await self._settle(left[: len(left) // 2])
                    await self._settle(left[len(left) // 2 :])
                else:
                    self._fail(dict.fromkeys(left, failed.status), failed.waited)
                    self._stopped |= errors.exit_status(failed) != outcome.REFUSED or may_help(failed.status)
                return
            again = {entry: status for entry, status in statuses.items() if may_help(status)}
            self._fail({entry: status for entry, status in statuses.items() if entry not in again})
            if again and not await patience.pause(next(iter(again.values()))):
                self._fail(again)
                self._stopped = True
                return
            left = list(again)

    async def _ask(self, entries: Sequence[int]) -> dict[int, Status]:
        """Keeps the orders; the statuses of those that were not placed."""
        request = BatchPlaceOrdersRequest(requests=[self._requests[entry] for entry in entries])
        response = await self._client.product(self._client.products.BatchPlaceOrders, request)
        statuses = {}
        for entry, result in zip(entries, response.results, strict=True):
            if result.HasField("order"):
                self.outcomes[entry] = result.order
            else:
                statuses[entry] = result.status
        return statuses

    def _fail(self, statuses: dict[int, Status], waited: Waited | None = None) -> None:
        peer, waited = self._client.peers[0], waited or Waited(self._client.timeout)
        known_by = self._client.known_by
        for entry, status in statuses.items():
            failed = Failed(peer, self._requests[entry], status, waited, self._again)
            failed.known_by = known_by
            self.outcomes[entry] = failed

    def _show_known(self) -> None:
        """In the order of the entries, and no chunk in two parts."""
        while self._next_shown < len(self.outcomes):
            result = self.outcomes[self._next_shown]
            if result is None:
                return
            self._next_shown += 1
            self._show(self._next_shown, result)


def _chunks(requests: Sequence[PlaceOrderRequest]) -> Iterator[range]:
    first, size = 0, 0
    for index, request in enumerate(requests):
        bytes_ = request.ByteSize()
        if index - first == CHUNK or (index > first and size + bytes_ > _CHUNK_BYTES):
            yield range(first, index)
            first, size = index, 0
        size += bytes_
    if first < len(requests):
        yield range(first, len(requests))
