"""The normal form of requests and their fingerprint: two requests with equal fingerprints are equal (AIP-155).

In the normal form UUIDs are in lower case, the items of an order are sorted by product, and unknown fields are dropped.
The system stores, answers and publishes what it was asked in this form.
"""

from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2

# These fields name a try of a request; they are no part of what it asks for.
_NOT_ASKED = ("request_id", "traceparent")


class _Plan(NamedTuple):
    """The fields of a message type that have more than one spelling."""

    uuids: tuple[str, ...]
    items: tuple[str, ...]
    nested: tuple[str, ...]
    not_asked: tuple[str, ...]


def normalise(message: Message) -> None:
    """Brings `message` into its normal form, in place."""
    message.DiscardUnknownFields()
    _normalise(message)


def fingerprint(message: Message) -> bytes:
    """16 bytes that are equal for equal requests of one type. `message` is normalised and stays as it is."""
    content = type(message)()
    content.CopyFrom(message)
    for field in _plan(message.DESCRIPTOR).not_asked:
        content.ClearField(field)
    # Begun with the type: messages of two types may have equal bytes, and are requests to two RPCs.
    digest = blake2b(message.DESCRIPTOR.full_name.encode(), digest_size=16)
    # Without it protobuf does not promise equal bytes for equal messages.
    digest.update(content.SerializeToString(deterministic=True))
    return digest.digest()


def _normalise(message: Any) -> None:
    plan = _plan(message.DESCRIPTOR)
    for field in plan.uuids:
        setattr(message, field, getattr(message, field).lower())
    for field in plan.items:
        getattr(message, field).sort(key=_product_id)
    for field in plan.nested:
        if message.HasField(field):
            _normalise(getattr(message, field))


def _product_id(item: Any) -> str:
    return str(item.product_id)


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    fields = descriptor.fields
    return _Plan(
        uuids=tuple(f.name for f in fields if _rules(f).string.uuid),
        items=tuple(f.name for f in fields if _rules(f).repeated.Extensions[rules_pb2.unique_products]),
        nested=tuple(f.name for f in fields if f.message_type and not f.is_repeated),
        not_asked=tuple(name for name in _NOT_ASKED if name in descriptor.fields_by_name),
    )


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    return field.GetOptions().Extensions[validate_pb2.field]
