"""The places in which two values differ: fields of messages, and entries of whatever holds some, by path. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason

MOST_PLACES = 12
FIRST_LINE = re.compile(r"(\d+) places? differs? \(answered != expected\):")
"""The line before those about the places, so many of them, and one more where there are more than MOST_PLACES."""
_MOST_LETTERS = 60
_CONTEXT = 20
_NOT_THERE = "not there"
_UNKNOWN = " (unknown fields)"
_OK = "OK"
_REASONS = frozenset(ErrorReason.DESCRIPTOR.values_by_name)
_ELLIPSIS = "…"


class Difference(NamedTuple):
    """A place where two values differ: its path, what a service answered there, and what was expected."""

    path: str
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.path or 'the value'}: {self.left} != {self.right}"


def explained(left: object, right: object) -> list[str] | None:
    """Lines about what differs; None where nothing does. Laws have on the left what was answered."""
    places = list(differences(left, right))
    return told(places) if places else None


def told(places: Sequence[Difference]) -> list[str]:
    """Lines about these places; the first says which side is the service's."""
    count = "1 place differs" if len(places) == 1 else f"{len(places)} places differ"
    more = [f"{_ELLIPSIS} and {len(places) - MOST_PLACES} more"] if len(places) > MOST_PLACES else []
    return [f"{count} (answered != expected):", *map(str, places[:MOST_PLACES]), *more]


def assert_same_fields(answered: Message, expected: Message) -> None:
    """Fails where a field of a message is not the expected one; fields that the contract does not have may be there."""
    unknown = f"{answered.DESCRIPTOR.name}{_UNKNOWN}"
    places = [difference for difference in differences(answered, expected) if difference.path != unknown]
    if places:
        raise AssertionError("\n".join(["assert the same fields", *told(places)]))


def differences(left: object, right: object, path: str = "") -> Iterator[Difference]:
    """The places where two values differ, in order; only the parts that differ are named."""
    if isinstance(left, Message) and isinstance(right, Message) and left.DESCRIPTOR is right.DESCRIPTOR:
        yield from _of_messages(left, right, path)
    elif isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}, key=str):
            place = key if isinstance(key, str) and key.isprintable() and not path else f"{path}[{key!r}]"
            yield from _of_entries(left.get(key), right.get(key), place, key in left, key in right)
    elif isinstance(left, AbstractSet) and isinstance(right, AbstractSet):
        yield from (_difference(path, shown(entry), _NOT_THERE) for entry in sorted(left - right, key=repr))
        yield from (_difference(path, _NOT_THERE, shown(entry)) for entry in sorted(right - left, key=repr))
    elif (a := _entries(left)) is not None and (b := _entries(right)) is not None:
        yield from _of_sequences(a, b, path)
    elif left != right:
        yield _difference(path, *_shown_pair(left, right))


def _shown_pair(left: object, right: object) -> tuple[str, str]:
    """Both values in a line; where one is the reason of a refusal, no reason is that of an answer: OK."""
    both = left, right
    if "" in both and any(isinstance(value, str) and value in _REASONS for value in both):
        return _OK if left == "" else shown(left), _OK if right == "" else shown(right)
    return shown(left), shown(right)


def shown(value: object) -> str:
    """A value in one line."""
    if isinstance(value, Message):
        return f"{{{MessageToString(value, as_one_line=True)}}}"
    if isinstance(value, Enum):
        return value.name
    return value.hex() or "no bytes" if isinstance(value, bytes) else repr(value)


def _of_messages(left: Message, right: Message, path: str) -> Iterator[Difference]:
    if left == right:
        return
    is_named = False
    for field in left.DESCRIPTOR.fields:
        place = f"{path}.{field.name}" if path else field.name
        for difference in _of_field(left, right, cast(FieldDescriptor, field), place):
            is_named = True
            yield difference
    if not is_named:
        sizes = (f"{len(each.SerializePartialToString())} bytes" for each in (left, right))
        yield Difference(f"{path or left.DESCRIPTOR.name}{_UNKNOWN}", *sizes)


def _of_field(left: Message, right: Message, field: FieldDescriptor, path: str) -> Iterator[Difference]:
    a, b = getattr(left, field.name), getattr(right, field.name)
    if field.is_repeated:
        yield from _of_sequences(_plain(field, a), _plain(field, b), path)
        return
    if field.has_presence:
        there = left.HasField(field.name), right.HasField(field.name)
        if there != (True, True):
            yield from _of_entries(_plain(field, a), _plain(field, b), path, *there)
            return
    yield from differences(_plain(field, a), _plain(field, b), path)


def _plain(field: FieldDescriptor, value: Any) -> Any:
    """A field's value; an enum by its name, where it has one."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return sorted(value.items())
    if field.is_repeated:
        return [_named(field, each) for each in value]
    return _named(field, value)


def _named(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is None:
        return value
    known = field.enum_type.values_by_number.get(value)
    return _Name(known.name) if known else value


class _Name(str):
    """The name of an enum's value: shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _of_sequences(left: Sequence[Any], right: Sequence[Any], path: str) -> Iterator[Difference]:
    names = list(getattr(left, "_fields", ())) if type(left) is type(right) else []
    for index in range(max(len(left), len(right))):
        there = index < len(left), index < len(right)
        a, b = (each[index] if is_there else None for each, is_there in zip((left, right), there, strict=True))
        place = f"{path}.{names[index]}".lstrip(".") if names else f"{path}[{index}]"
        yield from _of_entries(a, b, place, *there)


def _of_entries(left: object, right: object, path: str, is_left: bool, is_right: bool) -> Iterator[Difference]:
    if is_left and is_right:
        yield from differences(left, right, path)
    elif is_left or is_right:
        yield _difference(path, shown(left) if is_left else _NOT_THERE, shown(right) if is_right else _NOT_THERE)


def _difference(path: str, left: str, right: str) -> Difference:
    """With both values cut to the part in which they differ."""
    same = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    begin = max(same - _CONTEXT, 0) if max(len(left), len(right)) > _MOST_LETTERS else 0
    return Difference(path, _cut(left, begin), _cut(right, begin))


def _cut(text: str, begin: int) -> str:
    part = text[begin : begin + _MOST_LETTERS]
    before = _ELLIPSIS if begin and part else ""
    return f"{before}{part}{_ELLIPSIS if begin + _MOST_LETTERS < len(text) else ''}" or text[-_CONTEXT:]


def _entries(value: object) -> Sequence[Any] | None:
    """A value that is a sequence of others, None for any other; text is no such thing."""
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None
