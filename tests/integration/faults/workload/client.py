"""A client that does this and that, as its dice fall: repeats what was left open, or forgets it, or is gone.

Its orders are its own, so that it knows what each of them is; the products it shares with all others.
"""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.order.v1 import order_service_pb2 as order_api
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1 import product_service_pb2 as product_api
from tests.contract.harness.client import LISTENERS, of_each
from tests.integration.api import quantities
from tests.integration.faults.checkers.stock import SCARCE
from tests.integration.faults.workload.calls import Calls
from tests.integration.faults.workload.client_behaviour import ClientBehaviour
from tests.integration.faults.workload.history import History, Operation, Outcome
from tests.integration.faults.workload.requests import (
    NEXT,
    Assortment,
    Scarcity,
    creating,
    direct,
    new_id,
    other_items,
    placing,
)

_PAUSE_SECONDS = 0.05
_BREATH_SECONDS = 0.2
_AT_ONCE = 0.05
"""The probability that a client places many orders in one call next."""
_ABANDONED = ("PlaceOrder", "UpdateOrder", "CancelOrder")
"""Calls whose effect shows by itself: they may be left open for ever."""
_REPEATED = (*_ABANDONED, "AdjustStock", "CreateProduct", "CreateOrder", "BatchCreateOrders")


class Shared(NamedTuple):
    """State shared by the clients of a round."""

    calls: Calls
    history: History
    goods: Assortment
    scarcity: Scarcity
    breath: float = 0.0
    """The probability of a pause between two operations, for rounds in bursts."""


class Client:
    """Number `number` of a round. Lives in a thread of its own."""

    def __init__(self, number: int, name: str, shared: Shared) -> None:
        self._number = number
        self._name = f"{name}-{number}"
        self._dice = random.Random(self._name)
        self._calls, self._history, self._goods, self._scarcity, self._breath = shared
        self._orders: dict[str, Order] = {}
        self._acknowledged: list[Operation] = []
        self._customers = 0

    def live(self, stopped: threading.Event, behaviour: ClientBehaviour) -> None:
        """Makes calls until it is told to stop."""
        actions, weights = zip(*self._habits(), strict=True)
        while not stopped.is_set():
            if self._dice.random() < _AT_ONCE:
                self._place_many(stopped, behaviour)
            elif (operation := self._dice.choices(actions, weights)[0](self._dice)) is not None:
                self._carry_out(operation, stopped, behaviour)
            if self._dice.random() < self._breath:
                stopped.wait(_BREATH_SECONDS)

    def _habits(self) -> list[tuple[Callable[[random.Random], Operation | None], int]]:
        return [
            (self._place, 30),
            (self._adjust, 8),
            (self._take_what_is_scarce, 14),
            (self._change, 14),
            (self._advance, 10),
            (self._cancel, 8),
            (self._create, 3),
            (self._create_many, 1),
            (self._create_product, 1),
            (self._read, 8),
            (self._repeat, 3),
        ]

    def _carry_out(self, operation: Operation, stopped: threading.Event, behaviour: ClientBehaviour) -> None:
        known = operation.settled
        ask(self._calls, self._history, operation, behaviour.timeout(self._dice), behaviour.given_up_after(self._dice))
        self._follow_up(operation, known, stopped, behaviour)

    def _place_many(self, stopped: threading.Event, behaviour: ClientBehaviour) -> None:
        """A few orders in one call; what it leaves open is asked for alone."""
        operations = [self._place(self._dice) for _ in range(self._dice.randint(2, 6))]
        patience = behaviour.timeout(self._dice), behaviour.given_up_after(self._dice)
        place_at_once(self._calls, self._history, operations, *patience)
        for operation in operations:
            self._follow_up(operation, False, stopped, behaviour)

    def _follow_up(
        self, operation: Operation, known: bool, stopped: threading.Event, behaviour: ClientBehaviour
    ) -> None:
        """Asks again while nothing is known, now and then gives up: forgets it for now, or for ever."""
        while not operation.settled and self._dice.random() < behaviour.asks_again and not stopped.wait(_PAUSE_SECONDS):
            ask(self._calls, self._history, operation, behaviour.timeout(self._dice))
        if operation.outcome is Outcome.OK and not known:
            self._note(operation)
        elif not operation.settled:
            operation.abandoned = operation.call in _ABANDONED and self._dice.random() < behaviour.abandons

    def _note(self, operation: Operation) -> None:
        if operation.call in _REPEATED:
            self._acknowledged.append(operation)
        if operation.call in ("PlaceOrder", "UpdateOrder", "CreateOrder"):
            self._orders[operation.response.order.id] = operation.response.order

    def _begin(self, request: Any) -> Operation:
        return self._history.begin(self._number, request)

    def _customer(self) -> str:
        self._customers += 1
        return f"{self._name}-{self._customers}"

    def _place(self, dice: random.Random) -> Operation:
        products = dice.sample(self._goods.plenty, dice.randint(1, 2))
        products += dice.sample(self._goods.tight, dice.randint(0, 1))
        wanted = {product: dice.randint(1, 4) for product in products}
        return self._begin(placing(new_id(dice), self._customer(), wanted))

    def _adjust(self, dice: random.Random) -> Operation:
        product, delta = dice.choice(self._goods.tight), dice.choice([-3, -2, -1, 1, 2, 3, 4])
        return self._begin(product_api.AdjustStockRequest(request_id=new_id(dice), product_id=product, delta=delta))

    def _take_what_is_scarce(self, dice: random.Random) -> Operation | None:
        product = self._scarcity.take()
        if product is None:
            return None
        held = [order for order in self._orders.values() if order.items[0].product_id == product]
        if held and dice.random() < 0.4:
            return self._give_back(held[0], dice)
        if dice.random() < 0.2:
            request = product_api.AdjustStockRequest(request_id=new_id(dice), product_id=product, delta=1)
            return self._begin(request)
        return self._begin(placing(new_id(dice), self._customer(), {product: dice.randint(1, 2)}))

    def _change(self, dice: random.Random) -> Operation | None:
        order = self._one_of_its_orders(dice)
        if order is None:
            return None
        items = product_api.ItemQuantities(items=quantities(other_items(order, dice, self._goods.plenty)))
        expected = order.version if dice.random() < 0.3 else None
        return self._begin(
            product_api.UpdateOrderRequest(
                request_id=new_id(dice), order_id=order.id, items=items, expected_version=expected
            )
        )

    def _advance(self, dice: random.Random) -> Operation | None:
        order = self._one_of_its_orders(dice)
        if order is None or order.state not in NEXT:
            return None
        api = order_api if order.items[0].product_id == "direct" else product_api
        state = NEXT[order.state]
        return self._begin(api.UpdateOrderRequest(request_id=new_id(dice), order_id=order.id, state=state))

    def _cancel(self, dice: random.Random) -> Operation | None:
        order = self._one_of_its_orders(dice)
        return self._give_back(order, dice) if order is not None else None

    def _give_back(self, order: Order, dice: random.Random) -> Operation:
        self._orders.pop(order.id, None)
        return self._begin(product_api.CancelOrderRequest(request_id=new_id(dice), order_id=order.id))

    def _create(self, dice: random.Random) -> Operation:
        return self._begin(direct(dice, self._customer()))

    def _create_many(self, dice: random.Random) -> Operation:
        requests = [direct(dice, self._customer()) for _ in range(dice.randint(2, 5))]
        return self._begin(order_api.BatchCreateOrdersRequest(requests=requests))

    def _create_product(self, dice: random.Random) -> Operation:
        return self._begin(creating(new_id(dice), f"new-{self._customer()}", dice.randint(0, 9)))

    def _read(self, dice: random.Random) -> Operation:
        order = dice.choice(list(self._orders.values()) or [Order(id=new_id(dice))])
        return self._begin(
            dice.choice(
                [
                    product_api.GetProductRequest(product_id=dice.choice(self._goods.plenty)),
                    product_api.ListProductsRequest(page_size=5),
                    order_api.GetOrderRequest(order_id=order.id),
                    order_api.ListOrdersRequest(page_size=5),
                    ListNotificationsRequest(order_id=order.id),
                ]
            )
        )

    def _repeat(self, dice: random.Random) -> Operation | None:
        """Something that was acknowledged, once more."""
        return dice.choice(self._acknowledged) if self._acknowledged else None

    def _one_of_its_orders(self, dice: random.Random) -> Order | None:
        """One that is not of a scarce product; whoever changes it forgets it until it is answered."""
        orders = [o for o in self._orders.values() if not o.items[0].product_id.startswith(SCARCE)]
        return self._orders.pop(dice.choice(orders).id) if orders else None


def ask(
    calls: Calls, history: History, operation: Operation, timeout: float, given_up_after: float | None = None
) -> None:
    """One try of an operation, noted down."""
    role = LISTENERS[operation.number % 2] if operation.call == "ListNotifications" else None
    called = history.invoke(operation)
    history.end(operation, called, calls.call(operation.request, timeout, given_up_after, role))


def place_at_once(
    calls: Calls, history: History, operations: Sequence[Operation], timeout: float, given_up_after: float | None
) -> None:
    """One try of each of these placements, all in one call, noted down."""
    called = [history.invoke(operation) for operation in operations]
    batch = product_api.BatchPlaceOrdersRequest(requests=[operation.request for operation in operations])
    answers = of_each(calls.call(batch, timeout, given_up_after), len(operations))
    for operation, began, answer in zip(operations, called, answers, strict=True):
        history.end(operation, began, answer)
