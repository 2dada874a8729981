"""A file of orders placed with few calls: before a real gRPC server that answers as this test wants it to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc.code_pb2 import Code

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import (
    BatchPlaceOrdersRequest,
    BatchPlaceOrdersResponse,
    PlaceOrderRequest,
    PlaceOrderResult,
)
from ordersys.api.product.v1.product_service_pb2_grpc import (
    ProductServiceServicer,
    add_ProductServiceServicer_to_server,
)
from ordersys.contract.addresses import Address
from ordersys.contract.errors import status_error
from ordersys.grpc_client import errors
from ordersys.grpc_client.batch import CHUNK, Batch, Outcome
from ordersys.grpc_client.connection import Client, Failed
from ordersys.grpc_client.peers import Peer

Answer = Callable[[Sequence[PlaceOrderRequest]], Sequence[PlaceOrderResult]]
OPEN = status_error(ErrorReason.OUTCOME_OPEN).status
SHORT = status_error(ErrorReason.OUT_OF_STOCK).status


class Shop(ProductServiceServicer):
    """A Product Service that answers a batch as `answer` says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.sizes: list[int] = []

    async def BatchPlaceOrders(self, request: BatchPlaceOrdersRequest, context: Any) -> BatchPlaceOrdersResponse:
        self.sizes.append(len(request.requests))
        try:
            return BatchPlaceOrdersResponse(results=self.answer(request.requests))
        except Refusal as refusal:
            await context.abort(refusal.code, "as told")
            raise


class Refusal(Exception):
    """The whole call is refused."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self.code = code


def taken(requests: Sequence[PlaceOrderRequest]) -> list[PlaceOrderResult]:
    """Each gets an order by the id of its request."""
    return [
        PlaceOrderResult(order=Order(id=request.request_id, customer_id=request.customer_id)) for request in requests
    ]


@asynccontextmanager
async def served(answer: Answer, seconds: float = 5.0, most: int = 4_194_304) -> AsyncIterator[tuple[Shop, Client]]:
    """A server that takes messages up to `most` bytes, and a client of it."""
    shop = Shop(answer)  # type: ignore[abstract] # the other calls are not made
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", most),))
    add_ProductServiceServicer_to_server(shop, server)
    peer = Peer("Product Service", "product_service", Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0")))
    await server.start()
    client = Client((peer, peer, peer, peer), seconds)
    try:
        yield shop, client
    finally:
        await client.close()
        await server.stop(None)


def asked(count: int, customer: str = "anna") -> list[PlaceOrderRequest]:
    """So many requests, numbered."""
    return [PlaceOrderRequest(request_id=str(number), customer_id=customer) for number in range(count)]


async def placed(client: Client, requests: Sequence[PlaceOrderRequest]) -> tuple[Batch, list[tuple[int, Outcome]]]:
    """The batch once it has ended, and what it told."""
    reported: list[tuple[int, Outcome]] = []

    def tell(entry: int, outcome: Outcome) -> None:
        reported.append((entry, outcome))

    batch = Batch(client, requests, tell, again="repeat the same command, which places nothing twice")
    await batch.place()
    return batch, reported


def statuses(batch: Batch) -> dict[int, int]:
    """The codes of those that failed, by entry."""
    return {i: outcome.status.code for i, outcome in enumerate(batch.outcomes) if isinstance(outcome, Failed)}


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK - 1])
async def test_each_entry_has_its_order_and_is_told_in_its_turn(count: int) -> None:
    """With as few calls as there are chunks."""
    async with served(taken) as (shop, client):
        batch, reported = await placed(client, asked(count))
    assert [outcome.id for outcome in batch.outcomes if isinstance(outcome, Order)] == [str(n) for n in range(count)]
    assert reported == list(enumerate(batch.outcomes, 1))
    assert sum(shop.sizes) == count and len(shop.sizes) == -(-count // CHUNK)


async def test_large_orders_go_in_smaller_chunks() -> None:
    """By bytes, and one alone where it is large."""
    async with served(taken) as (shop, client):
        batch, _ = await placed(client, asked(10, "a" * 300_000))
    assert not statuses(batch)
    assert max(shop.sizes) == 3


async def test_a_service_that_takes_small_messages_gets_small_ones() -> None:
    """A batch that is too large is asked for in halves; an entry that is too large alone is refused alone."""
    requests = asked(150)
    requests[70].customer_id = "a" * 2000
    async with served(taken, most=1024) as (_, client):
        batch, reported = await placed(client, requests)
    assert statuses(batch) == {70: Code.RESOURCE_EXHAUSTED}
    assert [entry for entry, _ in reported] == list(range(1, 151))


async def test_one_that_the_service_fails_over_does_not_drag_others_along() -> None:
    """It is found by halves, and named."""

    def answer(requests: Sequence[PlaceOrderRequest]) -> Sequence[PlaceOrderResult]:
        if any(request.request_id == "42" for request in requests):
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT)
        return taken(requests)

    async with served(answer) as (_, client):
        batch, _ = await placed(client, asked(CHUNK * 2))
    assert statuses(batch) == {42: Code.INVALID_ARGUMENT}


async def test_a_refusal_is_the_outcome_of_its_entry() -> None:
    """The others are placed."""

    def answer(requests: Sequence[PlaceOrderRequest]) -> Sequence[PlaceOrderResult]:
        return [PlaceOrderResult(status=SHORT) if r.request_id == "1" else taken([r])[0] for r in requests]

    async with served(answer) as (_, client):
        batch, _ = await placed(client, asked(3))
    assert statuses(batch) == {1: Code.FAILED_PRECONDITION}


async def test_an_open_outcome_is_asked_for_again_and_only_that() -> None:
    """Until it is known."""
    tries: list[list[str]] = []

    def answer(requests: Sequence[PlaceOrderRequest]) -> Sequence[PlaceOrderResult]:
        tries.append([request.request_id for request in requests])
        late = len(tries) < 3
        return [PlaceOrderResult(status=OPEN) if late and r.request_id == "1" else taken([r])[0] for r in requests]

    async with served(answer, seconds=20) as (_, client):
        batch, _ = await placed(client, asked(3))
    assert tries == [["0", "1", "2"], ["1"], ["1"]]
    assert not statuses(batch)


async def test_an_outcome_that_stays_open_ends_it_and_says_how_to_go_on() -> None:
    """Nothing more is asked for: it would wait as long."""

    def answer(requests: Sequence[PlaceOrderRequest]) -> Sequence[PlaceOrderResult]:
        return [PlaceOrderResult(status=OPEN) if r.request_id == "7" else taken([r])[0] for r in requests]

    async with served(answer, seconds=0.5) as (_, client):
        batch, _ = await placed(client, asked(400 * CHUNK))
    assert statuses(batch) == {7: Code.UNAVAILABLE}
    assert batch.asked < 400 * CHUNK and batch.outcomes[-1] is None
    failed = batch.outcomes[7]
    assert isinstance(failed, Failed)
    assert errors.sentence(failed).endswith("to learn it, repeat the same command, which places nothing twice.")


async def test_a_service_that_does_not_answer_ends_it() -> None:
    """The entries on their way are open, the rest was not asked for."""

    def answer(requests: Sequence[PlaceOrderRequest]) -> Sequence[PlaceOrderResult]:
        if requests[0].request_id != "0":
            raise Refusal(grpc.StatusCode.UNAVAILABLE)
        return taken(requests)

    async with served(answer) as (_, client):
        batch, reported = await placed(client, asked(10 * CHUNK))
    assert set(statuses(batch).values()) == {Code.UNAVAILABLE}
    assert batch.outcomes[-1] is None
    assert [entry for entry, _ in reported][:CHUNK] == list(range(1, CHUNK + 1))


async def test_whoever_interrupts_it_knows_how_far_it_came() -> None:
    """Outcomes that were told stay told; the rest is open or was not asked for."""
    reached = asyncio.Event()

    async def interrupted(client: Client) -> Batch:
        batch = Batch(client, asked(30 * CHUNK), lambda entry, outcome: reached.set() if entry == CHUNK else None)
        task = asyncio.create_task(batch.place())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return batch

    async with served(taken) as (_, client):
        batch = await interrupted(client)
    assert sum(isinstance(result, Order) for result in batch.outcomes) >= CHUNK
    assert batch.asked < 30 * CHUNK
