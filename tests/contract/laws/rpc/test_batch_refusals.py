"""Laws of the batches of both services: what is refused as a whole, what order by order, and what comes at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message

from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, GetOrderRequest
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest
from tests.contract.harness.client import ORDER, PRODUCT, Answer, of_each
from tests.contract.harness.normal_form import copy
from tests.contract.harness.refusals import refusal_in, taken_order, unknown_product
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing
from tests.contract.harness.variants import altered

CROWD, ROUNDS, SIZE = 4, 4, 5


class Batch(NamedTuple):
    """The batch of a service: its request, and the request for one order."""

    role: str
    of: Callable[..., Message]
    request: Callable[[SystemUnderTest], Any]


BATCHES = [
    Batch(ORDER, lambda requests: BatchCreateOrdersRequest(requests=requests), lambda system: creating()),
    Batch(
        PRODUCT,
        lambda requests: BatchPlaceOrdersRequest(requests=requests),
        lambda system: placing({system.new_product(): 1}),
    ),
]
every_batch = pytest.mark.parametrize(("role", "batch"), [(batch.role, batch) for batch in BATCHES])


@pytest.mark.cites(
    "implement.md",
    "Of a batch, one broken rule refuses the whole call; nothing of it is done, and its request_ids stay unused.",
)
@every_batch
@pytest.mark.parametrize("broken", [0, 2, SIZE - 1])
def test_nothing_is_done_of_a_batch_with_a_broken_rule(
    system: SystemUnderTest, role: str, batch: Batch, broken: int
) -> None:
    """INVALID_REQUEST, wherever the broken one stands: the others are not there, their ids serve other requests."""
    requests = [batch.request(system) for _ in range(SIZE)]
    requests[broken].customer_id = "Not / valid"
    answer = system.call(batch.of(requests), role)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), str(answer)
    assert answer.fields == [(f"requests[{broken}].customer_id", "string.slug")]
    if role == ORDER:
        for request in requests:
            assert system.call(GetOrderRequest(order_id=request.order_id)).reason == "ORDER_NOT_FOUND"
    requests[broken].customer_id = "anna"
    for request in requests:
        other = copy(request)
        other.items[0].quantity += 1
        order = system.ok(other, role).order
        assert (order.version, order.items[0].quantity) == (1, other.items[0].quantity)


@pytest.mark.cites("order_service.proto", "each as CreateOrder would: one that is refused does not hinder the others")
@pytest.mark.cites("product_service.proto", "One result for each request, at the same index.")
@every_batch
@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_of_which_all_are_refused_has_a_status_for_each(
    system: SystemUnderTest, role: str, batch: Batch, count: int
) -> None:
    """It is OK, and so it is of one: the results say why there is no order."""
    requests, refusals = [batch.request(system) for _ in range(count)], []
    for request in requests:
        if role == ORDER:
            request.order_id = system.create().id
            refusals.append(taken_order(request.order_id))
        else:
            request.items[0].product_id = f"p-{new_id()}"
            refusals.append(unknown_product(request.items[0].product_id))
    answer = system.call(batch.of(requests), role)
    assert answer.response is not None, f"a batch of {count} was refused as a whole: {answer}"
    assert [refusal_in(result) for result in of_each(answer, count)] == refusals


@pytest.mark.cites("order_service.proto", "ALREADY_EXISTS (ORDER_ALREADY_EXISTS) when the id is taken by another order")
@pytest.mark.cites("order_service.proto", "Creates many orders in one commit, each as CreateOrder would")
@pytest.mark.judges(ORDER)
def test_of_two_orders_with_one_id_in_a_batch_one_is_created(system: SystemUnderTest) -> None:
    """The other is ORDER_ALREADY_EXISTS, whichever it is; the order is the one that was answered."""
    requests = [creating({"lamp": units + 1}, f"c-{units}") for units in range(3)]
    for request in requests:
        request.order_id = requests[0].order_id
    answers = of_each(system.call(BatchCreateOrdersRequest(requests=requests)), 3)
    assert_one_is_made(system, answers, requests[0].order_id)


@pytest.mark.cites("order_service.proto", "ALREADY_EXISTS (ORDER_ALREADY_EXISTS) when the id is taken by another order")
@pytest.mark.cites(
    "implement.md",
    "they have the effect of the same calls one after the other, each between its request and its answer",
)
@pytest.mark.judges(ORDER)
def test_of_creations_at_once_with_one_order_id_one_is_made(system: SystemUnderTest) -> None:
    """Alone and in batches: one is answered with its order, the others are ORDER_ALREADY_EXISTS."""
    for _ in range(ROUNDS):
        requests = [creating({"lamp": units + 1}, f"c-{units}") for units in range(2 * CROWD)]
        for request in requests:
            request.order_id = requests[0].order_id
        batches = [BatchCreateOrdersRequest(requests=[request]) for request in requests[CROWD:]]
        answers = at_once(system, [*requests[:CROWD], *batches], ORDER)
        alone = [*answers[:CROWD], *(of_each(answer, 1)[0] for answer in answers[CROWD:])]
        assert_one_is_made(system, alone, requests[0].order_id)


def assert_one_is_made(system: SystemUnderTest, answers: list[Answer], order_id: str) -> None:
    """One of these creations was answered with its order, which is there; the others say that the id is taken."""
    made = [answer.response.order for answer in answers if answer.response is not None]
    refused = [refusal_in(answer) for answer in answers if answer.response is None]
    assert (len(made), refused) == (1, [taken_order(order_id)] * (len(answers) - 1))
    assert [system.order(order_id)] == made


def at_once(system: SystemUnderTest, requests: list[Any], role: str) -> list[Answer]:
    """The answers to requests that are made at the same time."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: system.call(request, role), requests))


@pytest.mark.cites("implement.md", "Equal requests at the same time have one effect and get the same answer")
@pytest.mark.cites("implement.md", "and never with UNKNOWN, INTERNAL or UNIMPLEMENTED")
@every_batch
def test_batches_at_once_of_the_same_requests_in_any_order_are_answered_alike(
    system: SystemUnderTest, role: str, batch: Batch
) -> None:
    """Each request gets one order, wherever it stands in which batch: nobody waits for the other in a circle."""
    for _ in range(ROUNDS):
        requests = [batch.request(system) for _ in range(SIZE)]
        orders = [requests, requests[::-1], requests[2:] + requests[:2], requests[::-1]]
        answers = at_once(system, [batch.of(order) for order in orders], role)
        assert [str(answer) for answer in answers] == ["OK"] * len(orders)
        by_id = [
            {
                request.request_id: result.response.order
                for request, result in zip(order, of_each(answer, SIZE), strict=True)
            }
            for order, answer in zip(orders, answers, strict=True)
        ]
        assert by_id == [by_id[0]] * len(orders)


@pytest.mark.cites("implement.md", "another request under the same request_id is REQUEST_ID_REUSED")
@pytest.mark.cites(
    "implement.md",
    "they have the effect of the same calls one after the other, each between its request and its answer",
)
@every_batch
def test_of_different_requests_at_once_under_one_id_in_batches_one_is_made(
    system: SystemUnderTest, role: str, batch: Batch
) -> None:
    """Alone or in a batch: one has its order, the others are REQUEST_ID_REUSED."""
    for _ in range(ROUNDS):
        request = batch.request(system)
        others = [request, *(other for way, other in altered(request).items() if way == "customer_id")]
        others += [copy(other) for other in others]
        for units, other in enumerate(others):
            other.items[0].quantity = units + 1
        calls = [*others[:2], *(batch.of([other]) for other in others[2:])]
        answers = at_once(system, calls, role)
        alone = [*answers[:2], *(of_each(answer, 1)[0] for answer in answers[2:])]
        assert sorted(answer.reason for answer in alone) == ["", *["REQUEST_ID_REUSED"] * 3]
