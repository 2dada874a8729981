"""The Product Service alone against a model of it: any story of requests, whatever its Order Service does meanwhile."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import pytest
from google.type.money_pb2 import Money
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CreateProductRequest,
    ItemQuantities,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.contract.errors import reason_of, status_error
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import PRODUCT, Answer
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.examples import share
from tests.contract.harness.expected_total import total
from tests.contract.harness.fake_order_service import Behaviour, FakeOrderService, LosesOneReply, Refuses
from tests.contract.harness.model import Model, Verdict
from tests.contract.harness.normal_form import items_of, normal
from tests.contract.harness.product_alone import ORPHAN_SECONDS, SILENT, assert_open
from tests.contract.harness.refusals import Refusal
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.steps import Kind, Step, stories, tell
from tests.contract.harness.stock_judge import is_change, order_verdict, state_of, units
from tests.contract.harness.stock_story import KINDS, StockStory
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, quantities
from tests.contract.harness.traces import trace_id

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
FINAL = [ErrorReason.INVALID_REQUEST, ErrorReason.STATE_NOT_ALLOWED, ErrorReason.ORDER_NOT_FOUND]
OTHER_PRICE = Money(currency_code="EUR", units=3, nanos=10_000_000)
_OUTAGES = 1  # in a story: each takes as long as a call to the Order Service may


class StoryAlone(StockStory):
    """Requests to a Product Service whose Order Service loses a reply, refuses for good, or is away for a while."""

    def __init__(self, system: SystemUnderTest, event_tap: EventTap | None, fake: FakeOrderService) -> None:
        super().__init__(system, event_tap)
        self.fake = fake
        self.behaviour = Behaviour()
        """Of the fake Order Service at the next call that needs it."""
        self.outages = 0
        self.is_repeated = True
        self.passed_on: dict[str, list[Any]] = {}
        """The requests that may be passed on, by the id of the trace they are part of."""
        self.creations: dict[str, str] = {}
        """The request_id of each order that was asked for."""
        self.seen = len(self.fake.asked)

    def the_order_service_will_be_difficult(self, reason: "ErrorReason.ValueType | None") -> None:
        """At the next call it loses a reply, or refuses for good though nobody could foresee it."""
        if self.behaviour not in SILENT:
            self.behaviour = LosesOneReply() if reason is None else Refuses(status_error(reason))

    def the_order_service_will_be_away(self, behaviour: Behaviour, is_repeated: bool) -> None:
        """At the next call it does nothing, or all its replies are lost."""
        if self.outages < _OUTAGES:
            self.behaviour, self.is_repeated = behaviour, is_repeated
            self.outages += 1

    def ask(self, request: Any) -> None:
        """One request, with an Order Service that behaves for this time as it was said to."""
        if isinstance(self.behaviour, Refuses) and not is_change(self.model, normal(request)):
            self.behaviour = Behaviour()  # it may be answered without the Order Service
        super().ask(request)
        if not isinstance(request, CreateProductRequest | AdjustStockRequest):
            self.behaviour = Behaviour()
        self.compare_passed_on()

    def ask_many(self, requests: list[PlaceOrderRequest]) -> None:
        """Placements in one call. None is refused by the Order Service: its stock would be wanting for those behind."""
        if isinstance(self.behaviour, Refuses):
            self.behaviour = Behaviour()
        super().ask_many(requests)
        self.behaviour = Behaviour()
        self.compare_passed_on()

    def answers(self, call: Any, requests: Sequence[Any], trace: str) -> list[Answer]:
        """The answer to each request, when the Order Service answers again."""
        self.passed_on[trace_id(trace)] = [normal(request) for request in requests]
        if isinstance(call, CreateProductRequest | AdjustStockRequest):
            return super().answers(call, requests, trace)
        if self.behaviour in SILENT:
            self.outage(call, requests, trace)
        with self.fake.answering(self.behaviour):
            return super().answers(call, requests, trace)

    def outage(self, call: Any, requests: Sequence[Any], trace: str) -> None:
        """A call whose outcome is open. What it needs is held meanwhile; it is made, also if nobody repeats it."""
        made = self.versions_made()
        with self.fake.answering(self.behaviour):
            answers = self.answered_at_once(call, requests, trace)
            due = made + self.compare_open(requests, answers)
        self.behaviour = Behaviour()
        if not self.is_repeated:
            self.system.eventually(lambda: self.versions_made() >= due, ORPHAN_SECONDS)

    def compare_open(self, requests: Sequence[Any], answers: Sequence[Answer]) -> int:
        """While outcomes are open all that is needed is held; the number of versions that have to come of them."""
        model, due, seen = deepcopy(self.model), 0, set(self.known)
        for request, answer in zip(map(normal, requests), answers, strict=True):
            if answer.reason == "OUTCOME_OPEN":
                assert_open(answer)
            if request.request_id not in seen and order_verdict(model, request).succeeds:
                due += is_change(model, request)
                model.reserve(needed(model, request))
            seen.add(request.request_id)
        if all(answer.response is None for answer in answers):
            stock = {product_id: self.system.stock(product_id) for product_id in self.products}
            assert stock == {product_id: (model.available[product_id], model.held[product_id]) for product_id in stock}
        return due

    def verdict(self, request: Any) -> Verdict:
        """The refusals the model allows, and that of the Order Service where it is asked."""
        allowed = super().verdict(request)
        if not isinstance(self.behaviour, Refuses) or isinstance(request, CreateProductRequest | AdjustStockRequest):
            return allowed
        return Verdict(allowed.refusals | {Refusal(reason_of(self.behaviour.refused.status))})

    def compare_order(self, request: Any, order: Order) -> None:
        """As the model has it, and as the Order Service does."""
        super().compare_order(request, order)
        assert self.fake.orders[order.id] == order

    def compare_passed_on(self) -> None:
        """All that the Order Service was asked are requests of the story, priced, under ids and traces of their own."""
        asked = self.fake.asked[self.seen :]
        self.seen += len(asked)
        for request, traceparent in asked:
            requests = self.passed_on.get(trace_id(traceparent), [])
            own = getattr(request, "customer_id", "") in self.customers or request.order_id in self.versions
            assert bool(requests) == own, f"not part of the trace it was asked in: {request}"
            if own:
                assert any(self.is_passed_on(request, original) for original in requests), f"nobody asked: {request}"

    def is_passed_on(self, request: Any, original: Any) -> bool:
        """True if a request to the Order Service is what has to become of the client's."""
        if isinstance(request, CreateOrderRequest) != isinstance(original, PlaceOrderRequest):
            return False
        items = items_of(normal(request))
        if units(request) != units(original) or list(items or ()) != self.model.priced(units(original)):
            return False
        if isinstance(request, CreateOrderRequest):
            known = self.creations.setdefault(request.order_id, request.request_id)
            return (request.customer_id, request.request_id) == (original.customer_id, known)
        return request.order_id == original.order_id and (items is not None or request.state == state_of(original))

    def versions_made(self) -> int:
        """The versions of the story's orders that the Order Service has made."""
        return sum(order.version for order in self.own_orders())

    def own_orders(self) -> list[Order]:
        """The story's orders, as the Order Service has them."""
        return [order for order in list(self.fake.orders.values()) if order.customer_id in self.customers]

    def end(self) -> None:
        """The orders of the Order Service are those that were answered, each at its last version."""
        super().end()
        last = {order_id: versions[-1] for order_id, versions in self.versions.items()}
        assert {order.id: order for order in self.own_orders()} == last


def needed(model: Model, request: Any) -> Mapping[str, int]:
    """The units that are held for a request while its outcome is open."""
    if isinstance(request, PlaceOrderRequest):
        return units(request)
    return model.needed(request.order_id, units(request))


KINDS_ALONE = (
    *KINDS,
    Kind(3, StoryAlone.the_order_service_will_be_difficult, {"reason": st.none() | st.sampled_from(FINAL)}),
    Kind(
        1,
        StoryAlone.the_order_service_will_be_away,
        {"behaviour": st.sampled_from(SILENT), "is_repeated": st.booleans()},
    ),
)

NO_ORDER_IS_LEFT = [
    *(Step(StoryAlone.cancel, {"which": which, "expected": "none"}) for which in range(3)),
    Step(StoryAlone.the_order_service_will_be_difficult, {"reason": FINAL[0]}),
    Step(StoryAlone.change_what_is_stale, {"which": 0, "how": "cancel"}),
]
"""A story in which an order is wanted when there is none, and the first one that is placed then is refused."""


@pytest.mark.cites("product_service.proto", "Places an order: reserves its stock and creates it, or does neither.")
@pytest.mark.cites("implement.md", "by product id, and OrderRejected names the same in the same order")
@pytest.mark.cites("product.proto", "When its stock last changed (UTC).")
@pytest.mark.cites("product.proto", "what it had at first plus all adjustments equals available + held at every moment")
@pytest.mark.cites("product_service.proto", "A repeat until then answers what the first success answered")
@settings(settings.get_profile("contract"), max_examples=share(3))
@given(steps=stories(*KINDS_ALONE))
@example(steps=NO_ORDER_IS_LEFT)
def test_any_story_of_a_product_service_alone_goes_as_the_model_says(
    alone: ProductServiceAlone, system: SystemUnderTest, steps: list[Step]
) -> None:
    """Every answer in every field, every request to the Order Service and every OrderRejected, in any order."""
    tell(StoryAlone(alone.system, system.event_tap, alone.fake_order_service), steps)


@pytest.mark.cites("product_service.proto", "An item that stays keeps the price it was ordered at")
def test_an_item_that_stays_keeps_the_price_the_order_has(alone: ProductServiceAlone) -> None:
    """What is new to an order has the price of its product; what was there before, that of the Order Service."""
    stays, comes = alone.system.new_product(), alone.system.new_product()
    order = sample_order(wanted={stays: 2, "goes": 1})
    for item in order.items:
        item.unit_price.CopyFrom(OTHER_PRICE)
    order.total.CopyFrom(total(order.items))
    alone.fake_order_service.keep(order)
    items = ItemQuantities(items=quantities({stays: 3, comes: 1}))
    changed = alone.system.ok(UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)).order
    prices = {item.product_id: item.unit_price for item in changed.items}
    assert prices == {stays: OTHER_PRICE, comes: alone.system.product(comes).unit_price}
