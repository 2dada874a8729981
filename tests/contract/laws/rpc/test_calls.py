"""Laws of the call itself: deadlines, sizes, compression, unknown fields."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, GetOrderRequest
from ordersys.api.product.v1.product_service_pb2 import GetProductRequest
from tests.contract.harness.client import ORDER, PRODUCT, ROLES, RPCS, Answer, of_each
from tests.contract.harness.examples import share
from tests.contract.harness.order_events import settled
from tests.contract.harness.order_requests import changing
from tests.contract.harness.raw_call import framed, late_call
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing

CASES = [(role, method) for role in ROLES for method in RPCS[role]]
FEW = CASES if share(8) > 1 else [(role, RPCS[role][0]) for role in ROLES]  # what every server does with its bytes
every_rpc = pytest.mark.parametrize(("role", "method"), CASES, ids=[f"{role}-{method.name}" for role, method in CASES])
some_rpcs = pytest.mark.parametrize(("role", "method"), FEW, ids=[f"{role}-{method.name}" for role, method in FEW])
LARGE = 70_000_000
MOMENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
"""Milliseconds after which a call is cut off."""


def cut_creation(_: SystemUnderTest) -> tuple[Any, list[Any]]:
    """An order created alone, and the requests that repeat it."""
    request = creating()
    return request, [request, BatchCreateOrdersRequest(requests=[request])]


def cut_batch(_: SystemUnderTest) -> tuple[Any, list[Any]]:
    """An order created in a batch, and the requests that repeat it."""
    request = creating()
    return BatchCreateOrdersRequest(requests=[request]), [BatchCreateOrdersRequest(requests=[request]), request]


def cut_change(system: SystemUnderTest) -> tuple[Any, list[Any]]:
    """A change of an order, and the request that repeats it."""
    request = changing(system.create(), {"lamp": 9})
    return request, [request]


CUT: dict[str, Callable[[SystemUnderTest], tuple[Any, list[Any]]]] = {
    "creation": cut_creation,
    "batch": cut_batch,
    "change": cut_change,
}


@pytest.mark.cites("implement.md", "a request that is too large is refused with RESOURCE_EXHAUSTED, before it is read")
@some_rpcs
def test_a_request_over_the_limit_is_resource_exhausted(
    system: SystemUnderTest, role: str, method: MethodDescriptor
) -> None:
    """What is larger than any setting allows is refused before it is read."""
    answer = system.client.send(method, b"\x00" * LARGE, role)
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.cites("implement.md", "none has to be taken")
@pytest.mark.cites(
    "product_service.proto",
    "A service that takes none refuses a compressed request unread (UNIMPLEMENTED, no details, nothing was done)",
)
@every_rpc
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_a_compressed_request_is_taken_or_refused_as_such(
    system: SystemUnderTest, role: str, method: MethodDescriptor, compression: grpc.Compression
) -> None:
    """Never an unforeseen status: UNIMPLEMENTED says that this compression is not spoken.

    Whoever speaks it finds bytes that are no message: a field has no number 0.
    """
    answer = system.client.send(method, b"\x00" * 1500, role, compression=compression)
    assert answer.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)


def late(system: SystemUnderTest, role: str, request: Message) -> bytes | None:
    """The response to a call whose deadline has passed before its request arrives."""
    (method,) = (method for method in RPCS[role] if method.input_type is request.DESCRIPTOR)
    return late_call(system.addresses[role], method, framed(request.SerializeToString()), system.patience)


@pytest.mark.cites("implement.md", "a call whose deadline has passed when it arrives has no effect")
@pytest.mark.cites("order_service.proto", "A call that failed leaves its id unused.")
@pytest.mark.judges(ORDER, "in-clear")
def test_a_deadline_that_has_passed_has_no_effect_on_orders(system: SystemUnderTest) -> None:
    """It is not answered, and the order was not created: its id and its request_id are free."""
    request = creating()
    assert late(system, ORDER, request) is None
    assert system.call(GetOrderRequest(order_id=request.order_id)).reason == "ORDER_NOT_FOUND"
    other = creating()
    other.request_id, other.order_id = request.request_id, request.order_id
    assert system.ok(other).order.id == request.order_id


@pytest.mark.cites("implement.md", "a call whose deadline has passed when it arrives has no effect")
@pytest.mark.judges(PRODUCT, "in-clear")
def test_a_deadline_that_has_passed_has_no_effect_on_stock(system: SystemUnderTest) -> None:
    """It is not answered, and nothing is held."""
    product = system.new_product(10)
    assert late(system, PRODUCT, placing({product: 4})) is None
    assert system.stock(product) == (10, 0)


@pytest.mark.cites(
    "product_service.proto", "The same goes for UNAVAILABLE, DEADLINE_EXCEEDED and CANCELLED without details"
)
@pytest.mark.judges(PRODUCT, ORDER)
@pytest.mark.parametrize("milliseconds", [1, 2, 4, 8, 16, 32])
def test_whatever_a_deadline_leaves_behind_the_repeat_resolves(system: SystemUnderTest, milliseconds: int) -> None:
    """Cut off at any moment, the same request sent again is answered, and its stock is held once."""
    product = system.new_product(10)
    request = placing({product: 4})
    system.client.call(request, timeout=milliseconds / 1000)
    order = system.eventually(lambda: getattr(system.call(request).response, "order", None))
    assert system.order(order.id) == order
    system.eventually(lambda: system.stock(product) == (6, 4))


@pytest.mark.cites("implement.md", "A call that was cut off has had its whole effect or none; its repeat is answered.")
@pytest.mark.cites("order_service.proto", "A repeat within 24 h answers what the first success answered")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("kind", CUT)
def test_whatever_a_deadline_leaves_of_an_order_the_repeat_answers(system: SystemUnderTest, kind: str) -> None:
    """Cut off at any moment, the same request sent again is answered, and each version is told of."""
    orders = []
    for milliseconds in MOMENTS:
        request, repeats = CUT[kind](system)
        system.client.call(request, ORDER, timeout=milliseconds / 1000)
        answered = [answer for repeat in repeats for answer in answers(system, repeat)]
        assert [str(answer) for answer in answered] == ["OK"] * len(answered), f"after {milliseconds} ms"
        order = answered[0].response.order
        assert [answer.response.order for answer in answered] == [order] * len(answered)
        assert system.order(order.id) == order
        orders.append(order)
    if system.event_tap is not None:
        settled(system, system.event_tap, orders)


def answers(system: SystemUnderTest, request: Any) -> list[Answer]:
    """The answer to a request; of a batch those of its orders."""
    answer = system.call(request, ORDER)
    return of_each(answer, len(request.requests)) if hasattr(request, "requests") else [answer]


@pytest.mark.cites("implement.md", "ignore them in requests")
@pytest.mark.parametrize(
    ("role", "request_"),
    [(PRODUCT, GetProductRequest(product_id=f"p-{new_id()}")), (ORDER, GetOrderRequest(order_id=new_id()))],
)
def test_unknown_fields_do_no_harm(system: SystemUnderTest, role: str, request_: Message) -> None:
    """A request of a newer client is answered as one without them."""
    newer = type(request_)()
    newer.CopyFrom(request_)
    newer.MergeFromString(b"\xfa\x7f\x07unknown\x80\x7d\x01")
    assert newer.SerializeToString() != request_.SerializeToString()
    assert system.call(newer, role).status == system.call(request_, role).status
