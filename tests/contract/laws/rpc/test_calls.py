"""Laws of the call itself: deadlines, sizes, compression, unknown fields."""

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest
from ordersys.api.product.v1.product_service_pb2 import GetProductRequest
from tests.contract.harness.client import ORDER, PRODUCT, ROLES, RPCS
from tests.contract.harness.system_under_test import World, creating, new_id, placing

CASES = [(role, method) for role in ROLES for method in RPCS[role]]
every_rpc = pytest.mark.parametrize(("role", "method"), CASES, ids=[f"{role}-{method.name}" for role, method in CASES])
LARGE = 70_000_000
PAST = -1.0


@every_rpc
def test_a_request_over_the_limit_is_resource_exhausted(world: World, role: str, method: MethodDescriptor) -> None:
    """What is larger than any setting allows is refused before it is read."""
    answer = world.wire.send(method, b"\x00" * LARGE, role)
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@every_rpc
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_a_compressed_request_is_taken_or_refused_as_such(
    world: World, role: str, method: MethodDescriptor, compression: grpc.Compression
) -> None:
    """Never an unforeseen status: UNIMPLEMENTED says that this compression is not spoken."""
    answer = world.wire.send(method, b"\x0a\x01x" * 500, role, compression=compression)
    assert answer.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)


@pytest.mark.judges(ORDER)
def test_a_deadline_that_has_passed_has_no_effect_on_orders(world: World) -> None:
    """DEADLINE_EXCEEDED, and the order was not created: its id and its request_id are free."""
    request = creating()
    assert world.wire.call(request, timeout=PAST).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert world.call(GetOrderRequest(order_id=request.order_id)).reason == "ORDER_NOT_FOUND"
    other = creating()
    other.request_id, other.order_id = request.request_id, request.order_id
    assert world.ok(other).order.id == request.order_id


@pytest.mark.judges(PRODUCT)
def test_a_deadline_that_has_passed_has_no_effect_on_stock(world: World) -> None:
    """DEADLINE_EXCEEDED, and nothing is held."""
    product = world.new_product(10)
    assert world.wire.call(placing({product: 4}), timeout=PAST).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert world.stock(product) == (10, 0)


@pytest.mark.judges(PRODUCT, ORDER)
@pytest.mark.parametrize("milliseconds", [1, 2, 4, 8, 16, 32])
def test_whatever_a_deadline_leaves_behind_the_repeat_resolves(world: World, milliseconds: int) -> None:
    """Cut off at any moment, the same request sent again is answered, and its stock is held once."""
    product = world.new_product(10)
    request = placing({product: 4})
    world.wire.call(request, timeout=milliseconds / 1000)
    order = world.eventually(lambda: getattr(world.call(request).response, "order", None))
    assert world.order(order.id) == order
    world.eventually(lambda: world.stock(product) == (6, 4))


@pytest.mark.parametrize(
    ("role", "request_"),
    [(PRODUCT, GetProductRequest(product_id=f"p-{new_id()}")), (ORDER, GetOrderRequest(order_id=new_id()))],
)
def test_unknown_fields_do_no_harm(world: World, role: str, request_: Message) -> None:
    """A request of a newer client is answered as one without them."""
    newer = type(request_)()
    newer.CopyFrom(request_)
    newer.MergeFromString(b"\xfa\x7f\x07unknown\x80\x7d\x01")
    assert newer.SerializeToString() != request_.SerializeToString()
    assert world.call(newer, role).status == world.call(request_, role).status
