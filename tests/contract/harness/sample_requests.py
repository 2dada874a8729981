"""Sample requests: for every changing RPC one that succeeds, and others that mean the same or something else."""

import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

from google.protobuf.message import Message

from ordersys.api.notification.v1 import dead_letter_service_pb2 as letters_api
from ordersys.api.order.v1 import order_service_pb2 as order_api
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.product.v1 import product_service_pb2 as product_api
from ordersys.api.product.v1.product_pb2 import Product
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.system_under_test import (
    PRICE,
    SystemUnderTest,
    creating,
    new_id,
    placing,
    priced,
    quantities,
)


class SampleRequest(NamedTuple):
    """A changing RPC: who serves it, a request that succeeds once, and a change that makes it another request."""

    role: str
    request: Callable[[SystemUnderTest], Any]
    alter: Callable[[Any], None]


def _create_product(_: SystemUnderTest) -> Message:
    product = Product(id=f"p-{new_id()[:16]}", name="A product", unit_price=PRICE, available=5)
    return product_api.CreateProductRequest(request_id=new_id(), product=product)


def _adjust_stock(system: SystemUnderTest) -> Message:
    return product_api.AdjustStockRequest(request_id=new_id(), product_id=system.new_product(), delta=3)


def _place_order(system: SystemUnderTest) -> Message:
    return placing({system.new_product(): 2, system.new_product(): 3})


def _update_items(system: SystemUnderTest) -> Message:
    order = system.place({system.new_product(): 2, system.new_product(): 3})
    items = product_api.ItemQuantities(items=quantities({item.product_id: 4 for item in order.items}))
    return product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)


def _update_state(system: SystemUnderTest) -> Message:
    order = system.place({system.new_product(): 2})
    state = OrderState.ORDER_STATE_PAID
    return product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=state)


def _cancel_order(system: SystemUnderTest) -> Message:
    order = system.place({system.new_product(): 2})
    return product_api.CancelOrderRequest(request_id=new_id(), order_id=order.id)


def _create_order(_: SystemUnderTest) -> Message:
    return creating({"desk": 1, "lamp": 2})


def _hop_items(system: SystemUnderTest) -> Message:
    items = order_api.OrderItems(items=priced({"desk": 5, "lamp": 6}))
    return order_api.UpdateOrderRequest(request_id=new_id(), order_id=system.create().id, items=items)


def _hop_state(system: SystemUnderTest) -> Message:
    state = OrderState.ORDER_STATE_CANCELLED
    return order_api.UpdateOrderRequest(request_id=new_id(), order_id=system.create().id, state=state)


def _replay(role: str) -> Callable[[SystemUnderTest], Message]:
    return lambda system: letters_api.ReplayDeadLettersRequest(
        request_id=new_id(), dead_letter_ids=[_aside(system, role)]
    )


def _discard(role: str) -> Callable[[SystemUnderTest], Message]:
    return lambda system: letters_api.DiscardDeadLettersRequest(
        request_id=new_id(), dead_letter_ids=[_aside(system, role)]
    )


def _aside(system: SystemUnderTest, role: str) -> str:
    """The id of a dead letter; where there is no broker to put one into, of none."""
    if not system.amqp_url:
        return uuid.uuid4().hex
    with closing(Injector(system.amqp_url)) as injector:
        event_id = injector.put_aside(role, OrderCreated(order=sample_order()))
    return system.eventually(lambda: system.dead_letter(role, event_id)).id


def _another_letter(request: Any) -> None:
    request.dead_letter_ids[0] = uuid.uuid4().hex


def _more_of_the_first(request: Any) -> None:
    items = request.items.items if hasattr(request.items, "items") else request.items
    items[0].quantity += 1


def _shipped(request: Any) -> None:
    request.state = OrderState.ORDER_STATE_SHIPPED


def _other_price(request: Any) -> None:
    request.product.unit_price.units += 1


def _other_delta(request: Any) -> None:
    request.delta += 1


def _expects_a_version(request: Any) -> None:
    request.expected_version = 1


SAMPLE_REQUESTS = {
    "ProductService.CreateProduct": SampleRequest(PRODUCT, _create_product, _other_price),
    "ProductService.AdjustStock": SampleRequest(PRODUCT, _adjust_stock, _other_delta),
    "ProductService.PlaceOrder": SampleRequest(PRODUCT, _place_order, _more_of_the_first),
    "ProductService.UpdateOrder items": SampleRequest(PRODUCT, _update_items, _more_of_the_first),
    "ProductService.UpdateOrder state": SampleRequest(PRODUCT, _update_state, _shipped),
    "ProductService.CancelOrder": SampleRequest(PRODUCT, _cancel_order, _expects_a_version),
    "OrderService.CreateOrder": SampleRequest(ORDER, _create_order, _more_of_the_first),
    "OrderService.UpdateOrder items": SampleRequest(ORDER, _hop_items, _more_of_the_first),
    "OrderService.UpdateOrder state": SampleRequest(ORDER, _hop_state, _shipped),
    **{f"DeadLetterService.ReplayDeadLetters {r}": SampleRequest(r, _replay(r), _another_letter) for r in LISTENERS},
    **{f"DeadLetterService.DiscardDeadLetters {r}": SampleRequest(r, _discard(r), _another_letter) for r in LISTENERS},
}
"""By name. The batches ask as CreateOrder and PlaceOrder do, many times: they have laws of their own."""
