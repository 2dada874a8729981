"""Messages put around bytes are what protobuf would have encoded."""

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    BatchCreateOrdersResponse,
    CreateOrderResponse,
    CreateOrderResult,
    UpdateOrderResponse,
)
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse, PlaceOrderResult
from ordersys.contract.splicing import around, hold_first
from tests.contract.harness.sample_orders import sample_order

HOLDERS = (
    CreateOrderResponse,
    CreateOrderResult,
    UpdateOrderResponse,
    OrderCreated,
    PlaceOrderResponse,
    PlaceOrderResult,
)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("length", [1, 100, 127, 128, 16_383, 16_384, 300_000])
def test_an_order_is_held_as_protobuf_holds_it(holder: type[Message], length: int) -> None:
    """To the byte, on both sides of where a length takes one byte more."""
    order = sample_order()
    order.customer_id = "c" * length
    whole = holder(order=order).SerializeToString()
    assert around(order.SerializeToString()) == whole


@given(st.binary(min_size=1, max_size=40_000))
def test_whatever_is_inside_comes_out_again(body: bytes) -> None:
    """It is not looked at."""
    assert around(body)[-len(body) :] == body


def test_others_follow_it() -> None:
    """Of a message with more fields, and of one that repeats it."""
    orders = [sample_order(), sample_order()]
    rest = OrderUpdated(previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=["items"])
    spliced = around(orders[0].SerializeToString()) + rest.SerializeToString()
    rest.order.CopyFrom(orders[0])
    assert spliced == rest.SerializeToString()
    results = [around(order.SerializeToString()) for order in orders]
    response = BatchCreateOrdersResponse.FromString(b"".join(map(around, results)))
    assert [result.order for result in response.results] == orders


@pytest.mark.parametrize("kind", [Order, BatchCreateOrdersRequest])
def test_a_message_that_is_laid_out_otherwise_is_refused(kind: type[Message]) -> None:
    """By name, at the start."""
    with pytest.raises(TypeError, match=kind.DESCRIPTOR.full_name):
        hold_first("order", CreateOrderResult, kind)
