"""The events of placements refused for want of stock, compared with what was answered."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ordersys.api.order.v1.order_events_pb2 import OrderRejected
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.normal_form import copy
from tests.contract.harness.order_events import TOPIC, assert_properties


class Rejected(NamedTuple):
    """A placement refused for want of stock: its event but for order id and time, and the id of its trace."""

    event: OrderRejected
    trace_id: str


def compare_rejections(
    event_tap: EventTap, patience: float, customers: Collection[str], rejected: Sequence[Rejected]
) -> list[OrderRejected]:
    """The events of these customers, each heard once, as its placement was refused. The last one has to be unlike them.

    Those of different orders may come in any order.
    """
    last = _told(rejected[-1].event)

    def all_heard() -> bool:
        heard = [_told(event_of(received)) for received in _rejections(event_tap, customers)]
        return last in heard and len(heard) >= len(rejected)

    event_tap.wait(all_heard, patience, f"{len(rejected)} times OrderRejected, of the customers {', '.join(customers)}")
    heard = _rejections(event_tap, customers)
    events = sorted((_trace_id_of(received), _told(event_of(received))) for received in heard)
    expected = sorted((refused.trace_id, _told(refused.event)) for refused in rejected)
    assert list(map(_rejected, events)) == list(map(_rejected, expected))
    for received in heard:
        event = event_of(received)
        assert (received.exchange, received.properties.message_id) == (TOPIC, f"{event.order_id}.0")
        assert_properties(received, event.order_id, event.reject_time.ToMicroseconds())
    return [event_of(received) for received in heard]


def event_of(received: Received) -> Any:
    """The event in a message of the contract."""
    assert received.event is not None
    return received.event.message


def _rejections(event_tap: EventTap, customers: Collection[str]) -> list[Received]:
    heard = [received for received in event_tap.everything() if received.event]
    rejections = [received for received in heard if isinstance(event_of(received), OrderRejected)]
    return [received for received in rejections if event_of(received).customer_id in customers]


def _trace_id_of(received: Received) -> str:
    return str(received.properties.headers["traceparent"]).split("-")[1]


def _told(event: OrderRejected) -> bytes:
    """An event without the order id and the time, which the service chooses."""
    rest = copy(event)
    rest.order_id = ""
    rest.ClearField("reject_time")
    return bytes(rest.SerializeToString(deterministic=True))


def _rejected(told: tuple[str, bytes]) -> Rejected:
    trace, event = told
    return Rejected(OrderRejected.FromString(event), trace)
