"""The rules of a message, field or oneof (protovalidate, rules.proto), by the ids that violations carry."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

_PROTOVALIDATE, _OWN = "buf.validate.", "ordersys.api.rules."


def rules_of(descriptor: Descriptor | FieldDescriptor | OneofDescriptor) -> dict[str, Any]:
    """The rules of a message, field, oneof, or predefined rule, with their values: `int32.lte` -> 1000.

    A rule in CEL is listed by its id, with its expression as the value. Lists are tuples.
    """
    return dict(rule for option, value in descriptor.GetOptions().ListFields() for rule in _of(option, value))


def _of(option: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any]]:
    """The rules in an option: one of protovalidate holds many, one of rules.proto is a rule itself."""
    if option.full_name.startswith(_PROTOVALIDATE):
        yield from _named(value)
    elif option.full_name.startswith(_OWN):
        yield option.name, value


def _named(rules: Message, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for rule, value in rules.ListFields():
        name = f"{prefix}{rule.name}"
        if rule.name == "cel":
            yield from ((cel.id, cel.expression) for cel in value)
        elif rule.is_repeated:
            yield name, tuple(value)
        elif rule.message_type:
            yield from _named(value, f"{name}.")
        else:
            yield name, value
