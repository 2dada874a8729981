"""The Order Service in small: what each request is answered with, and what the events of each order say. Pure.

Times are what a model cannot know: it takes them from the answer, and says since when they have to be.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo, ResourceInfo
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import DESCRIPTOR as ERROR_FILE
from ordersys.api.error.v1.error_reason_pb2 import refusal
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.errors import reason_of
from tests.contract.harness.expected_total import total
from tests.contract.harness.model import FOLLOWS, PLACED
from tests.contract.harness.variants import copy, items_of

_NEVER = (0, 0)
_REASONS = ERROR_FILE.enum_types_by_name["ErrorReason"].values_by_name


class Refusal(NamedTuple):
    """Why a request is refused: the code, the reason, its metadata, and the resource it names, if it names one."""

    code: int
    reason: str
    metadata: Mapping[str, str]
    resource: str = ""


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
        return self.orders.get(order_id.lower()) or [_unknown(order_id.lower())]

    def decided(self, request: Any) -> bool:
        """True when the verdict on a request is certain, whatever is asked beside it in the same call."""
        return request.request_id.lower() in self._remembered or request.order_id.lower() in self.orders

    def _once(self, request: Any, decide: Any) -> Verdict:
        """As at first where the request was answered before; a refusal leaves the id unused."""
        request_id, asked = request.request_id.lower(), normal_form(request)
        known, answer = self._remembered.get(request_id, (None, None))
        if answer is not None:
            return answer if known == asked else [refused("REQUEST_ID_REUSED", request_id=request_id)]
        verdict: Verdict = decide()
        if isinstance(verdict, Order):
            self._remembered[request_id] = (asked, copy(verdict))
        return verdict

    def _create(self, request: CreateOrderRequest, answer: Any, since: tuple[int, int], trace: str) -> Verdict:
        order_id = request.order_id.lower()
        if order_id in self.orders:
            return [refused("ORDER_ALREADY_EXISTS", order_id, order_id=order_id)]
        now = self._time(answer, since)
        order = Order(id=order_id, customer_id=request.customer_id, state=PLACED, version=1, create_time=now)
        _put_items(order, request)
        order.update_time.CopyFrom(now)
        self.ranks[order_id] = self._calls
        self._tell(order, OrderCreated(order=order), _trace_id(request.traceparent) or trace)
        return order

    def _change(self, request: UpdateOrderRequest, answer: Any, trace: str) -> Verdict:
        before = self.orders.get(request.order_id.lower())
        if before is None:
            return [_unknown(request.order_id.lower())]
        if refusals := _refusals(before, request):
            return refusals
        order = copy(before)
        if request.HasField("items"):
            _put_items(order, request)
        else:
            order.state = request.state
        names = [field.name for field in Order.DESCRIPTOR.fields if differ(field.name, before, order)]
        if not names:
            return before
        order.version += 1
        order.update_time.CopyFrom(self._time(answer, self._latest))
        self._tell(order, OrderUpdated(order=order, previous_state=before.state, changed_fields=sorted(names)), trace)
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


def normal_form(request: Any) -> Any:
    """A request without what does not make it another one."""
    plain = copy(request)
    plain.DiscardUnknownFields()
    plain.request_id = ""
    plain.order_id = plain.order_id.lower()
    if isinstance(plain, CreateOrderRequest):
        plain.traceparent = ""
    if items := items_of(plain):
        items.sort(key=lambda item: item.product_id.encode())
    return plain


def refusal_of(status: Status) -> Refusal:
    """What a status of the contract says."""
    info, resource = ErrorInfo(), ResourceInfo()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(resource)
    return Refusal(status.code, reason_of(status), dict(info.metadata), resource.resource_name)


def refused(reason: str, resource: str = "", **metadata: str) -> Refusal:
    """A refusal with this metadata, and the code that the contract has for the reason."""
    return Refusal(_REASONS[reason].GetOptions().Extensions[refusal].code, reason, metadata, resource)


def differ(name: str, one: Order, other: Order) -> bool:
    """True where the orders differ in the field of that name."""
    return bool(getattr(one, name) != getattr(other, name))


def differences(answered: Order, expected: Order) -> dict[str, tuple[str, str]]:
    """What was answered and what was expected, by each field in which the orders differ."""
    names = [field.name for field in Order.DESCRIPTOR.fields if differ(field.name, answered, expected)]
    return {name: (str(getattr(answered, name)), str(getattr(expected, name))) for name in names}


def _put_items(order: Order, request: Any) -> None:
    del order.items[:]
    order.items.extend(items_of(normal_form(request)))
    order.total.CopyFrom(total(order.items))


def _refusals(order: Order, request: UpdateOrderRequest) -> list[Refusal]:
    """Those that apply; which of several comes is not said."""
    found = []
    if request.HasField("expected_version") and request.expected_version != order.version:
        found.append(refused("VERSION_MISMATCH", order_id=order.id, current_version=str(order.version)))
    items = request.HasField("items")
    to_state = order.state if items else request.state
    if order.state != PLACED if items else to_state not in FOLLOWS[order.state]:
        states = {"from_state": OrderState.Name(order.state), "to_state": OrderState.Name(to_state)}
        found.append(refused("STATE_NOT_ALLOWED", order_id=order.id, **states))
    return found


def _unknown(order_id: str) -> Refusal:
    return refused("ORDER_NOT_FOUND", order_id, order_id=order_id)


def _trace_id(traceparent: str) -> str:
    return traceparent.split("-")[1] if traceparent else ""
