"""Every way to break exactly one rule of a message of the contract."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2
from tests.contract.values import EXAMPLES, SCALARS, TEXT, Values, elements, numbers, put, rules, valid


class Broken(NamedTuple):
    """A message with one rule broken: the path of the field as google.rpc.BadRequest names it, and the rule's id."""

    message: Message
    field: str
    rule: str


class _Bad(NamedTuple):
    """A value that breaks one rule."""

    rule: str
    values: Values
    place: str = ""
    """Where in the field, as a path goes on behind its name."""


class Breakage(NamedTuple):
    """One way to break a message: fields to walk through, then the field (or oneof) that is broken."""

    steps: tuple[FieldDescriptor, ...]
    target: FieldDescriptor | OneofDescriptor
    bad: _Bad


@cache
def breakages(kind: Descriptor) -> list[Breakage]:
    """All ways to break a message of `kind`."""
    return list(_walk(kind, ()))


def _walk(kind: Descriptor, steps: tuple[FieldDescriptor, ...]) -> Iterator[Breakage]:
    for field in kind.fields:
        yield from (Breakage(steps, field, bad) for bad in _bad(field))
        if field.message_type and not rules(field).cel:
            yield from _walk(field.message_type, (*steps, field))
    for oneof in kind.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield Breakage(steps, oneof, _Bad("required", st.none()))


@st.composite
def broken(draw: Any, kind: Descriptor, breakage: Breakage) -> Broken:
    """A message of `kind`, broken in this way and no other."""
    message = root = draw(valid(kind))
    path = []
    for field in breakage.steps:
        message, step = _enter(draw, message, field)
        path.append(step)
    target = breakage.target
    if isinstance(target, OneofDescriptor) or breakage.bad.rule == "required":
        cleared = message.WhichOneof(target.name) if isinstance(target, OneofDescriptor) else target.name
        message.ClearField(cleared)
    else:
        put(message, target, draw(breakage.bad.values))
    return Broken(root, ".".join([*path, f"{target.name}{breakage.bad.place}"]), breakage.bad.rule)


def _enter(draw: Any, message: Any, field: FieldDescriptor) -> tuple[Any, str]:
    """One step into a message, which is made where it is missing; with its part of the path."""
    kind: Any = field.message_type
    if not field.is_repeated:
        if not message.HasField(field.name):
            put(message, field, draw(valid(kind)))
        return getattr(message, field.name), field.name
    inside = getattr(message, field.name)
    if not inside:
        inside.append(draw(valid(kind)))
    index = draw(st.integers(0, len(inside) - 1))
    return inside[index], f"{field.name}[{index}]"


def _bad(field: FieldDescriptor) -> Iterator[_Bad]:
    stated = rules(field)
    if stated.required:
        yield _Bad("required", st.none())
    for rule in stated.cel:
        yield _Bad(rule.id, EXAMPLES[rule.id].broken)
    if field.is_repeated:
        yield from _bad_lists(field, stated.repeated)
    elif field.enum_type:
        yield from _bad_enums(field, stated.enum)
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield from _bad_texts(stated)
    elif field.type in SCALARS:
        yield from _bad_integers(field, stated)


def _bad_lists(field: FieldDescriptor, stated: validate_pb2.RepeatedRules) -> Iterator[_Bad]:
    one = elements(field, stated.items)
    unique = stated.Extensions[rules_pb2.unique_products]
    if stated.min_items:
        yield _Bad("repeated.min_items", st.just([]))
    if stated.max_items:
        yield _Bad("repeated.max_items", one.map(lambda element: _copies(element, stated.max_items + 1, unique)))
    for bad in _bad_texts(stated.items):
        yield _Bad(bad.rule, bad.values.map(lambda text: [text]), "[0]")
    if unique:
        yield _Bad("repeated.unique_products", one.map(lambda element: [element, element]))


def _copies(element: Any, count: int, unique: bool) -> list[Any]:
    """Copies of an element, each about another product where that has to be."""
    if not unique:
        return [element] * count
    copies = [type(element)() for _ in range(count)]
    for number, copy in enumerate(copies):
        copy.CopyFrom(element)
        copy.product_id = f"product-{number}"
    return copies


def _bad_enums(field: FieldDescriptor, stated: validate_pb2.EnumRules) -> Iterator[_Bad]:
    if stated.defined_only:
        yield _Bad("enum.defined_only", st.sampled_from([-1, 99]))
    if stated.not_in:
        yield _Bad("enum.not_in", st.sampled_from(list(stated.not_in)))
    if left := list(getattr(stated, "in")):
        yield _Bad("enum.in", st.sampled_from([n for n in [*numbers(field), 99] if n not in left]))


_NO_UUIDS = ["x", "6f1a2e0c-58f4-4c6e-9e0b-7a1d2c3b4e5", "{6f1a2e0c-58f4-4c6e-9e0b-7a1d2c3b4e5f}", "g" * 36]
_NO_SLUGS = ["Upper", "two words", "-begins", "ends-", "ümlaut", "new\nline", "a" * 65, "a_b", "' OR 1=1 --"]


def _bad_texts(stated: validate_pb2.FieldRules) -> Iterator[_Bad]:
    text, may_be_empty = stated.string, stated.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE
    if text.uuid:
        yield _Bad("string.uuid", st.sampled_from(_NO_UUIDS))
        if not may_be_empty:
            yield _Bad("string.uuid_empty", st.just(""))
    if text.Extensions[rules_pb2.slug]:
        yield _Bad("string.slug", st.sampled_from([*_NO_SLUGS, *([] if may_be_empty else [""])]))
    if text.min_len:
        yield _Bad("string.min_len", st.text(TEXT, max_size=text.min_len - 1))
    if text.max_len:
        yield _Bad("string.max_len", st.sampled_from("aü€𝄞").map(lambda letter: letter * (text.max_len + 1)))
    if text.pattern:
        yield _Bad("string.pattern", st.just("no match"))


def _bad_integers(field: FieldDescriptor, stated: validate_pb2.FieldRules) -> Iterator[_Bad]:
    kind = "int32" if field.type == FieldDescriptor.TYPE_INT32 else "int64"
    size = 31 if kind == "int32" else 63
    limits = getattr(stated, kind)
    low, high = limits.HasField("gte"), limits.HasField("lte")
    rule = f"{kind}.{'_'.join(name for name, there in (('gte', low), ('lte', high)) if there)}"
    if low:
        yield _Bad(rule, st.integers(-(2**size), limits.gte - 1))
    if high:
        yield _Bad(rule, st.integers(limits.lte + 1, 2**size - 1))
    if limits.not_in:
        yield _Bad(f"{kind}.not_in", st.sampled_from(list(limits.not_in)))
