"""Records of a notification service, read down to what the page shows and reconciles. Pure."""

from typing import NamedTuple, cast

from google.protobuf.message import DecodeError, Message

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.contract.descriptors import message_class
from ordersys.contract.topology import events

_ORDER = Order.DESCRIPTOR.full_name
_PREFIX = "ORDER_STATE_"


class Record(NamedTuple):
    """An event as one subscriber has recorded it. Times are milliseconds since 1970 (UTC)."""

    sequence: int
    event_id: str
    kind: str
    """The full name of the event."""
    order_id: str
    version: int
    is_late: bool
    text: str
    recorded: int
    order: Order | None
    """The order as the event tells it; None for an event about none that was created."""
    customer: str

    @property
    def happened(self) -> int:
        """When what it tells happened, by the service that published it; 0 where it does not say."""
        return 0 if self.order is None else self.order.update_time.ToMilliseconds()


def record(notification: Notification) -> Record:
    """The record of `notification`. An event that can't be read is one without an order."""
    event = _event(notification)
    order = _order_in(event)
    customer = order.customer_id if order is not None else str(getattr(event, "customer_id", ""))
    return Record(
        notification.sequence,
        notification.event_id,
        notification.event.type_url.rpartition("/")[2],
        notification.order_id,
        notification.version,
        notification.late,
        notification.text,
        notification.record_time.ToMilliseconds(),
        order,
        customer,
    )


def units(order: Order) -> dict[str, int]:
    """The units of each product that an order holds: none once it is cancelled."""
    if order.state == OrderState.ORDER_STATE_CANCELLED:
        return {}
    return {item.product_id: item.quantity for item in order.items}


def state(order: Order) -> str:
    """The state of an order as a word: placed, paid and so on; a number for one that is not known here."""
    if order.state not in OrderState.values():
        return str(order.state)
    return OrderState.Name(order.state).removeprefix(_PREFIX).lower()


def _event(notification: Notification) -> Message | None:
    descriptor = events().get(notification.event.type_url.rpartition("/")[2])
    if descriptor is None:
        return None
    event = message_class(descriptor)()
    try:
        event.ParseFromString(notification.event.value)
    except DecodeError:
        return None
    return event


def _order_in(event: Message | None) -> Order | None:
    """The order that an event carries, whatever kind of event it is."""
    field = None if event is None else event.DESCRIPTOR.fields_by_name.get("order")
    if event is None or field is None or field.message_type is None or field.message_type.full_name != _ORDER:
        return None
    return cast(Order, getattr(event, field.name))
