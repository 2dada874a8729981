"""Sample requests: for every changing RPC one that succeeds, and what may happen after it (variants: `variants.py`)."""

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
from tests.contract.harness.order_requests import CANCELLED, changing, moving, updated
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
    """A changing RPC: who serves it, a request that succeeds once, and what happens to the thing it is about since."""

    role: str
    request: Callable[[SystemUnderTest], Any]
    since: Callable[[SystemUnderTest, Any], None]
    """Takes the response to the request."""


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
    state = OrderState.ORDER_STATE_PAID
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


def _adjusted(system: SystemUnderTest, response: Any) -> None:
    system.ok(product_api.AdjustStockRequest(request_id=new_id(), product_id=response.product.id, delta=7))


def _cancelled(system: SystemUnderTest, response: Any) -> None:
    system.ok(product_api.CancelOrderRequest(request_id=new_id(), order_id=response.order.id))


def _changed_and_cancelled(system: SystemUnderTest, response: Any) -> None:
    updated(system, changing(response.order, {"chair": 3}))
    updated(system, moving(response.order, CANCELLED))


def _moved(system: SystemUnderTest, response: Any) -> None:
    updated(system, moving(response.order, CANCELLED))


def _nothing(system: SystemUnderTest, response: Any) -> None:
    """It is at its end."""


SAMPLE_REQUESTS = {
    "ProductService.CreateProduct": SampleRequest(PRODUCT, _create_product, _adjusted),
    "ProductService.AdjustStock": SampleRequest(PRODUCT, _adjust_stock, _adjusted),
    "ProductService.PlaceOrder": SampleRequest(PRODUCT, _place_order, _cancelled),
    "ProductService.UpdateOrder items": SampleRequest(PRODUCT, _update_items, _cancelled),
    "ProductService.UpdateOrder state": SampleRequest(PRODUCT, _update_state, _cancelled),
    "ProductService.CancelOrder": SampleRequest(PRODUCT, _cancel_order, _nothing),
    "OrderService.CreateOrder": SampleRequest(ORDER, _create_order, _changed_and_cancelled),
    "OrderService.UpdateOrder items": SampleRequest(ORDER, _hop_items, _changed_and_cancelled),
    "OrderService.UpdateOrder state": SampleRequest(ORDER, _hop_state, _moved),
    **{f"DeadLetterService.ReplayDeadLetters {r}": SampleRequest(r, _replay(r), _nothing) for r in LISTENERS},
    **{f"DeadLetterService.DiscardDeadLetters {r}": SampleRequest(r, _discard(r), _nothing) for r in LISTENERS},
}
"""By name. The batches ask as CreateOrder and PlaceOrder do, many times: they have laws of their own."""
