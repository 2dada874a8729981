"""The system in small: what products, orders and request ids become. Pure; the laws compare the real one with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ordersys.api.order.v1.order_pb2 import OrderState

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


class Verdict(NamedTuple):
    """The reasons the model allows for a refusal; none when the request has to succeed."""

    reasons: frozenset[str]

    @property
    def succeeds(self) -> bool:
        """True if the request has to succeed."""
        return not self.reasons


@dataclass
class Model:
    """Products as (available, held), and orders."""

    available: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    orders: dict[str, ModelOrder] = field(default_factory=dict)

    def create_product(self, product_id: str, available: int) -> None:
        """A new product."""
        self.available[product_id], self.held[product_id] = available, 0

    def adjust(self, product_id: str, delta: int) -> Verdict:
        """More or less stock."""
        if self.available[product_id] + delta < 0:
            return _refused("OUT_OF_STOCK")
        self.available[product_id] += delta
        return _refused()

    def may_place(self, items: Mapping[str, int]) -> Verdict:
        """True if there is enough for a new order."""
        return _refused("OUT_OF_STOCK") if any(self._short(items)) else _refused()

    def place(self, order_id: str, items: Mapping[str, int]) -> None:
        """A new order, which has its stock."""
        self._move(items, 1)
        self.orders[order_id] = ModelOrder(dict(items))

    def change(self, order_id: str, items: Mapping[str, int], expected: int | None = None) -> Verdict:
        """Other items; where several rules forbid it, any of them may be named."""
        order = self.orders[order_id]
        needed = {p: units - order.items.get(p, 0) for p, units in items.items()}
        reasons = [*self._stale(order, expected), *(["STATE_NOT_ALLOWED"] if order.state != PLACED else [])]
        reasons += ["OUT_OF_STOCK"] if any(self._short(needed)) else []
        if not reasons and order.items != items:
            self._move(order.items, -1)
            self._move(items, 1)
            order.items = dict(items)
            order.version += 1
        return _refused(*reasons)

    def advance(self, order_id: str, state: State, expected: int | None = None) -> Verdict:
        """Another state."""
        order = self.orders[order_id]
        allowed = state in FOLLOWS[order.state]
        reasons = [*self._stale(order, expected), *([] if allowed else ["STATE_NOT_ALLOWED"])]
        if not reasons:
            order.state = state
            order.version += 1
            if state == CANCELLED:
                self._move(order.items, -1)
        return _refused(*reasons)

    def _stale(self, order: ModelOrder, expected: int | None) -> list[str]:
        return ["VERSION_MISMATCH"] if expected not in (None, order.version) else []

    def _short(self, items: Mapping[str, int]) -> Iterator[str]:
        return (product_id for product_id, units in items.items() if units > self.available[product_id])

    def _move(self, items: Mapping[str, int], sign: int) -> None:
        for product_id, units in items.items():
            self.available[product_id] -= sign * units
            self.held[product_id] += sign * units


def _refused(*reasons: str) -> Verdict:
    return Verdict(frozenset(reasons))
