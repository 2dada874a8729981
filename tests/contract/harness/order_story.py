"""Stories of orders with an Order Service alone: the steps there are, and the comparison of each answer and event."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from google.type.money_pb2 import Money
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import Order, OrderItem
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    CreateOrderRequest,
    GetOrderRequest,
    ListOrdersRequest,
    UpdateOrderRequest,
)
from tests.contract.harness.client import ORDER, Answer, of_each
from tests.contract.harness.differences import assert_same_fields, shown
from tests.contract.harness.model import FOLLOWS
from tests.contract.harness.normal_form import copy, normal
from tests.contract.harness.order_events import assert_tells, settled
from tests.contract.harness.order_model import OrderModel, Verdict
from tests.contract.harness.order_requests import CANCELLED, DELIVERED, PAID, SHIPPED, fits
from tests.contract.harness.paging import walk
from tests.contract.harness.refusals import Refusal, refusal_in
from tests.contract.harness.steps import Kind
from tests.contract.harness.system_under_test import SystemUnderTest, new_id
from tests.contract.harness.traces import carrying, new_trace, trace_id
from tests.contract.harness.variants import altered, spellings

MOST = 500
WHICH = st.integers(0, 999)
RECENT = 3


def basket(*items: tuple[str, int, int, int]) -> list[OrderItem]:
    """Items: of each the product, the quantity, and the units and nanos of the price."""
    return [
        OrderItem(
            product_id=product, quantity=quantity, unit_price=Money(currency_code="EUR", units=units, nanos=nanos)
        )
        for product, quantity, units, nanos in items
    ]


# Neighbours differ in one thing each; several have the same total, most are not sorted: a hyphen comes before each
# digit and letter, and p-10 before p-9.
BASKETS = [
    basket(("lamp", 2, 5, 0)),
    basket(("lamp", 1, 10, 0)),
    basket(("desk", 1, 10, 0)),
    basket(("desk", 1, 10, 1)),
    basket(("lamp", 2, 5, 0), ("desk", 1, 0, 0)),
    basket(("p0", 1, 1, 0), ("p-9", 3, 0, 333_333_333), ("p", 1, 1, 1), ("p-10", 1, 1, 0)),
    basket(("p0", 1, 1, 1), ("p-9", 3, 0, 333_333_333), ("p", 1, 1, 0), ("p-10", 1, 1, 0)),
    basket(*((f"p-{number}", 1000, 999_999, 999_999_999) for number in range(50, 0, -1))),
]


class Creation(NamedTuple):
    """A creation: of whom, what; with the id of an order there is; twice in the same call; of a trace of its own."""

    customer: int
    basket: int
    is_taken: bool
    twice: bool
    traced: bool


class Change(NamedTuple):
    """A change: other items, another state, or the items there are; of which order, and expecting which version.

    `state` is the next one in the life cycle where it is 0. `expected` is counted from the version there is.
    """

    which: int
    basket: int | None
    state: int | None
    expected: int | None
    known: bool


class Again(NamedTuple):
    """A request that was made before: spelled in another way, with one field altered, or its id in another call."""

    which: int
    variant: int
    way: str


SAME, OTHER, ELSEWHERE = "spelled in another way", "with one field altered", "its id in another call"
BASKET = st.integers(0, len(BASKETS) - 1)
MOSTLY, RARELY = st.sampled_from([True] * 7 + [False]), st.sampled_from([False] * 7 + [True])
TRACED = st.sampled_from([True, True, False])
EXPECTED = st.sampled_from([None, None, None, 0, 0, 0, -1, -2, 1])
STATES = st.sampled_from([0, 0, 0, 0, PAID, SHIPPED, DELIVERED, CANCELLED])
NONE = st.none()
CREATIONS = st.builds(Creation, st.integers(0, 1), BASKET, RARELY, st.booleans(), TRACED)
NEW_ITEMS = st.builds(Change, WHICH, BASKET, NONE, EXPECTED, MOSTLY)
NEW_STATE = st.builds(Change, WHICH, NONE, STATES, EXPECTED, MOSTLY)
NOTHING_NEW = st.builds(Change, WHICH, NONE, NONE, EXPECTED, MOSTLY)
CHANGES = st.one_of(NEW_ITEMS, NEW_ITEMS, NEW_STATE, NEW_STATE, NEW_STATE, NOTHING_NEW)
AGAIN = st.builds(Again, WHICH, WHICH, st.sampled_from([SAME, SAME, SAME, OTHER, OTHER, ELSEWHERE]))


class OrderStory:
    """Requests of two customers."""

    def __init__(self, system: SystemUnderTest) -> None:
        self.system = system
        self.model = OrderModel()
        self.customers = [f"c-{new_id()}" for _ in range(2)]
        self.asked: list[Any] = []
        self.changed: list[UpdateOrderRequest] = []
        """The changes that were made."""

    def begin(self) -> None:
        """Some orders, so that there is something to change."""
        self.create([Creation(customer, customer, False, False, True) for customer in (0, 1)], True, True)

    def create(self, parts: Sequence[Creation | Again], is_batch: bool, is_traced: bool) -> None:
        """New orders and repeated creations, one by one or all in one call."""
        requests = [request for part in parts for request in self.creations(part)]
        if is_batch:
            self.ask_at_once(self.compatible(requests), is_traced)
        else:
            for request in requests:
                self.ask(request, is_traced)

    def change(self, changes: Sequence[Change], is_traced: bool) -> None:
        """Other items, the same items, and other states, allowed or not."""
        for change in changes:
            self.ask(self.changing(change), is_traced)

    def ask_again(self, again: Sequence[Again], is_traced: bool) -> None:
        """Any request that was made before, however long ago, or another one with its request_id."""
        for part in again:
            self.ask(self.variant(part, (part.which % 2 and self.changed) or self.asked), is_traced)

    def look(self, which: int, customer: int | None, state: int, size: int) -> None:
        """An order, one there is not, and a list: of one customer or of all, in one state or in any."""
        for order_id in (self.order(which).id.upper(), new_id()):
            compare(self.model.get(order_id), told(self.system.call(GetOrderRequest(order_id=order_id))))
        query = ListOrdersRequest(state=state, page_size=MOST)  # type: ignore[arg-type]
        if customer is None:
            # What the service has beside this story's orders is older: the newest page has them all.
            listed = self.system.ok(query).orders
        else:
            query.customer_id = self.customers[customer]
            listed = walk(self.system, ORDER, query, lambda page: page.orders, [size])
        self.compare_list(query, listed)

    def look_around(self) -> None:
        """Nothing: a step compares its own answers, and the end everything."""

    def creations(self, part: Creation | Again) -> list[CreateOrderRequest]:
        """The creations that a part of a step stands for."""
        if isinstance(part, Again):
            before = [request for request in self.asked if isinstance(request, CreateOrderRequest)]
            return [request for request in [self.variant(part, before)] if isinstance(request, CreateOrderRequest)]
        order_id = self.order(part.customer).id if part.is_taken and self.model.orders else new_id()
        customer_id = self.customers[part.customer]
        request = CreateOrderRequest(
            request_id=new_id(), order_id=order_id, customer_id=customer_id, items=BASKETS[part.basket]
        )
        request.traceparent = new_trace() if part.traced else ""
        return [request, copy(request)] if part.twice else [request]

    def changing(self, change: Change) -> UpdateOrderRequest:
        """The request for a change."""
        order = self.order(change.which)
        request = UpdateOrderRequest(request_id=new_id(), order_id=order.id if change.known else new_id())
        if change.state is not None:
            request.state = change.state or next(iter(FOLLOWS[order.state]), CANCELLED)  # type: ignore[assignment]
        else:
            request.items.items.extend(order.items if change.basket is None else BASKETS[change.basket])
        if change.expected is not None:
            request.expected_version = max(order.version + change.expected, 1)
        return request

    def variant(self, part: Again, asked: list[Any]) -> Any:
        """A variant of one of these requests."""
        request = asked[part.which % len(asked)]
        if part.way == ELSEWHERE:
            return elsewhere(request)
        variants = list((altered if part.way == OTHER else spellings)(request).values())
        return variants[part.variant % len(variants)]

    def compatible(self, requests: list[CreateOrderRequest]) -> list[CreateOrderRequest]:
        """Those that may stand in one batch: which of two that exclude each other comes first is not said."""
        chosen: list[CreateOrderRequest] = []
        for request in requests:
            rivals = [other for other in chosen if {*ids(request)} & {*ids(other)} and not equal(request, other)]
            if self.model.decided(request) or not rivals:
                chosen.append(request)
        return chosen

    def order(self, which: int) -> Order:
        """One of the newest orders there are."""
        orders = list(self.model.orders.values())[-RECENT:]
        return orders[which % len(orders)]

    def ask(self, request: Any, is_traced: bool = False) -> None:
        """Makes a request, whose answer has to be the model's."""
        self.asked.append(request)
        trace = new_trace() if is_traced else ""
        answer = told(self.system.client.call(request, ORDER, metadata=carrying(trace)))
        if isinstance(request, CreateOrderRequest):
            (verdict,) = self.model.create([request], [answer], trace_id(trace))
        else:
            verdict = self.model.change(request, answer, trace_id(trace))
            self.changed += [request] if isinstance(verdict, Order) else []
        compare(verdict, answer)

    def ask_at_once(self, requests: list[CreateOrderRequest], is_traced: bool) -> None:
        """Makes many creations in one call."""
        if not requests:
            return
        self.asked += requests
        trace = new_trace() if is_traced else ""
        batch = BatchCreateOrdersRequest(requests=requests)
        answer = self.system.client.call(batch, ORDER, metadata=carrying(trace))
        assert answer.response is not None, f"a batch was refused as a whole: {answer}"
        answers = [told(result) for result in of_each(answer, len(requests))]
        assert len(answers) == len(requests)
        verdicts = self.model.create(requests, answers, trace_id(trace))
        for verdict, result in zip(verdicts, answers, strict=True):
            compare(verdict, result)

    def compare_list(self, query: ListOrdersRequest, listed: Sequence[Order]) -> None:
        """All that fit and nothing else, each as it is, the newest first."""
        expected = [order for order in self.model.orders.values() if fits(query, order)]
        ours = [order for order in listed if query.customer_id or order.id in self.model.orders]
        assert all(fits(query, order) for order in listed), f"listed for {query}"
        assert sorted(order.id for order in ours) == sorted(order.id for order in expected)
        ranks = [self.model.ranks[order.id] for order in ours]
        assert ranks == sorted(ranks, reverse=True), f"not the newest first: {ranks}"
        for order in ours:
            compare(self.model.get(order.id), order)

    def end(self) -> None:
        """At the end: every order, every list, and every event on each exchange."""
        for order_id, order in self.model.orders.items():
            compare(order, told(self.system.call(GetOrderRequest(order_id=order_id))))
        for customer in self.customers:
            query = ListOrdersRequest(customer_id=customer, page_size=MOST)
            self.compare_list(query, self.system.ok(query).orders)
        if self.system.event_tap is not None:
            heard = settled(self.system, self.system.event_tap, self.model.orders.values())
            for order_id, events in self.model.events.items():
                assert_tells(heard[order_id], events)


def told(answer: Answer) -> Order | Refusal:
    """The order that was answered, or the refusal."""
    return refusal_in(answer) if answer.response is None else answer.response.order


def compare(verdict: Verdict, answer: Order | Refusal) -> None:
    """The answer is the model's: the order in every field, or one of the refusals with what belongs to it."""
    if isinstance(verdict, Order):
        assert isinstance(answer, Order), f"answered {answer}, expected OK"
        assert_same_fields(answer, verdict)
    else:
        assert answer in verdict, f"answered {_in_words(answer)}, expected {' or '.join(map(str, verdict))}"


def _in_words(answer: Order | Refusal) -> str:
    return f"OK {shown(answer)}" if isinstance(answer, Order) else str(answer)


def elsewhere(request: Any) -> Any:
    """A request to another RPC, with the request_id of this one."""
    if isinstance(request, CreateOrderRequest):
        return UpdateOrderRequest(request_id=request.request_id, order_id=request.order_id, state=PAID)
    return CreateOrderRequest(
        request_id=request.request_id, order_id=new_id(), customer_id="anna", items=request.items.items or BASKETS[0]
    )


def ids(request: CreateOrderRequest) -> tuple[str, str]:
    """The ids that only one order can have."""
    return request.request_id.lower(), request.order_id.lower()


def equal(one: CreateOrderRequest, other: CreateOrderRequest) -> bool:
    """True when one is a repeat of the other, and of the same trace."""
    return bool(normal(one) == normal(other)) and one.traceparent == other.traceparent


KINDS = (
    Kind(
        8,
        OrderStory.create,
        {
            "parts": st.lists(CREATIONS | AGAIN, min_size=1, max_size=3),
            "is_batch": st.booleans(),
            "is_traced": TRACED,
        },
    ),
    Kind(12, OrderStory.change, {"changes": st.lists(CHANGES, min_size=3, max_size=6), "is_traced": TRACED}),
    Kind(6, OrderStory.ask_again, {"again": st.lists(AGAIN, min_size=3, max_size=6), "is_traced": TRACED}),
    Kind(
        4,
        OrderStory.look,
        {
            "which": WHICH,
            "customer": st.sampled_from([0, 1, None]),
            "state": st.integers(0, 5),
            "size": st.integers(1, 5),
        },
    ),
)
"""Some 30 steps, and 120 calls."""
