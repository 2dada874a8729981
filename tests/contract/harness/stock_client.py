"""A client that adjusts, places, changes and cancels at random, with a history of what each call did to the stock."""

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.rpc.error_details_pb2 import PreconditionFailure

from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CancelOrderRequest,
    ItemQuantities,
    UpdateOrderRequest,
)
from tests.contract.harness.client import Answer
from tests.contract.harness.linearizability import Operation
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, placing, quantities

CALLS = 3
_MOST_UNITS = 3


class StockClient:
    """Lives for a few calls. Its orders are its own, so that it knows what each of them holds."""

    def __init__(self, system: SystemUnderTest, products: Sequence[str], dice: random.Random) -> None:
        self._system = system
        self._products = products
        self._dice = dice
        self._orders: dict[str, dict[str, int]] = {}
        self.histories: dict[str, list[Operation]] = {product: [] for product in products}

    def live(self) -> None:
        """Makes its calls, one after the other."""
        for _ in range(CALLS):
            actions = [self._adjust, self._place, *([self._change, self._cancel] if self._orders else [])]
            self._dice.choice(actions)()

    def _adjust(self) -> None:
        product, delta = self._dice.choice(self._products), self._dice.choice([-2, -1, 1, 2, 3])
        self._ask(AdjustStockRequest(request_id=new_id(), product_id=product, delta=delta), {product: -delta})

    def _place(self) -> None:
        wanted = self._some()
        answer = self._ask(placing(wanted), wanted)
        if answer.response is not None:
            self._orders[answer.response.order.id] = wanted

    def _change(self) -> None:
        order_id = self._dice.choice(list(self._orders))
        held, wanted = self._orders[order_id], self._some()
        items = ItemQuantities(items=quantities(wanted))
        request = UpdateOrderRequest(request_id=new_id(), order_id=order_id, items=items)
        changes = {p: wanted.get(p, 0) - held.get(p, 0) for p in self._products}
        answer = self._ask(request, {product: units for product, units in changes.items() if units})
        if answer.response is not None:
            self._orders[order_id] = wanted
        elif answer.reason == "OUTCOME_OPEN":
            del self._orders[order_id]  # nobody knows what it holds now

    def _cancel(self) -> None:
        order_id = self._dice.choice(list(self._orders))
        held = self._orders.pop(order_id)
        self._ask(CancelOrderRequest(request_id=new_id(), order_id=order_id), {p: -u for p, u in held.items()})

    def _some(self) -> dict[str, int]:
        chosen = self._dice.sample(self._products, self._dice.randint(1, len(self._products)))
        return {product: self._dice.randint(1, _MOST_UNITS) for product in chosen}

    def _ask(self, request: Any, changes: Mapping[str, int]) -> Answer:
        called = time.monotonic()
        answer = self._system.call(request)
        answered = time.monotonic()
        for product, outcome in _outcomes(answer, changes).items():
            self.histories[product].append(Operation(called, answered, changes[product], outcome))
        return answer


def _outcomes(answer: Answer, changes: Mapping[str, int]) -> dict[str, bool | None]:
    """The outcome of a call for each product: done, refused for want of it, or unknown; those not short are absent."""
    if answer.response is not None:
        return dict.fromkeys(changes, True)
    if answer.reason == "OUTCOME_OPEN":
        return dict.fromkeys(changes, None)
    assert answer.reason == "OUT_OF_STOCK", str(answer)
    return {violation.subject: False for violation in answer.detail(PreconditionFailure()).violations}
