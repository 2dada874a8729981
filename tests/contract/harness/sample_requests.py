"""For every changing RPC a request that succeeds, and others that mean the same or something else."""

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
from tests.contract.harness.injector import Post
from tests.contract.harness.sample_orders import imagined
from tests.contract.harness.system_under_test import PRICE, World, creating, new_id, placing, priced, quantities


class Ask(NamedTuple):
    """A changing RPC: who serves it, a request that succeeds once, and a change that makes it another request."""

    role: str
    request: Callable[[World], Any]
    alter: Callable[[Any], None]


def _create_product(_: World) -> Message:
    product = Product(id=f"p-{new_id()[:16]}", name="A product", unit_price=PRICE, available=5)
    return product_api.CreateProductRequest(request_id=new_id(), product=product)


def _adjust_stock(world: World) -> Message:
    return product_api.AdjustStockRequest(request_id=new_id(), product_id=world.new_product(), delta=3)


def _place_order(world: World) -> Message:
    return placing({world.new_product(): 2, world.new_product(): 3})


def _update_items(world: World) -> Message:
    order = world.place({world.new_product(): 2, world.new_product(): 3})
    items = product_api.ItemQuantities(items=quantities({item.product_id: 4 for item in order.items}))
    return product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)


def _update_state(world: World) -> Message:
    order = world.place({world.new_product(): 2})
    state = OrderState.ORDER_STATE_PAID
    return product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=state)


def _cancel_order(world: World) -> Message:
    order = world.place({world.new_product(): 2})
    return product_api.CancelOrderRequest(request_id=new_id(), order_id=order.id)


def _create_order(_: World) -> Message:
    return creating({"desk": 1, "lamp": 2})


def _hop_items(world: World) -> Message:
    items = order_api.OrderItems(items=priced({"desk": 5, "lamp": 6}))
    return order_api.UpdateOrderRequest(request_id=new_id(), order_id=world.create().id, items=items)


def _hop_state(world: World) -> Message:
    state = OrderState.ORDER_STATE_CANCELLED
    return order_api.UpdateOrderRequest(request_id=new_id(), order_id=world.create().id, state=state)


def _replay(role: str) -> Callable[[World], Message]:
    return lambda world: letters_api.ReplayDeadLettersRequest(
        request_id=new_id(), dead_letter_ids=[_aside(world, role)]
    )


def _discard(role: str) -> Callable[[World], Message]:
    return lambda world: letters_api.DiscardDeadLettersRequest(
        request_id=new_id(), dead_letter_ids=[_aside(world, role)]
    )


def _aside(world: World, role: str) -> str:
    """The id of a dead letter; where there is no broker to put one into, of none."""
    if not world.amqp_url:
        return uuid.uuid4().hex
    with closing(Post(world.amqp_url)) as post:
        event_id = post.put_aside(role, OrderCreated(order=imagined()))
    return world.eventually(lambda: world.dead_letter(role, event_id)).id


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


ASKS = {
    "ProductService.CreateProduct": Ask(PRODUCT, _create_product, _other_price),
    "ProductService.AdjustStock": Ask(PRODUCT, _adjust_stock, _other_delta),
    "ProductService.PlaceOrder": Ask(PRODUCT, _place_order, _more_of_the_first),
    "ProductService.UpdateOrder items": Ask(PRODUCT, _update_items, _more_of_the_first),
    "ProductService.UpdateOrder state": Ask(PRODUCT, _update_state, _shipped),
    "ProductService.CancelOrder": Ask(PRODUCT, _cancel_order, _expects_a_version),
    "OrderService.CreateOrder": Ask(ORDER, _create_order, _more_of_the_first),
    "OrderService.UpdateOrder items": Ask(ORDER, _hop_items, _more_of_the_first),
    "OrderService.UpdateOrder state": Ask(ORDER, _hop_state, _shipped),
    **{f"DeadLetterService.ReplayDeadLetters {r}": Ask(r, _replay(r), _another_letter) for r in LISTENERS},
    **{f"DeadLetterService.DiscardDeadLetters {r}": Ask(r, _discard(r), _another_letter) for r in LISTENERS},
}
"""By name. The batches ask as CreateOrder and PlaceOrder do, many times: they have laws of their own."""
