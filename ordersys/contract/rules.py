"""The rules a thing of the contract states (protovalidate, rules.proto), by the names that violations give them."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

_PROTOVALIDATE, _OURS = "buf.validate.", "ordersys.api.rules."


def stated(thing: Descriptor | FieldDescriptor | OneofDescriptor) -> dict[str, Any]:
    """The rules of a message, a field, a oneof, or behind a predefined rule: `int32.lte` -> 1000.

    A rule in CEL goes by its id and has its expression as its value; lists are tuples.
    """
    return dict(rule for option, value in thing.GetOptions().ListFields() for rule in _of(option, value))


def _of(option: FieldDescriptor, value: Any) -> Iterator[tuple[str, Any]]:
    """What an option says of rules: protovalidate's hold many, one of ours is a rule itself."""
    if option.full_name.startswith(_PROTOVALIDATE):
        yield from _named(value)
    elif option.full_name.startswith(_OURS):
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
