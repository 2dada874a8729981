"""The Order Service in small: what each request is answered with, and what the events of each order say. Pure.

Times are what a model cannot know: it takes them from the answer, and says since when they have to be.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from tests.contract.harness.expected_total import total
from tests.contract.harness.model import FOLLOWS, PLACED
from tests.contract.harness.normal_form import copy, items_of, normal
from tests.contract.harness.refusals import Refusal, forbidden, reused, stale, taken_order, unknown_order
from tests.contract.harness.traces import trace_id

_NEVER = (0, 0)


Verdict: TypeAlias = Order | list[Refusal]
"""The order a request is answered with; or the refusals it may be answered with, one of them."""


class Told(NamedTuple):
    """An event, and the trace it belongs to; "" where the call carried none."""

    message: Any
    trace: str


class OrderModel:
    """Orders, what is remembered of requests, and events."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.events: dict[str, list[Told]] = {}
        self.ranks: dict[str, int] = {}
        """The call that created each order: those of one batch have no order among them."""
        self._calls = 0
        self._remembered: dict[str, tuple[Any, Order]] = {}
        self._latest = _NEVER

    def create(self, requests: Sequence[CreateOrderRequest], answers: Sequence[Any], trace: str = "") -> list[Verdict]:
        """The verdict on each of the creations of one call. `answers` have the times; `trace` is that of the call."""
        since = self._latest
        self._calls += 1
        return [
            self._once(request, lambda request=request, answer=answer: self._create(request, answer, since, trace))  # type: ignore[misc]
            for request, answer in zip(requests, answers, strict=True)
        ]

    def change(self, request: UpdateOrderRequest, answer: Any, trace: str = "") -> Verdict:
        """The verdict on a change. `answer` has the time, `trace` is that of the call."""
        return self._once(request, lambda: self._change(request, answer, trace))

    def get(self, order_id: str) -> Verdict:
        """The verdict on reading an order."""
        return self.orders.get(order_id.lower()) or [unknown_order(order_id.lower())]

    def decided(self, request: Any) -> bool:
        """True when the verdict on a request is certain, whatever is asked beside it in the same call."""
        return request.request_id.lower() in self._remembered or request.order_id.lower() in self.orders

    def _once(self, request: Any, decide: Callable[[], Verdict]) -> Verdict:
        """As at first where the request was answered before; a refusal leaves the id unused."""
        request_id, asked = request.request_id.lower(), normal(request)
        known, answer = self._remembered.get(request_id, (None, None))
        if answer is not None:
            return answer if known == asked else [reused(request_id)]
        verdict = decide()
        if isinstance(verdict, Order):
            self._remembered[request_id] = (asked, copy(verdict))
        return verdict

    def _create(self, request: CreateOrderRequest, answer: Any, since: tuple[int, int], trace: str) -> Verdict:
        order_id = request.order_id.lower()
        if order_id in self.orders:
            return [taken_order(order_id)]
        now = self._time(answer, since)
        order = Order(id=order_id, customer_id=request.customer_id, state=PLACED, version=1, create_time=now)
        _put_items(order, request)
        order.update_time.CopyFrom(now)
        self.ranks[order_id] = self._calls
        self._tell(order, OrderCreated(order=order), trace_id(request.traceparent) or trace)
        return order

    def _change(self, request: UpdateOrderRequest, answer: Any, trace: str) -> Verdict:
        before = self.orders.get(request.order_id.lower())
        if before is None:
            return [unknown_order(request.order_id.lower())]
        if refusals := _refusals(before, request):
            return refusals
        order: Order = copy(before)
        if request.HasField("items"):
            _put_items(order, request)
        else:
            order.state = request.state
        names = sorted(differences(order, before))
        if not names:
            return before  # with its version and its time
        order.version += 1
        order.update_time.CopyFrom(self._time(answer, self._latest))
        self._tell(order, OrderUpdated(order=order, previous_state=before.state, changed_fields=names), trace)
        return order

    def _tell(self, order: Order, event: Any, trace: str) -> None:
        self.orders[order.id] = order
        self.events.setdefault(order.id, []).append(Told(event, trace))

    def _time(self, answer: Any, since: tuple[int, int]) -> Timestamp:
        """When a version came to be, as its answer says: not before anything that was answered earlier."""
        if not isinstance(answer, Order):
            return Timestamp()
        time = (answer.update_time.seconds, answer.update_time.nanos)
        assert time >= since, f"update_time {time} is before a time that was answered earlier, {since}"
        self._latest = max(self._latest, time)
        return answer.update_time


def differences(message: Any, expected: Any) -> dict[str, tuple[str, str]]:
    """The values of a message and those expected, by the names of the fields in which they differ."""
    names = [field.name for field in expected.DESCRIPTOR.fields]
    pairs = {name: (getattr(message, name), getattr(expected, name)) for name in names}
    return {name: (str(value), str(other)) for name, (value, other) in pairs.items() if value != other}


def _put_items(order: Order, request: Any) -> None:
    del order.items[:]
    order.items.extend(items_of(normal(request)))
    order.total.CopyFrom(total(order.items))


def _refusals(order: Order, request: UpdateOrderRequest) -> list[Refusal]:
    """Those that apply; which of several comes is not said."""
    refusals = []
    if request.HasField("expected_version") and request.expected_version != order.version:
        refusals.append(stale(order.id, order.version))
    items = request.HasField("items")
    to_state = order.state if items else request.state
    if order.state != PLACED if items else to_state not in FOLLOWS[order.state]:
        refusals.append(forbidden(order.id, order.state, to_state))
    return refusals
