"""Laws of the trace context (W3C): what an order's events tell belongs to the trace of the call that caused it."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderRejected
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, UpdateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest, CancelOrderRequest
from tests.contract.harness.client import ORDER, PRODUCT, Answer
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing
from tests.contract.harness.traces import carrying, new_trace, trace_id

pytestmark = pytest.mark.judges("broker")
VERSION_00 = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")
CALLS = {
    "CreateOrder": (ORDER, lambda system: creating()),
    "UpdateOrder": (
        ORDER,
        lambda system: UpdateOrderRequest(
            request_id=new_id(), order_id=system.create().id, state=OrderState.ORDER_STATE_PAID
        ),
    ),
    "PlaceOrder": (PRODUCT, lambda system: placing({system.new_product(): 1})),
    "CancelOrder": (
        PRODUCT,
        lambda system: CancelOrderRequest(request_id=new_id(), order_id=system.place({system.new_product(): 1}).id),
    ),
}


def traced(system: SystemUnderTest, role: str, request: Any, traceparent: str) -> Answer:
    """The answer to a request that carries a trace context in its metadata."""
    return system.client.call(request, role, metadata=carrying(traceparent))


def received_context(system: SystemUnderTest, event_tap: EventTap, fits: Callable[[Received], bool]) -> str:
    """The trace context of the first event that fits, which is one of version 00."""
    messages = event_tap.wait(
        lambda: [message for message in event_tap.everything() if message.event and fits(message)], system.patience
    )
    context: str = messages[0].properties.headers["traceparent"]
    assert VERSION_00.fullmatch(context), f"the traceparent of the event, {context!r}, is not of version 00"
    return context


def received(system: SystemUnderTest, event_tap: EventTap, fits: Callable[[Received], bool]) -> str:
    """The trace the first event that fits belongs to."""
    return trace_id(received_context(system, event_tap, fits))


@pytest.mark.cites("implement.md", "header traceparent | the trace of the call that caused it, as version 00")
@pytest.mark.cites("order_events.proto", "the W3C trace context of the call that caused the event, as version 00")
@pytest.mark.cites("implement.md", "pass it on to the Order Service and into events")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize(("role", "make"), CALLS.values(), ids=list(CALLS))
def test_an_event_belongs_to_the_trace_of_the_call(
    system: SystemUnderTest, event_tap: EventTap, role: str, make: Callable[[SystemUnderTest], Any]
) -> None:
    """Whichever service was called, its traceparent comes out at the broker."""
    traceparent = new_trace()
    order = traced(system, role, make(system), traceparent).response.order
    last = received(system, event_tap, lambda message: version_of(message) == (order.id, order.version))
    assert last == trace_id(traceparent)


@pytest.mark.cites("order_events.proto", "of a later version what is known of it is kept, ids and sampled flag")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize(("role", "make"), CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize(
    "later", ["01-{0}-{1}-01", "01-{0}-{1}-00-x", "cc-{0}-{1}-ff-what-the-future-brings", "fe-{0}-{1}-fe-"]
)
def test_a_trace_context_of_a_later_version_is_read_as_far_as_it_is_known(
    system: SystemUnderTest, event_tap: EventTap, role: str, make: Callable[[SystemUnderTest], Any], later: str
) -> None:
    """Ids and whether it is sampled; what is sent on is version 00, which knows no more (W3C Trace Context §4.3)."""
    _, trace, span, _ = new_trace().split("-")
    order = traced(system, role, make(system), later.format(trace, span)).response.order
    context = received_context(system, event_tap, lambda message: version_of(message) == (order.id, order.version))
    assert trace_id(context) == trace
    assert int(context[-2:], 16) == int(later.split("-")[3], 16) & 1


@pytest.mark.cites("order_events.proto", "one that is invalid counts as none, and a trace is begun")
@pytest.mark.cites("implement.md", "Treat an invalid one as absent: begin a new trace")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize(
    "wrong", ["ff-{0}-{1}-01", "00-{0}-{1}-01-x", "01-{0}-{1}-01.x", "01-{0}-{1}", "00-{0}-0000000000000000-01"]
)
def test_what_is_no_trace_context_begins_a_trace(system: SystemUnderTest, event_tap: EventTap, wrong: str) -> None:
    """The call is served as one that carries none (§3.2.2): its event belongs to a trace, and to one of its own."""
    _, trace, span, _ = new_trace().split("-")
    wrong = wrong.format(trace, span)
    orders = [traced(system, ORDER, creating(), traceparent).response.order for traceparent in (wrong, wrong, "", "")]
    of_events = {received(system, event_tap, creation_of(order)) for order in orders}
    assert len(of_events) == len(orders), f"calls without a trace share one: {', '.join(sorted(of_events))}"
    assert not of_events & {trace, "0" * 32}


@pytest.mark.cites("order_service.proto", "One with a trace or span of zeros counts as none.")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("wrong", ["00-{0}-0000000000000000-01", "00-00000000000000000000000000000000-{1}-01"])
def test_a_trace_of_zeros_in_a_request_begins_a_trace(system: SystemUnderTest, event_tap: EventTap, wrong: str) -> None:
    """It is served as one whose field is empty, alone and in a batch (§3.2.2.3)."""
    _, trace, span, _ = new_trace().split("-")
    requests = [creating() for _ in range(2)]
    for request in requests:
        request.traceparent = wrong.format(trace, span)
    (in_batch,) = system.ok(BatchCreateOrdersRequest(requests=requests[1:])).results
    for order in (system.ok(requests[0]).order, in_batch.order):
        assert received(system, event_tap, creation_of(order)) not in (trace, "0" * 32)


@pytest.mark.cites("implement.md", "Of several in one call any is taken, or a new trace begun")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize(("role", "make"), CALLS.values(), ids=list(CALLS))
def test_several_trace_contexts_do_no_harm(
    system: SystemUnderTest, event_tap: EventTap, role: str, make: Callable[[SystemUnderTest], Any]
) -> None:
    """The call is served, and its event belongs to one trace: of those, or a new one."""
    several = [new_trace(), new_trace()]
    metadata = [entry for traceparent in several for entry in carrying(traceparent)]
    order = system.client.call(make(system), role, metadata=metadata).response.order
    last = received(system, event_tap, lambda message: version_of(message) == (order.id, order.version))
    assert last != "0" * 32


def creation_of(order: Order) -> Callable[[Received], bool]:
    """Fits the event of the first version of an order."""
    return lambda message: version_of(message) == (order.id, 1)


def version_of(message: Received) -> tuple[str, int]:
    """The order and the version of it that an event tells of."""
    assert message.event is not None
    return message.event.order_id, message.event.version


@pytest.mark.cites("order_events.proto", "the W3C trace context of the call that caused the event, as version 00")
@pytest.mark.judges(PRODUCT)
def test_a_refusals_event_belongs_to_the_trace_of_the_call(system: SystemUnderTest, event_tap: EventTap) -> None:
    """OrderRejected is no less part of it."""
    traceparent = new_trace()
    request = placing({system.new_product(0): 1}, customer_id=f"c-{new_id()}")
    assert traced(system, PRODUCT, request, traceparent).reason == "OUT_OF_STOCK"

    def fits(message: Received) -> bool:
        event = message.event.message if message.event else None
        return isinstance(event, OrderRejected) and event.customer_id == request.customer_id

    assert received(system, event_tap, fits) == trace_id(traceparent)


@pytest.mark.cites("order_service.proto", "Comes before the trace context that the call carries.")
@pytest.mark.judges(ORDER)
def test_an_order_of_a_batch_may_be_part_of_a_trace_of_its_own(system: SystemUnderTest, event_tap: EventTap) -> None:
    """What stands in the request comes before what the call carries, for each order of a batch and for one alone."""
    of_call, own = new_trace(), [new_trace(), "", new_trace(), ""]
    requests = [creating() for _ in own]
    for request, traceparent in zip(requests, own, strict=True):
        request.traceparent = traceparent
    batch = BatchCreateOrdersRequest(requests=requests)
    orders = [result.order for result in traced(system, ORDER, batch, of_call).response.results]
    for order, traceparent in zip(orders, own, strict=True):
        assert received(system, event_tap, creation_of(order)) == trace_id(traceparent or of_call)
    alone = creating()
    alone.traceparent = own[0]
    order = traced(system, ORDER, alone, of_call).response.order
    assert received(system, event_tap, creation_of(order)) == trace_id(own[0])


@pytest.mark.cites("implement.md", "every order of a batch belongs to the trace of the call")
@pytest.mark.judges(PRODUCT, ORDER)
def test_every_order_placed_in_a_batch_belongs_to_the_trace_of_the_call(
    system: SystemUnderTest, event_tap: EventTap
) -> None:
    """They have one cause."""
    traceparent, product = new_trace(), system.new_product()
    batch = BatchPlaceOrdersRequest(requests=[placing({product: 1}) for _ in range(3)])
    for result in traced(system, PRODUCT, batch, traceparent).response.results:
        assert received(system, event_tap, creation_of(result.order)) == trace_id(traceparent)
