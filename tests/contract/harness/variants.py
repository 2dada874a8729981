"""Variants of a request: those that ask for the same in another spelling, and those that differ in exactly one field.

Both are found in the descriptors, so that a new field or rule is varied by itself.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from ordersys.api.order.v1.order_service_pb2 import OrderItems
from ordersys.api.product.v1.product_service_pb2 import ItemQuantities
from ordersys.contract.validation import violations
from tests.contract.harness.normal_form import copy, items_of
from tests.contract.harness.system_under_test import new_id, priced, quantities

# They name a try of a request; they are no part of what it asks for.
_NOT_ASKED = ("request_id", "traceparent")
# Set by the service and ignored in a request: whether they make another one is not said.
_IGNORED = ("held", "create_time", "update_time")
_UNKNOWN = b"\xfa\x7f\x07unknown"
_OTHER_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_SAMPLES: Mapping[str, Any] = {
    OrderItems.DESCRIPTOR.full_name: OrderItems(items=priced({"chair": 1})),
    ItemQuantities.DESCRIPTOR.full_name: ItemQuantities(items=quantities({"chair": 1})),
}


def spellings(request: Any) -> dict[str, Any]:
    """Requests that are equal to this one, by what is spelled in another way: each alone, and all together."""
    ways = {"upper case": _upper, "order of items": _turn, "unknown fields": _newer, "trace": _trace}
    variants = {}
    whole = copy(request)
    for name, spell in ways.items():
        variant = copy(request)
        spell(variant)
        spell(whole)
        if variant.SerializeToString() != request.SerializeToString():
            variants[name] = variant
    return {**variants, "all of it": whole}


def spelled(request: Any, which: int) -> Any:
    """The request as it is, or in one of its other spellings."""
    ways = [request, *spellings(request).values()]
    return ways[which % len(ways)]


def altered(request: Any) -> dict[str, Any]:
    """Requests that ask for something else, by the field that differs. Each keeps the rules."""
    variants: dict[str, Any] = {}
    for path, other in _altered(request):
        if path not in variants and other != request and not violations(other):
            variants[path] = other
    return variants


def _upper(request: Any) -> None:
    for field in request.DESCRIPTOR.fields:
        if _rules(field).string.uuid:
            setattr(request, field.name, getattr(request, field.name).upper())


def _turn(request: Any) -> None:
    if items := items_of(request):
        items.reverse()


def _newer(request: Any) -> None:
    for message in (request, *(items_of(request) or ())):
        message.MergeFromString(_UNKNOWN)


def _trace(request: Any) -> None:
    if "traceparent" in request.DESCRIPTOR.fields_by_name:
        request.traceparent = _OTHER_TRACE


def _altered(message: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a message with one other value in one field; for a path the first that keeps the rules is meant."""
    for field in message.DESCRIPTOR.fields:
        if field.name in (*_NOT_ASKED, *_IGNORED):
            continue
        for way, value in _other_values(message, field):
            other = copy(message)
            other.ClearField(field.name)
            _put(other, field, value)
            yield f"{field.name}{way}", other


def _other_values(message: Any, field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    value = getattr(message, field.name)
    if field.is_repeated:
        yield from _other_lists(field, list(value))
    elif field.message_type and message.HasField(field.name):
        yield from ((f".{way}", other) for way, other in _altered(value))
    elif field.message_type:
        yield "", _SAMPLES.get(field.message_type.full_name)
    else:
        if _is_optional(field):
            yield " unset", None
        yield from _other_scalars(field, value)


def _other_lists(field: FieldDescriptor, values: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    first, *others = values
    yield " less", others
    if field.message_type:
        more = copy(first)
        more.product_id = "chair"
        yield " more", [*values, more]
        yield from ((f"[0].{way}", [other, *others]) for way, other in _altered(first))
    else:
        yield " more", [*values, uuid.uuid4().hex]
        yield "[0]", [uuid.uuid4().hex, *others]


def _other_scalars(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any]]:
    if field.enum_type:
        yield from ((f" {number}", number) for number in range(1, 6) if number != value)
    elif isinstance(value, int):
        yield from (("", value + step) for step in (1, -1))
    else:
        yield from (("", other) for other in (new_id(), f"{value}x"))


def _put(message: Any, field: FieldDescriptor, value: Any) -> None:
    """Sets a cleared field; None leaves it so."""
    if value is None:
        return
    if field.is_repeated:
        getattr(message, field.name).extend(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _is_optional(field: FieldDescriptor) -> bool:
    """True for a field that may be left out by itself, not for a member of a oneof of several."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) == 1


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    return field.GetOptions().Extensions[validate_pb2.field]
