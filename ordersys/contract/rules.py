"""The rules a thing of the contract states (protovalidate), by the names that violations give them."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

_PACKAGE = "buf.validate."


def stated(thing: Descriptor | FieldDescriptor | OneofDescriptor) -> dict[str, Any]:
    """The rules of a message, a field, a oneof, or behind a predefined rule: `int32.lte` -> 1000.

    A rule in CEL goes by its id and has its expression as its value; lists are tuples.
    """
    options = thing.GetOptions().ListFields()
    return dict(rule for option, value in options if option.full_name.startswith(_PACKAGE) for rule in _named(value))


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
