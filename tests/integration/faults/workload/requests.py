"""Requests of every call, each made anew from a client's dice."""

import random
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from google.type.money_pb2 import Money

from ordersys.api.order.v1 import order_service_pb2 as order_api
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.product.v1 import product_service_pb2 as product_api
from ordersys.api.product.v1.product_pb2 import Product
from tests.integration.api import quantities
from tests.integration.faults.checkers.stock import SCARCE

_PRICE = Money(currency_code="EUR", units=7, nanos=990_000_000)
_PLENTY, _TIGHT, _SCARCE = 1_000_000, 40, 4
_USES_OF_A_SCARCE_PRODUCT = 14
NEXT = {
    OrderState.ORDER_STATE_PLACED: OrderState.ORDER_STATE_PAID,
    OrderState.ORDER_STATE_PAID: OrderState.ORDER_STATE_SHIPPED,
    OrderState.ORDER_STATE_SHIPPED: OrderState.ORDER_STATE_DELIVERED,
}


class Assortment(NamedTuple):
    """The products of a round: plenty of some, so few of others that they run out."""

    plenty: tuple[str, ...]
    tight: tuple[str, ...]
    scarce: tuple[str, ...]

    @property
    def creations(self) -> list[product_api.CreateProductRequest]:
        """The requests that create them."""
        firsts = ((self.plenty, _PLENTY), (self.tight, _TIGHT), (self.scarce, _SCARCE))
        dice = random.Random(self.plenty[0])
        return [creating(new_id(dice), product, first) for products, first in firsts for product in products]


class Scarcity:
    """Deals out scarce products: each a few times, so that what happened to it can be searched through."""

    def __init__(self, products: Sequence[str]) -> None:
        self._left = [product for product in reversed(products) for _ in range(_USES_OF_A_SCARCE_PRODUCT)]
        self._lock = threading.Lock()

    def take(self) -> str | None:
        """The product to use now, None when all are used up."""
        with self._lock:
            return self._left.pop() if self._left else None


def assortment(name: str) -> Assortment:
    """The products of a round of that name."""
    return Assortment(
        tuple(f"plenty-{name}-{number}" for number in range(3)),
        tuple(f"tight-{name}-{number}" for number in range(3)),
        tuple(f"{SCARCE}{name}-{number}" for number in range(12)),
    )


def new_id(dice: random.Random) -> str:
    """A UUID, the same for the same dice."""
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def creating(request_id: str, product_id: str, available: int) -> product_api.CreateProductRequest:
    """Asks for a product."""
    product = Product(id=product_id, name=product_id, unit_price=_PRICE, available=available)
    return product_api.CreateProductRequest(request_id=request_id, product=product)


def placing(request_id: str, customer: str, wanted: Mapping[str, int]) -> product_api.PlaceOrderRequest:
    """Asks for an order."""
    return product_api.PlaceOrderRequest(request_id=request_id, customer_id=customer, items=quantities(wanted))


def direct(dice: random.Random, customer: str) -> order_api.CreateOrderRequest:
    """Asks the Order Service itself for an order, of something no product service has."""
    items = [OrderItem(product_id="direct", quantity=dice.randint(1, 9), unit_price=_PRICE)]
    return order_api.CreateOrderRequest(
        request_id=new_id(dice), order_id=new_id(dice), customer_id=customer, items=items
    )


def other_items(order: Order, dice: random.Random, products: tuple[str, ...]) -> dict[str, int]:
    """Items the order does not have now."""
    held = {item.product_id: item.quantity for item in order.items}
    product = dice.choice(products)
    return {product: held.get(product, 0) + dice.randint(1, 3)}
