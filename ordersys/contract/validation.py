"""Validation of messages: protovalidate's rules, then those of rules.proto that CEL can't express.

A generated check (checks.py) passes most valid messages; protovalidate judges the others and names the broken rules.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2
from ordersys.contract import money
from ordersys.contract.checks import check
from ordersys.contract.descriptors import reachable

# One for the process: it keeps what it has compiled for each message type, and is safe to share.
_validator = protovalidate.Validator()


class FieldViolation(NamedTuple):
    """A broken rule: the path of the field (such as `items[0].quantity`), the rule's id, and what it says.

    The path is empty for a rule about the message as a whole.
    """

    field: str
    rule: str
    description: str

    def __str__(self) -> str:
        """The sentence for people: `items[0].quantity: must be greater than 0`."""
        return f"{self.field}: {self.description}" if self.field else self.description


def violations(message: Message, validator: protovalidate.Validator = _validator) -> list[FieldViolation]:
    """The rules `message` breaks, none when it is valid.

    Sums and sorted lists are checked only when no other rule is broken, since the others bound what is added up. A
    message of another version of the contract needs a `validator` of its own, as one caches by type name.
    """
    if validator is _validator and check(message.DESCRIPTOR)(message):
        return []
    try:
        collected = validator.collect_violations(message)
    except protovalidate.EvaluationError:
        # Such as a CEL expression that formats a Timestamp of the year 57868. The message is at fault, as with a broken
        # rule, and not the service: INTERNAL would be wrong.
        return [FieldViolation("", "evaluation", "a rule can't be evaluated for what stands in it")]
    broken = [FieldViolation(_path(v.proto.field), v.proto.rule_id, _description(v.proto)) for v in collected]
    if _plan(message.DESCRIPTOR).any:
        broken += _beyond_cel(message, "", not broken)
    return broken


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


class _Plan(NamedTuple):
    """The fields of a message type with rules that CEL can't express, by their options in rules.proto."""

    instants: tuple[str, ...]
    sorted: tuple[tuple[str, str], ...]
    """The name of a list and the field its elements are sorted by."""
    sums: tuple[tuple[str, str], ...]
    """The name of an amount and of the items it is the sum of."""
    single: tuple[str, ...]
    """Fields with a message that has such rules inside."""
    several: tuple[str, ...]
    """Lists of messages that have."""
    any: bool


def _beyond_cel(message: Any, path: str, bounded: bool) -> Iterator[FieldViolation]:
    """The rules of rules.proto that are broken in `message`, which stands at `path`."""
    plan = _plan(message.DESCRIPTOR)
    for name in plan.instants:
        # protovalidate's CEL sees a Timestamp with its nanos carried into its seconds, and can't find this.
        if not 0 <= getattr(message, name).nanos < money.NANOS:
            yield FieldViolation(f"{path}{name}", "timestamp.instant", "must have nanos from 0 to 999999999")
    if bounded:
        yield from _disordered(message, plan, path)
        yield from _miscounted(message, plan, path)
    for name in plan.single:
        if message.HasField(name):
            yield from _beyond_cel(getattr(message, name), f"{path}{name}.", bounded)
    for name in plan.several:
        for index, element in enumerate(getattr(message, name)):
            yield from _beyond_cel(element, f"{path}{name}[{index}].", bounded)


def _disordered(message: Any, plan: _Plan, path: str) -> Iterator[FieldViolation]:
    for name, key in plan.sorted:
        if not all(getattr(a, key) <= getattr(b, key) for a, b in pairwise(getattr(message, name))):
            yield FieldViolation(f"{path}{name}", "repeated.sorted_by", f"must be sorted by {key}")


def _miscounted(message: Any, plan: _Plan, path: str) -> Iterator[FieldViolation]:
    for name, items in plan.sums:
        amount = getattr(message, name)
        if (total := money.nanos(getattr(message, items))) != amount.units * money.NANOS + amount.nanos:
            yield FieldViolation(f"{path}{name}", "money.sum_of", _no_sum(total, items))


def _no_sum(total: int, items: str) -> str:
    units, nanos = divmod(total, money.NANOS)
    return f"must be the sum of quantity × unit_price over {items}, which is {units}.{nanos:09d}"


@cache
def _plan(kind: Descriptor) -> _Plan:
    fields = kind.fields
    inside = [f for f in fields if f.message_type and any(map(_has_own_rule, reachable([f.message_type]).values()))]
    plan = _Plan(
        instants=tuple(f.name for f in fields if _rules(f).timestamp.Extensions[rules_pb2.instant]),
        sorted=tuple((f.name, key) for f in fields if (key := f.GetOptions().Extensions[rules_pb2.sorted_by])),
        sums=tuple((f.name, items) for f in fields if (items := f.GetOptions().Extensions[rules_pb2.sum_of])),
        single=tuple(f.name for f in inside if not f.is_repeated),
        several=tuple(f.name for f in inside if f.is_repeated),
        any=False,
    )
    return plan._replace(any=any(plan))


def _has_own_rule(kind: Descriptor) -> bool:
    """True for a message type with a field whose rule CEL can't express."""
    return any(
        f.GetOptions().HasExtension(rules_pb2.sorted_by)
        or f.GetOptions().HasExtension(rules_pb2.sum_of)
        or _rules(f).timestamp.HasExtension(rules_pb2.instant)
        for f in kind.fields
    )


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    return field.GetOptions().Extensions[validate_pb2.field]
