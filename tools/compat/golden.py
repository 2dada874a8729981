"""Golden messages: examples of what clients and services of a released contract write, to be decoded ever after.

They are generated from descriptors and rules, deterministically, and stored with a release. Those of v1 were generated
from the rules of single fields: its events decode, but are about orders that can't exist (version 300, a total that is
no sum). They are kept for decoding; the recorded narrowings of v1 refuse them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from google.protobuf import any_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.type import money_pb2

from ordersys.contract.descriptors import message_class
from ordersys.contract.rules import rules_of
from ordersys.contract.validation import violations

_TIME = timestamp_pb2.Timestamp(seconds=1_790_000_000, nanos=123_456_000)
_ANY = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Timestamp", value=_TIME.SerializeToString())
_PRICE = money_pb2.Money(currency_code="EUR", units=300, nanos=990_000_000)
# Values that rules can't be turned into: messages of other packages, by type; texts with a pattern, by field name.
_MESSAGES: Mapping[str, Message] = {message.DESCRIPTOR.full_name: message for message in (_TIME, _ANY, _PRICE)}
_HEXADECIMAL = "0123456789abcdef"
_TEXTS = {
    "traceparent": f"00-{_HEXADECIMAL * 2}-{_HEXADECIMAL}-01",
    "dead_letter_ids": _HEXADECIMAL * 2,
}
_NUMBER = 300  # takes two bytes as a varint, so that the order of bytes shows


def _order(order: Any) -> None:
    order.version = 1
    order.total.CopyFrom(money_pb2.Money(currency_code="EUR", units=90_297))


def _updated(event: Any) -> None:
    event.order.version = 2
    event.changed_fields[:] = ["items", "total"]


def _short(shortage: Any) -> None:
    shortage.available = shortage.asked - 1


# Changes that make a generated message satisfy the rules between its fields, by type.
_CONSISTENT: Mapping[str, Callable[[Any], None]] = {
    "ordersys.api.order.v1.Order": _order,
    "ordersys.api.order.v1.OrderUpdated": _updated,
    "ordersys.api.order.v1.Shortage": _short,
}


def golden(kind: Descriptor) -> list[Message]:
    """Messages of `kind`: full ones, one for each member of its oneofs, and one with the required fields only."""
    full = _full(kind, kind.full_name)
    bare = _bare(_made(kind, 0, f"{kind.full_name}/bare"))
    return [*full, bare]


def entry(message: Message) -> dict[str, Any]:
    """A golden message as it is stored: its type, its fields (as ProtoJSON), and its bytes in hexadecimal."""
    says = MessageToDict(message, preserving_proto_field_name=True)
    body = message.SerializeToString(deterministic=True)
    return {"type": message.DESCRIPTOR.full_name, "says": says, "bytes": body.hex()}


def _full(kind: Descriptor, place: str) -> list[Any]:
    if kind.full_name in _MESSAGES:
        return [_MESSAGES[kind.full_name]]
    count = max((len(oneof.fields) for oneof in kind.oneofs), default=1)
    return [_made(kind, number, f"{place}/{number}") for number in range(count)]


def _made(kind: Descriptor, number: int, place: str) -> Any:
    """A message of `kind` with all fields, and of each oneof the member with this number (modulo their count)."""
    message: Any = message_class(kind)()
    for field in kind.fields:
        members = field.containing_oneof.fields if field.containing_oneof else [field]
        if members[number % len(members)] == field:
            _put(message, field, f"{place}/{field.name}")
    if kind.full_name in _CONSISTENT:
        _CONSISTENT[kind.full_name](message)
    return message


def _put(message: Any, field: FieldDescriptor, place: str) -> None:
    rules = {name.removeprefix("repeated.items."): value for name, value in rules_of(field).items()}
    values = _full(field.message_type, place) if field.message_type else [_scalar(field, rules, place)]
    if field.is_repeated:
        getattr(message, field.name).extend(values)
    elif field.message_type:
        getattr(message, field.name).CopyFrom(values[0])
    else:
        setattr(message, field.name, values[0])


def _scalar(field: FieldDescriptor, rules: Mapping[str, Any], place: str) -> str | int | bytes:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(field.name, rules, place)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return place.encode()
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    return _named(field, rules) if field.enum_type else _number(rules)


def _text(name: str, rules: Mapping[str, Any], place: str) -> str:
    """A UUID that is unique to its place, a slug, or a text that is not only ASCII."""
    if rules.get("string.uuid"):
        return str(uuid5(NAMESPACE_URL, place))
    slug = name.replace("_", "-")
    return _TEXTS.get(name, slug if rules.get("string.slug") else f"{slug} – ü")


def _named(field: FieldDescriptor, rules: Mapping[str, Any]) -> int:
    """The first value of an enum that is allowed and not UNSPECIFIED."""
    enum: Any = field.enum_type
    allowed: Iterable[int] = rules.get("enum.in") or [value.number for value in enum.values]
    return min(number for number in allowed if number and number not in rules.get("enum.not_in", ()))


def _number(rules: Mapping[str, Any]) -> int:
    """A number of more than one byte, or the largest allowed."""
    highest: list[int] = [value for name, value in rules.items() if name.endswith(".lte")]
    return min([_NUMBER, *highest])


def _bare(message: Message) -> Message:
    """`message` without the fields that no rule requires."""
    bare = message
    for field, _ in message.ListFields():
        less = type(message)()
        less.CopyFrom(bare)
        less.ClearField(field.name)
        bare = bare if violations(less) else less
    return bare
