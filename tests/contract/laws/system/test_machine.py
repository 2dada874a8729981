"""The whole system against a model of it: any story of requests, compared after every step."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    BatchPlaceOrdersRequest,
    CancelOrderRequest,
    ItemQuantities,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from tests.contract.harness.client import ORDER, PRODUCT, Answer, of_each
from tests.contract.harness.examples import share
from tests.contract.harness.model import Model, Verdict
from tests.contract.harness.paging import walk
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, placing, quantities

STEPS = 30
UNITS = st.integers(1, 6)
PAID, SHIPPED, DELIVERED, CANCELLED = (
    OrderState.ORDER_STATE_PAID,
    OrderState.ORDER_STATE_SHIPPED,
    OrderState.ORDER_STATE_DELIVERED,
    OrderState.ORDER_STATE_CANCELLED,
)
WHICH = st.integers(0, 9)
there_is_a_product = precondition(lambda story: story.model.available)
there_is_an_order = precondition(lambda story: story.model.orders)
EXPECTED = st.none() | st.integers(1, 3)


class Story(RuleBasedStateMachine):
    """Requests of one customer about a few products."""

    system: SystemUnderTest
    products = Bundle("products")
    asked = Bundle("asked")
    placings = Bundle("placings")
    wanted = st.dictionaries(products, UNITS, min_size=1, max_size=3)

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.customer = f"c-{new_id()}"

    def order(self, which: int) -> str:
        """One of the orders there are."""
        return list(self.model.orders)[which % len(self.model.orders)]

    @rule(target=products, available=st.integers(0, 12))
    def create_product(self, available: int) -> str:
        product_id = self.system.new_product(available)
        self.model.create_product(product_id, available)
        return product_id

    @rule(target=asked, product=products, delta=st.integers(-8, 8).filter(bool))
    def restock(self, product: str, delta: int) -> tuple[Any, Answer]:
        request = AdjustStockRequest(request_id=new_id(), product_id=product, delta=delta)
        return self.ask(request, self.model.adjust(product, delta))

    @there_is_a_product
    @rule(targets=(asked, placings), wanted=wanted)
    def place(self, wanted: dict[str, int]) -> tuple[Any, Answer]:
        request = placing(wanted, self.customer)
        answer = self.system.call(request)
        self.compare_placing(wanted, answer)
        return request, answer

    @there_is_a_product
    @rule(targets=(asked, placings), wishes=st.lists(wanted, min_size=1, max_size=4))
    def place_many(self, wishes: list[dict[str, int]]) -> MultipleResults[tuple[Any, Answer]]:
        requests = [placing(wanted, self.customer) for wanted in wishes]
        answers = self.at_once(requests)
        for wanted, answer in zip(wishes, answers, strict=True):
            self.compare_placing(wanted, answer)
        return multiple(*zip(requests, answers, strict=True))

    @there_is_an_order
    @rule(target=asked, which=WHICH, wanted=wanted, expected=EXPECTED)
    def change(self, which: int, wanted: dict[str, int], expected: int | None) -> tuple[Any, Answer]:
        order_id = self.order(which)
        items = ItemQuantities(items=quantities(wanted))
        request = UpdateOrderRequest(request_id=new_id(), order_id=order_id, items=items, expected_version=expected)
        return self.ask(request, self.model.change(order_id, wanted, expected))

    @there_is_an_order
    @rule(target=asked, which=WHICH, state=st.sampled_from([PAID, SHIPPED, DELIVERED]), expected=EXPECTED)
    def advance(self, which: int, state: "OrderState.ValueType", expected: int | None) -> tuple[Any, Answer]:
        order_id = self.order(which)
        request = UpdateOrderRequest(request_id=new_id(), order_id=order_id, state=state, expected_version=expected)
        return self.ask(request, self.model.advance(order_id, state, expected))

    @there_is_an_order
    @rule(target=asked, which=WHICH, expected=EXPECTED)
    def cancel(self, which: int, expected: int | None) -> tuple[Any, Answer]:
        order_id = self.order(which)
        request = CancelOrderRequest(request_id=new_id(), order_id=order_id, expected_version=expected)
        return self.ask(request, self.model.advance(order_id, CANCELLED, expected))

    def at_once(self, requests: list[PlaceOrderRequest]) -> list[Answer]:
        """The answer to each when all are placed in one call."""
        return of_each(self.system.call(BatchPlaceOrdersRequest(requests=requests)), len(requests))

    @rule(asked=asked)
    def repeat(self, asked: tuple[Any, Answer]) -> None:
        """A success, or a refusal for want of stock, is answered again whatever happened since."""
        if has_outcome(asked[1]):
            again = self.system.call(asked[0])
            assert (again.code, again.response, again.status.details) == (
                asked[1].code,
                asked[1].response,
                asked[1].status.details,
            )

    @rule(placing=placings, others=st.lists(placings, max_size=3))
    def repeat_many(self, placing: tuple[Any, Answer], others: list[tuple[Any, Answer]]) -> None:
        """In one call, whichever call they were first asked by; the same one twice, too."""
        repeated = [placing, *others]
        answers = self.at_once([request for request, _ in repeated])
        for again, (_, first) in zip(answers, repeated, strict=True):
            assert (again.response, again.status.details) == (first.response, first.status.details)

    @rule(asked=asked, product=products)
    def reuse(self, asked: tuple[Any, Answer], product: str) -> None:
        """The id of a request that had an outcome serves no other."""
        if has_outcome(asked[1]):
            other = AdjustStockRequest(request_id=asked[0].request_id, product_id=product, delta=999_999)
            assert self.system.call(other).reason == "REQUEST_ID_REUSED"

    @rule(size=st.integers(1, 5))
    def list_orders(self, size: int) -> None:
        """The customer's orders, each as the model has it, on pages of any size."""
        query = ListOrdersRequest(customer_id=self.customer)
        listed: list[Order] = walk(self.system, ORDER, query, lambda page: page.orders, [size])
        assert sorted(order.id for order in listed) == sorted(self.model.orders)
        for order in listed:
            self.compare_order(order)

    def ask(self, request: Any, verdict: Verdict) -> tuple[Any, Answer]:
        """Sends a request; the answer has to be one the model allows, and everything as the model has it."""
        answer = self.system.call(request)
        if verdict.succeeds:
            assert answer.response is not None, f"the model takes it, the system says {answer.status}"
            if hasattr(answer.response, "order") and answer.response.order.id in self.model.orders:
                self.compare_order(answer.response.order)
        else:
            assert answer.reason in verdict.reasons, f"the model refuses it ({set(verdict.reasons)}): {answer}"
        return request, answer

    def compare_placing(self, wanted: dict[str, int], answer: Answer) -> None:
        """As the model would have it; what is placed, it has from now on."""
        verdict = self.model.may_place(wanted)
        assert verdict.succeeds == (answer.response is not None), f"{set(verdict.reasons)}: {answer.status}"
        if verdict.succeeds:
            self.model.place(answer.response.order.id, wanted)
        else:
            assert answer.reason in verdict.reasons, answer

    @invariant()
    def stock_is_conserved(self) -> None:
        """After every step, what is available and held of each product is what the model has."""
        for product_id in self.model.available:
            self.compare_stock(product_id)

    def compare_order(self, order: Order) -> None:
        """As the model has it."""
        known = self.model.orders[order.id]
        assert (order.state, order.version) == (known.state, known.version)
        assert {item.product_id: item.quantity for item in order.items} == known.items
        assert [item.product_id for item in order.items] == sorted(known.items)

    def compare_stock(self, product_id: str) -> None:
        """As the model has it."""
        expected = (self.model.available[product_id], self.model.held[product_id])
        self.system.eventually(lambda: self.system.stock(product_id) == expected)

    def teardown(self) -> None:
        """At the end: every order, and the events seen on each exchange."""
        for order_id, known in self.model.orders.items():
            self.compare_order(self.system.order(order_id))
            self.compare_events(order_id, known.version)

    def compare_events(self, order_id: str, version: int) -> None:
        """Each version once on the topic exchange, the creation alone on the fanout exchange."""
        event_tap = self.system.event_tap
        if event_tap is None:
            return
        event_tap.wait(lambda: len(event_tap.received(order_id, "orders.events")) >= version, self.system.patience)
        event_tap.wait(lambda: event_tap.received(order_id, "orders.created"), self.system.patience)
        received = event_tap.received(order_id, "orders.events")
        assert [h.event.version for h in received if h.event] == list(range(1, version + 1))
        assert [h.event.version for h in event_tap.received(order_id, "orders.created") if h.event] == [1]
        last = received[-1].event
        assert last is not None
        assert last.message.order == self.system.order(order_id)


def has_outcome(answer: Answer) -> bool:
    """True when a repeat is answered the same for good: a success is, and a refusal for want of stock."""
    return answer.response is not None or answer.reason == "OUT_OF_STOCK"


@pytest.mark.cites("product.proto", "Units held by orders that are not cancelled and by placements under way.")
@pytest.mark.cites(
    "product_service.proto", "Owns products and stock, places and changes orders with the Order Service."
)
@pytest.mark.cites("implement.md", "Where several reasons forbid a request, the first of this list is answered")
@pytest.mark.judges(PRODUCT, ORDER)
def test_any_story_goes_as_the_model_says(system: SystemUnderTest) -> None:
    """Products, restocks, placements, repeats, reuse, changes, cancellations, reads and lists, in any order."""

    class StoryOfThisWorld(Story):
        pass

    StoryOfThisWorld.system = system
    run_state_machine_as_test(
        StoryOfThisWorld,
        settings=settings(settings.get_profile("contract"), max_examples=share(1), stateful_step_count=STEPS),
    )
