"""Valid values for every field of the contract, from its descriptor and its rules.

The CEL rules of amounts have registered examples in EXAMPLES; what the rules between the fields of a message ask for is
made by CONSISTENT, once its fields are there; and nowhere else.
"""

import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2
from ordersys.contract import descriptors
from tests.contract.harness.expected_total import total
from tests.contract.harness.model import FOLLOWS, PLACED

Values = SearchStrategy[Any]
_MOST_ITEMS = 4
_SLUG = string.ascii_lowercase + string.digits
TEXT = st.characters(codec="utf-8")


class Examples(NamedTuple):
    """Amounts that keep a CEL rule, and amounts that break it and nothing else."""

    kept: Values
    broken: Values


def _money(units: Values, nanos: Values, currency: str = "EUR") -> Values:
    return st.builds(Money, currency_code=st.just(currency), units=units, nanos=nanos)


_UNITS, _NANOS = st.integers(0, 999_999), st.integers(0, 999_999_999)
EXAMPLES: Mapping[str, Examples] = {
    "money.price": Examples(
        _money(_UNITS, _NANOS),
        st.one_of(
            _money(_UNITS, _NANOS, "USD"),
            _money(st.sampled_from([-1, 1_000_000, 2**62]), _NANOS),
            _money(_UNITS, st.sampled_from([-1, 1_000_000_000])),
        ),
    ),
    "money.total": Examples(
        _money(st.integers(0, 49_999_999_999), _NANOS),
        st.one_of(
            _money(_UNITS, _NANOS, "USD"),
            _money(_UNITS, _NANOS, ""),
            _money(st.sampled_from([-1, 50_000_000_000, 2**62]), _NANOS),
            _money(_UNITS, st.sampled_from([-5, 1_000_000_000])),
        ),
    ),
}
LAST_SECOND = 253_402_300_799
INSTANTS = st.builds(Timestamp, seconds=st.integers(0, LAST_SECOND), nanos=_NANOS)
# The versions an order needs at least to be in a state: one for each change on the way.
LEAST = {1: 1, 2: 2, 3: 3, 4: 4, 5: 2}


def _order(draw: Any, order: Any) -> None:
    order.items.sort(key=_product_id)
    order.total.CopyFrom(total(order.items))
    order.version = max(order.version, LEAST[order.state])
    times = sorted([order.create_time, order.update_time], key=lambda time: (time.seconds, time.nanos))
    first, last = (time.SerializeToString() for time in times)
    order.create_time.ParseFromString(first)
    order.update_time.ParseFromString(first if order.version == 1 else last)


def _created(draw: Any, event: Any) -> None:
    event.order.version, event.order.state = 1, PLACED
    event.order.update_time.CopyFrom(event.order.create_time)


def _updated(draw: Any, event: Any) -> None:
    ways = [(PLACED, PLACED), *((before, after) for before, states in FOLLOWS.items() for after in states)]
    event.previous_state, event.order.state = draw(st.sampled_from(ways))
    event.order.version = max(event.order.version, 2, LEAST[event.order.state])
    names = [name for name in event.changed_fields if name != "state"] or ["items"]
    event.changed_fields[:] = [*names[:7], "state"] if event.previous_state != event.order.state else names


def _short(draw: Any, shortage: Any) -> None:
    shortage.available = min(shortage.available, shortage.asked - 1)


_V1 = "ordersys.api.order.v1"
CONSISTENT: Mapping[str, Callable[[Any, Any], None]] = {
    f"{_V1}.Order": _order,
    f"{_V1}.OrderCreated": _created,
    f"{_V1}.OrderUpdated": _updated,
    f"{_V1}.Shortage": _short,
}


def rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The rules of a field."""
    return field.GetOptions().Extensions[validate_pb2.field]


@st.composite
def valid(draw: Any, kind: Descriptor) -> Any:
    """A message of `kind` that keeps all rules."""
    message = descriptors.message_class(kind)()
    for field in kind.fields:
        if field.containing_oneof is None:
            put(message, field, draw(_values(field)))
    for oneof in kind.oneofs:
        if field := draw(_member(oneof)):
            put(message, field, draw(_values(field)))
    if kind.full_name in CONSISTENT:
        CONSISTENT[kind.full_name](draw, message)
    return message


def _member(oneof: OneofDescriptor) -> Values:
    """The member of a oneof that is set; an `optional` field is a oneof of its own."""
    required = oneof.GetOptions().Extensions[validate_pb2.oneof].required
    return st.sampled_from([*oneof.fields, *([] if required else [None])])


def _values(field: FieldDescriptor) -> Values:
    stated = rules(field)
    if field.is_repeated:
        return _lists(field, stated.repeated)
    if field.message_type and field.containing_oneof is None and not stated.required:
        return st.none() | elements(field, stated)
    if stated.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE:
        return st.just("") | elements(field, stated)
    return elements(field, stated)


def _lists(field: FieldDescriptor, stated: validate_pb2.RepeatedRules) -> Values:
    most = min(stated.max_items or _MOST_ITEMS, max(_MOST_ITEMS, stated.min_items))
    unique_by = _product_id if stated.Extensions[rules_pb2.unique_products] else None
    element = elements(field, stated.items)
    if stated.unique:
        return st.lists(element, min_size=stated.min_items, max_size=most, unique=True)
    return st.lists(element, min_size=stated.min_items, max_size=most, unique_by=unique_by)


def _product_id(item: Any) -> str:
    return str(item.product_id)


def elements(field: FieldDescriptor, stated: validate_pb2.FieldRules) -> Values:
    if field.message_type:
        examples = [EXAMPLES[rule.id].kept for rule in stated.cel if rule.id in EXAMPLES]
        if stated.timestamp.Extensions[rules_pb2.instant]:
            return INSTANTS
        return examples[0] if examples else valid(field.message_type)
    if field.enum_type:
        return st.sampled_from(_allowed(field, stated.enum))
    return SCALARS[field.type](field, stated)


def numbers(field: FieldDescriptor) -> list[int]:
    """The numbers of an enum's values."""
    enum: Any = field.enum_type
    return [value.number for value in enum.values]


def _allowed(field: FieldDescriptor, stated: validate_pb2.EnumRules) -> list[int]:
    """The values of an enum its rules leave."""
    listed = getattr(stated, "in")
    return [n for n in numbers(field) if n not in stated.not_in and (n in listed or not listed)]


def _integers(low: int, high: int, kind: str) -> Callable[[FieldDescriptor, validate_pb2.FieldRules], Values]:
    def values(_: FieldDescriptor, stated: validate_pb2.FieldRules) -> Values:
        limits = getattr(stated, kind)
        least = limits.gte if limits.HasField("gte") else low
        most = limits.lte if limits.HasField("lte") else high
        return st.integers(least, most).filter(lambda value: value not in limits.not_in)

    return values


def _texts(_: FieldDescriptor, stated: validate_pb2.FieldRules) -> Values:
    text = stated.string
    if text.uuid:
        return st.uuids().map(str)
    if text.Extensions[rules_pb2.slug]:
        return st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True, alphabet=_SLUG + "-")
    if text.pattern:
        return st.from_regex(text.pattern, fullmatch=True).filter(lambda value: value not in text.not_in)
    return st.text(TEXT, min_size=text.min_len, max_size=min(text.max_len, 40))


SCALARS: Mapping[int, Callable[[FieldDescriptor, validate_pb2.FieldRules], Values]] = {
    FieldDescriptor.TYPE_STRING: _texts,
    FieldDescriptor.TYPE_INT32: _integers(-(2**31), 2**31 - 1, "int32"),
    FieldDescriptor.TYPE_INT64: _integers(-(2**63), 2**63 - 1, "int64"),
    FieldDescriptor.TYPE_BOOL: lambda field, stated: st.booleans(),
    FieldDescriptor.TYPE_BYTES: lambda field, stated: st.binary(max_size=20),
}


def put(message: Any, field: FieldDescriptor, value: Any) -> None:
    """Sets a field; None leaves it unset."""
    if value is None:
        return
    if field.is_repeated:
        del getattr(message, field.name)[:]
        getattr(message, field.name).extend(value)
    elif field.message_type:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)
