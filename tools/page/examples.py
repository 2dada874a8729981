"""Example messages: the golden ones, with the ids, names and numbers of one story in place of generated ones."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.type.money_pb2 import Money

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract import money
from ordersys.contract.access import service_name
from ordersys.contract.errors import status_error
from ordersys.contract.events import CONTENT_TYPE, Delivery, EventMessage, decode
from ordersys.contract.topology import events, publication
from tools.compat.golden import golden

ORDER = "01999e0d-46f2-7b11-8c5e-1d4a7f9b3e02"
TIME = 1_790_000_000_123_456
TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
_PERSISTENT = 2
# By the name of a field, or of a message and a field. Whatever is not named stays as it was generated.
_VALUES: Mapping[str, Any] = {
    "Notification.event_id": f"{ORDER}.1",
    "Notification.late": False,
    "Notification.sequence": 7,
    "Notification.version": 1,
    "Order.id": ORDER,
    "Product.id": "oak-desk",
    "DeadLetter.event_id": f"{ORDER}.1",
    "DeadLetter.id": "0123456789abcdef0123456789abcdef",
    "available": 12,
    "asked": 20,
    "body_beginning": b"\n\x90\x01",
    "content_type": CONTENT_TYPE,
    "customer_id": "anna",
    "delta": -3,
    "description": "A desk of solid oak, 160 × 80 cm.",
    "held": 2,
    "name": "Oak desk",
    "next_page_token": "b3BhcXVl",
    "obstacle": "",
    "order_id": ORDER,
    "page_size": 50,
    "page_token": "",
    "product_id": "oak-desk",
    "quantity": 2,
    "size_bytes": 144,
    "text": f"order {ORDER} of anna was placed: 2 units of 1 products for 499.00 EUR",
    "traceparent": TRACEPARENT,
    "type": "ordersys.api.order.v1.OrderCreated",
}
# Messages of other packages, by type: a price, and a refusal.
_OTHERS: Mapping[str, Message] = {
    message.DESCRIPTOR.full_name: message
    for message in (
        Money(currency_code=money.CURRENCY, units=249, nanos=500_000_000),
        status_error(ErrorReason.STORAGE_UNAVAILABLE).status,
    )
}
# The answers to a change show the order after it: its version, and its state by number.
_AFTER = {
    "ordersys.api.order.v1.UpdateOrderResponse": (2, 2),
    "ordersys.api.product.v1.UpdateOrderResponse": (2, 2),
    "ordersys.api.product.v1.CancelOrderResponse": (2, 5),
}


class Wire(NamedTuple):
    """An event as it is published: the values of its AMQP properties, but for the headers, and the event."""

    properties: Mapping[str, str | int]
    event: EventMessage


def examples(kind: Descriptor) -> list[Message]:
    """Valid messages of `kind` with all fields, one for each member of its oneofs."""
    return [_retold(message) for message in golden(kind)[:-1]]


def json_text(message: Message) -> str:
    """A message in ProtoJSON, its fields by the names they have in proto/."""
    return MessageToJson(message, preserving_proto_field_name=True, indent=2, ensure_ascii=False)


def on_the_wire(event: Descriptor) -> Wire:
    """The example of an event as its publisher sends it."""
    to, body = publication(event), examples(event)[0].SerializeToString(deterministic=True)
    about = decode(Delivery("-", event.full_name, CONTENT_TYPE, body))
    event_id = f"{about.order_id}.{about.version}"
    properties: dict[str, str | int] = {
        "message_id": event_id,
        "type": event.full_name,
        "content_type": CONTENT_TYPE,
        "delivery_mode": _PERSISTENT,
        "timestamp": TIME // 1_000_000,
        "user_id": service_name(to.publisher),
    }
    message = EventMessage(event_id, event.full_name, to.publisher, about.order_id, TIME, TRACEPARENT, body)
    return Wire(properties, message)


def _retold(message: Any) -> Any:
    """`message` with other values, changed in place."""
    kind = message.DESCRIPTOR
    if kind.full_name in _OTHERS:
        message.CopyFrom(_OTHERS[kind.full_name])
        return message
    if isinstance(message, AnyMessage):
        message.CopyFrom(_packed())
        return message
    for field, value in message.ListFields():
        if field.message_type:
            for part in value if field.is_repeated else [value]:
                _retold(part)
        elif not field.is_repeated:
            replacement = _VALUES.get(f"{kind.name}.{field.name}", _VALUES.get(field.name))
            if type(replacement) is type(value):
                setattr(message, field.name, replacement)
    _agree(message, kind.full_name)
    return message


def _agree(message: Any, kind: str) -> None:
    """Mends what follows from other fields."""
    if kind == "ordersys.api.order.v1.Order":
        message.total.CopyFrom(money.total(message.items))
    if kind in _AFTER:
        message.order.version, message.order.state = _AFTER[kind]


@cache
def _packed() -> AnyMessage:
    """An event as a notification holds it."""
    packed = AnyMessage()
    packed.Pack(examples(next(iter(events().values())))[0], deterministic=True)
    return packed
