"""Invalid messages: every way to break exactly one rule of a message of the contract."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2
from tests.contract.harness.valid_values import (
    EXAMPLES,
    LAST_SECOND,
    SCALARS,
    TEXT,
    Values,
    elements,
    numbers,
    put,
    rules,
    valid,
)


class InvalidMessage(NamedTuple):
    """A message with one rule broken: the path of the field as google.rpc.BadRequest names it, and the rule's id."""

    message: Message
    field: str
    rule: str


class _Bad(NamedTuple):
    """A value that breaks one rule."""

    rule: str
    values: Values
    place: str = ""
    """The place in the field, as the path goes on behind its name."""
    late: Values | None = None
    """Values that break it as far behind as a list goes."""


class Breakage(NamedTuple):
    """One way to break a message: fields to walk through, then the field (or oneof) that is broken.

    Without a target, the message behind the last step is spoiled, by a rule between its fields.
    """

    steps: tuple[FieldDescriptor, ...]
    target: FieldDescriptor | OneofDescriptor | None
    bad: _Bad

    def __repr__(self) -> str:
        """For people: `items.quantity breaks int32.gte_lte`."""
        fields = [*self.steps, *([self.target] if self.target else [])]
        return f"{'.'.join(field.name for field in fields) or 'the message'} breaks {self.bad.rule}"


@cache
def breakages(kind: Descriptor) -> list[Breakage]:
    """All ways to break a message of `kind`."""
    return list(_walk(kind, ()))


def _walk(kind: Descriptor, steps: tuple[FieldDescriptor, ...]) -> Iterator[Breakage]:
    for rule in kind.GetOptions().Extensions[validate_pb2.message].cel:
        yield Breakage(steps, None, _Bad(rule.id, st.none()))
    for field in kind.fields:
        yield from (Breakage(steps, field, bad) for bad in _bad(field))
        if field.GetOptions().HasExtension(rules_pb2.sum_of):
            yield Breakage(steps, None, _Bad("money.sum_of", st.none(), field.name))
        if field.message_type and field.message_type.file.package.startswith("ordersys."):
            yield from _walk(field.message_type, (*steps, field))
            between = [rule.id for rule in rules(field).cel]
            yield from (Breakage((*steps, field), None, _Bad(rule, st.none())) for rule in between)
    for oneof in kind.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield Breakage(steps, oneof, _Bad("required", st.none()))


@st.composite
def broken(draw: Any, kind: Descriptor, breakage: Breakage, late: bool = False) -> InvalidMessage:
    """A message of `kind`, broken in this way and no other; where that is `late`, at the end of the longest lists."""
    root = draw(valid(kind))
    return InvalidMessage(root, spoil(draw, root, breakage, late), breakage.bad.rule)


def spoil(draw: Any, root: Any, breakage: Breakage, late: bool = False) -> str:
    """Breaks a message in this way; returns the path of the field."""
    message, path, bad = root, [], breakage.bad
    for field in breakage.steps:
        message, step = _enter(draw, message, field, late)
        path.append(step)
    target = breakage.target
    if target is None:
        SPOILED[bad.rule](draw, message)
        return ".".join([*path, *filter(None, [bad.place])])
    if isinstance(target, OneofDescriptor) or bad.rule == "required":
        cleared = message.WhichOneof(target.name) if isinstance(target, OneofDescriptor) else target.name
        message.ClearField(cleared)
    else:
        put(message, target, draw(bad.late if late and bad.late is not None else bad.values))
    return ".".join([*path, f"{target.name}{bad.place}"])


def _enter(draw: Any, message: Any, field: FieldDescriptor, late: bool) -> tuple[Any, str]:
    """One step into a message, which is made where it is missing; with its part of the path."""
    kind: Any = field.message_type
    if not field.is_repeated:
        if not message.HasField(field.name):
            put(message, field, draw(valid(kind)))
        return getattr(message, field.name), field.name
    inside = getattr(message, field.name)
    if not inside:
        inside.append(draw(valid(kind)))
    if late:
        stated = rules(field).repeated
        inside.extend(_copies(inside[0], (stated.max_items or _LONG) - len(inside), stated))
    index = len(inside) - 1 if late else draw(st.integers(0, len(inside) - 1))
    return inside[index], f"{field.name}[{index}]"


def late_breakages(kind: Descriptor) -> list[list[Breakage]]:
    """The ways to break a message of `kind` far behind in a list; those of one list and kind of rule together."""
    groups: dict[tuple[Any, ...], list[Breakage]] = {}
    for breakage in breakages(kind):
        lists = [field.full_name for field in breakage.steps if field.is_repeated]
        if breakage.bad.late is not None:
            groups.setdefault((*lists, breakage.target.full_name, breakage.bad.rule), []).append(breakage)  # type: ignore[union-attr]
        elif lists:
            groups.setdefault((*lists,), []).append(breakage)
    return list(groups.values())


def pairs(kind: Descriptor) -> list[tuple[Breakage, Breakage]]:
    """Ways to break a message of `kind` in two places; empty where it has too few rules."""
    ways = breakages(kind)
    apart = [(first, second) for first in ways for second in ways if _part(first) != _part(second)]
    if apart or len(kind.fields) != 1 or not kind.fields[0].is_repeated:
        return apart
    inside = [way for way in ways if way.steps]
    return [(first, second) for first in inside for second in inside]


@st.composite
def broken_twice(draw: Any, kind: Descriptor) -> list[InvalidMessage]:
    """One message of `kind` with two rules broken in different fields, once for each of both."""
    root = draw(valid(kind))
    first, second = draw(st.sampled_from(pairs(kind)))
    if _part(first) != _part(second):
        return [InvalidMessage(root, spoil(draw, root, way), way.bad.rule) for way in (first, second)]
    (field,) = kind.fields  # a batch: two of its requests
    request: Any = field.message_type
    two = [draw(broken(request, _inside(way))) for way in (first, second)]
    put(root, field, [two[0].message, draw(valid(request)), two[1].message])
    indexed = zip((0, 2), two, strict=True)
    return [InvalidMessage(root, f"{field.name}[{index}].{bad.field}", bad.rule) for index, bad in indexed]


def _inside(breakage: Breakage) -> Breakage:
    """The same, without its first step."""
    return breakage._replace(steps=breakage.steps[1:])


def _part(breakage: Breakage) -> str:
    """The field of the message that is broken, of the members of a oneof the oneof."""
    field = breakage.steps[0] if breakage.steps else breakage.target
    oneof = getattr(field, "containing_oneof", None)
    return str((oneof or field).name)  # type: ignore[union-attr]


def explicit_zeros(kind: Descriptor) -> list[Breakage]:
    """The fields with presence, optional ones and members of a oneof, in which 0 breaks a rule."""
    return [
        Breakage(steps, field, bad._replace(values=st.just(0)))
        for steps, field in _fields(kind, ())
        if field.has_presence and not field.message_type
        for bad in list(_bad(field))[:1]
        if bad.rule == "enum.in" or _least(field) > 0
    ]


def _least(field: FieldDescriptor) -> int:
    stated = rules(field)
    return int(max(stated.int32.gte, stated.int64.gte))


def line_breaks(kind: Descriptor) -> list[Breakage]:
    """The texts with an alphabet of their own, each broken by a line break behind a valid value."""
    return [
        Breakage(steps, field, _Bad(rule, st.just(f"{value}\n")))
        for steps, field in _fields(kind, ())
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
        for rule, value in _with_an_alphabet(rules(field).string)
    ]


def _with_an_alphabet(text: validate_pb2.StringRules) -> Iterator[tuple[str, str]]:
    if text.uuid:
        yield "string.uuid", UUIDS[0]
    elif text.Extensions[rules_pb2.slug]:
        yield "string.slug", "slug"
    elif text.pattern == _TRACEPARENT:
        yield "string.pattern", f"00-{'a' * 32}-{'b' * 16}-01"


def uuid_fields(kind: Descriptor) -> list[FieldDescriptor]:
    """The texts of a message itself that are UUIDs."""
    texts = [field for field in kind.fields if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated]
    return [field for field in texts if rules(field).string.uuid]


def _fields(kind: Descriptor, steps: tuple[FieldDescriptor, ...]) -> Iterator[tuple[Any, FieldDescriptor]]:
    """All fields of a message, those of messages in it as well, each behind the steps to it."""
    for field in kind.fields:
        yield steps, field
        if field.message_type and field.message_type.file.package.startswith("ordersys."):
            yield from _fields(field.message_type, (*steps, field))


def _bad(field: FieldDescriptor) -> Iterator[_Bad]:
    stated = rules(field)
    if stated.required:
        yield _Bad("required", st.none())
    yield from (_Bad(rule.id, EXAMPLES[rule.id].broken) for rule in stated.cel if rule.id in EXAMPLES)
    yield from _bad_beyond_cel(field)
    if field.is_repeated:
        yield from _bad_lists(field, stated.repeated)
    elif field.enum_type:
        yield from _bad_enums(field, stated.enum)
    elif field.type == FieldDescriptor.TYPE_STRING:
        yield from _bad_texts(stated)
    elif field.type in SCALARS:
        yield from _bad_integers(field, stated)


def _bad_lists(field: FieldDescriptor, stated: validate_pb2.RepeatedRules) -> Iterator[_Bad]:
    single = elements(field, stated.items)
    unique = stated.Extensions[rules_pb2.unique_products]
    if stated.min_items:
        yield _Bad("repeated.min_items", st.just([]))
    if stated.max_items:
        yield _Bad("repeated.max_items", single.map(lambda element: _copies(element, stated.max_items + 1, stated)))
    for bad in _bad_texts(stated.items):
        yield _Bad(bad.rule, bad.values.map(lambda text: [text]), "[0]")
    if unique:
        most = stated.max_items or _LONG
        yield _Bad(
            "repeated.unique_products",
            single.map(lambda element: [element, element]),
            late=single.map(lambda element: _repeated_last(_copies(element, most - 1, stated))),
        )
    if stated.unique:
        yield _Bad("repeated.unique", single.map(lambda element: [element, element]))


def _repeated_last(copies: list[Any]) -> list[Any]:
    """With the first of them again at the end, where no neighbour is its like."""
    return [*copies, copies[0]]


def _copies(element: Any, count: int, stated: validate_pb2.RepeatedRules) -> list[Any]:
    """Copies of an element, each another text or about another product where that has to be."""
    if stated.unique:
        return [f"text_{number}" for number in range(count)]
    if not stated.Extensions[rules_pb2.unique_products]:
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


def _bad_beyond_cel(field: FieldDescriptor) -> Iterator[_Bad]:
    """Values that break the rules CEL can't express."""
    options = field.GetOptions()
    if rules(field).timestamp.Extensions[rules_pb2.instant]:
        yield _Bad("timestamp.instant", st.sampled_from(_NO_INSTANTS))
    if options.Extensions[rules_pb2.sorted_by]:
        pairs = st.lists(elements(field, rules(field).repeated.items), min_size=2, max_size=2, unique_by=_product_id)
        yield _Bad("repeated.sorted_by", pairs.map(lambda two: sorted(two, key=_product_id, reverse=True)))


_NO_INSTANTS = [
    *(Timestamp(seconds=seconds) for seconds in (-1, LAST_SECOND + 1, -62_135_596_801, 1_764_000_000_000, 2**63 - 1)),
    *(Timestamp(seconds=1_764_000_000, nanos=nanos) for nanos in (-1, 1_000_000_000, 2_000_000_000, -(2**31))),
]


def _product_id(item: Any) -> str:
    return str(item.product_id)


def _too_early(draw: Any, order: Any) -> None:
    """In a state it can't have reached with so many changes."""
    state, version = draw(st.sampled_from([(2, 1), (5, 1), (3, 1), (3, 2), (4, 1), (4, 3)]))
    order.state, order.version = state, version


def _times_apart(draw: Any, order: Any) -> None:
    """Changed before it was created, or at another time than that at version 1."""
    order.create_time.seconds, order.update_time.seconds = 1_764_000_000, 1_763_999_999
    if order.version == 1 and draw(st.booleans()):
        order.update_time.seconds = 1_764_000_001


def _not_created(draw: Any, order: Any) -> None:
    """As no order is at first."""
    order.version, order.state = draw(st.sampled_from([(2, 1), (2**63 - 1, 1), (2, 2), (4, 4), (2, 5)]))


def _not_updated(draw: Any, order: Any) -> None:
    order.version = 1


def _no_way(draw: Any, event: Any) -> None:
    """From one state to another that does not follow, or to the same one where items may not change."""
    ways = [(1, 3), (1, 4), (2, 1), (2, 2), (2, 4), (3, 5), (3, 2), (4, 5), (4, 4), (5, 1), (5, 5)]
    event.previous_state, event.order.state = draw(st.sampled_from(ways))
    event.order.version = max(event.order.version, 4)
    event.changed_fields[:] = ["items"] if event.previous_state == event.order.state else ["state"]


def _unsaid(draw: Any, event: Any) -> None:
    """The state is another one, and that is not said; or the other way round."""
    event.changed_fields[:] = ["items"] if "state" in event.changed_fields else ["state"]


def _enough(draw: Any, shortage: Any) -> None:
    """As much as was asked for, or more."""
    shortage.available = draw(st.integers(shortage.asked, 2**63 - 1))


def _miscounted(draw: Any, order: Any) -> None:
    """By the least there is, or by a lot."""
    if draw(st.booleans()):
        order.total.nanos += -1 if order.total.nanos else 1
    else:
        order.total.units += -1 if order.total.units else 1


SPOILED: Mapping[str, Callable[[Any, Any], None]] = {
    "order.version": _too_early,
    "order.times": _times_apart,
    "order.created": _not_created,
    "order.updated": _not_updated,
    "order_updated.state": _no_way,
    "order_updated.changed_fields": _unsaid,
    "shortage.asked": _enough,
    "money.sum_of": _miscounted,
}
_LONG = 40  # entries of a list that may have any number
_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
UUIDS = [
    "6f1a2e0c-58f4-4c6e-9e0b-7a1d2c3b4e5f",
    *(f"6f1a2e0c-58f4-{digit}c6e-9e0b-7a1d2c3b4e5f" for digit in "09f"),
    *(f"6f1a2e0c-58f4-4c6e-{digit}e0b-7a1d2c3b4e5f" for digit in "07cf"),
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
]
"""UUIDs by their form, which is all that the rule asks for (protovalidate, `string.uuid`)."""
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
    if text.Extensions[rules_pb2.lower_case]:
        uuids = st.uuids().map(lambda value: str(value).upper()).filter(lambda value: value != value.lower())
        yield _Bad("string.lower_case", uuids)
    if text.pattern:
        yield _Bad("string.pattern", st.sampled_from(["no match", "line\nend", "\u202e", "UPPER"]))
    if text.not_in:
        yield _Bad("string.not_in", st.sampled_from(list(text.not_in)))


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
