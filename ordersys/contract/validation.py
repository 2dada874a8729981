"""Holds messages against the rules in the contract (protovalidate)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import protovalidate
from google.protobuf.message import Message

# One shared validator: it caches what it compiled for each message type and is safe to share.
_validator = protovalidate.Validator()


class FieldViolation(NamedTuple):
    """A broken rule: the path of the field (such as `items[0].quantity`), the rule's id, and what it says."""

    field: str
    rule: str
    description: str


def violations(message: Message, validator: protovalidate.Validator = _validator) -> list[FieldViolation]:
    """The rules `message` breaks, none when it is valid.

    A message of another contract than this one takes a `validator` of its own: it knows a message type by its name.
    """
    found = validator.collect_violations(message)
    return [FieldViolation(_path(v.proto.field), v.proto.rule_id, _description(v.proto)) for v in found]


def _description(violation: Any) -> str:
    return violation.message or f"breaks the rule {violation.rule_id}"


def _path(field: Any) -> str:
    return ".".join(_step(element) for element in _elements(field))


def _elements(field: Any) -> Sequence[Any]:
    return field.elements if field is not None else ()


def _step(element: Any) -> str:
    subscript = element.subscript
    if subscript is None:
        return str(element.field_name)
    return f"{element.field_name}[{subscript.value}]"
