"""The system in small: what products, orders and request ids become. Pure; the laws compare the real one with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from tests.contract.harness.expected_total import total
from tests.contract.harness.refusals import (
    Refusal,
    forbidden,
    out_of_stock,
    stale,
    unknown_order,
    unknown_product,
)

State: TypeAlias = "OrderState.ValueType"
PLACED = OrderState.ORDER_STATE_PLACED
CANCELLED = OrderState.ORDER_STATE_CANCELLED
FOLLOWS: Mapping[State, tuple[State, ...]] = {
    PLACED: (OrderState.ORDER_STATE_PAID, CANCELLED),
    OrderState.ORDER_STATE_PAID: (OrderState.ORDER_STATE_SHIPPED, CANCELLED),
    OrderState.ORDER_STATE_SHIPPED: (OrderState.ORDER_STATE_DELIVERED,),
    OrderState.ORDER_STATE_DELIVERED: (),
    CANCELLED: (),
}


@dataclass
class ModelOrder:
    """An order as the model knows it."""

    items: dict[str, int]
    state: State = PLACED
    version: int = 1
    customer_id: str = ""


class Verdict(NamedTuple):
    """The refusals the model allows, any of them; none when the request has to succeed."""

    refusals: frozenset[Refusal] = frozenset()

    @property
    def succeeds(self) -> bool:
        """True if the request has to succeed."""
        return not self.refusals

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons of the refusals."""
        return frozenset(refusal.reason for refusal in self.refusals)


@dataclass
class Model:
    """Products as (available, held) and price, and orders."""

    available: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    prices: dict[str, Money] = field(default_factory=dict)
    orders: dict[str, ModelOrder] = field(default_factory=dict)

    def create_product(self, product_id: str, available: int, price: Money | None = None) -> None:
        """A new product."""
        self.available[product_id], self.held[product_id] = available, 0
        self.prices[product_id] = price or Money(currency_code="EUR")

    def may_adjust(self, product_id: str, delta: int) -> Verdict:
        """Whether there may be more, or less, of a product."""
        if product_id not in self.available:
            return _refused(unknown_product(product_id))
        return _refused(*self._short({product_id: -delta}))

    def adjust(self, product_id: str, delta: int) -> Verdict:
        """More or less stock."""
        verdict = self.may_adjust(product_id, delta)
        if verdict.succeeds:
            self.available[product_id] += delta
        return verdict

    def may_place(self, items: Mapping[str, int]) -> Verdict:
        """Whether there is enough for a new order."""
        return _refused(*(list(self._unknown(items)) or self._short(items)))

    def place(self, order_id: str, items: Mapping[str, int], customer_id: str = "") -> None:
        """A new order, which has its stock."""
        self._move(items, 1)
        self.orders[order_id] = ModelOrder(dict(items), customer_id=customer_id)

    def needed(self, order_id: str, items: Mapping[str, int]) -> dict[str, int]:
        """The units an order needs more for these items than it holds, by product."""
        held = self.orders[order_id].items
        return {p: units - held.get(p, 0) for p, units in items.items() if units > held.get(p, 0)}

    def may_change(self, order_id: str, items: Mapping[str, int], expected: int | None = None) -> Verdict:
        """Whether an order may have other items. Where several rules forbid it, any of them may be named.

        Stock comes last: an order whose items may not change is no matter of stock.
        """
        if order_id not in self.orders:
            return _refused(unknown_order(order_id))
        order = self.orders[order_id]
        fixed = [] if order.state == PLACED else [forbidden(order_id, order.state, order.state)]
        refusals = [*self._stale(order_id, expected), *self._unknown(items), *fixed]
        return _refused(*(refusals or self._short(self.needed(order_id, items))))

    def change(self, order_id: str, items: Mapping[str, int], expected: int | None = None) -> Verdict:
        """Other items. The same items are no change."""
        verdict = self.may_change(order_id, items, expected)
        if verdict.succeeds and self.orders[order_id].items != items:
            order = self.orders[order_id]
            self._move(order.items, -1)
            self._move(items, 1)
            order.items = dict(items)
            order.version += 1
        return verdict

    def may_advance(self, order_id: str, state: State, expected: int | None = None) -> Verdict:
        """Whether an order may come into another state."""
        if order_id not in self.orders:
            return _refused(unknown_order(order_id))
        order = self.orders[order_id]
        allowed = state in FOLLOWS[order.state]
        return _refused(
            *self._stale(order_id, expected), *([] if allowed else [forbidden(order_id, order.state, state)])
        )

    def advance(self, order_id: str, state: State, expected: int | None = None) -> Verdict:
        """Another state."""
        verdict = self.may_advance(order_id, state, expected)
        if verdict.succeeds:
            order = self.orders[order_id]
            order.state = state
            order.version += 1
            if state == CANCELLED:
                self._move(order.items, -1)
        return verdict

    def reserve(self, items: Mapping[str, int]) -> None:
        """Units are held for what is under way."""
        self._move(items, 1)

    def order(self, order_id: str) -> Order:
        """An order as it has to be answered, but for its times."""
        known = self.orders[order_id]
        items = self.priced(known.items)
        return Order(
            id=order_id,
            customer_id=known.customer_id,
            items=items,
            total=total(items),
            state=known.state,
            version=known.version,
        )

    def priced(self, items: Mapping[str, int]) -> list[OrderItem]:
        """Items as an order has them: sorted by product, each at its price."""
        return [
            OrderItem(product_id=product_id, quantity=units, unit_price=self.prices[product_id])
            for product_id, units in sorted(items.items())
        ]

    def _stale(self, order_id: str, expected: int | None) -> list[Refusal]:
        version = self.orders[order_id].version
        return [stale(order_id, version)] if expected not in (None, version) else []

    def _unknown(self, items: Mapping[str, int]) -> Iterator[Refusal]:
        return (unknown_product(product_id) for product_id in items if product_id not in self.available)

    def _short(self, items: Mapping[str, int]) -> list[Refusal]:
        """The refusal that names each product there is too little of, by product id."""
        shortages = self.shortages(items)
        return [out_of_stock(shortages)] if shortages else []

    def shortages(self, items: Mapping[str, int]) -> list[Shortage]:
        """Each product there is too little of, by product id."""
        return [
            Shortage(product_id=product_id, asked=units, available=self.available[product_id])
            for product_id, units in sorted(items.items())
            if units > self.available.get(product_id, units)
        ]

    def _move(self, items: Mapping[str, int], sign: int) -> None:
        for product_id, units in items.items():
            self.available[product_id] -= sign * units
            self.held[product_id] += sign * units


def _refused(*refusals: Refusal) -> Verdict:
    return Verdict(frozenset(refusals))
