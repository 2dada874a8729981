"""The rules of the contract as plain Python, made from the descriptors when a message type is first asked for.

A check says of a message that it is surely valid, and nothing else: protovalidate judges whatever it does not, and
words every refusal. It costs a small part of that, which counts for what is checked with every order. A rule that is
not known here, or is stated in other words than here, leaves its message types to protovalidate.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2
from ordersys.contract import money
from ordersys.contract.descriptors import reached
from ordersys.contract.rules import stated

Check: TypeAlias = Callable[[Any], bool]
Rules: TypeAlias = dict[str, Any]
_LAST_SECOND = 253_402_300_799  # of the year 9999
_ALWAYS, _IF_NOT_ZERO = validate_pb2.IGNORE_UNSPECIFIED, validate_pb2.IGNORE_IF_ZERO_VALUE
_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_SLUG = re.compile("[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?").fullmatch
_UPPER_CASE = re.compile("[A-Z]").search
# Where RE2, which CEL asks, and Python mean the same: between ^ and $, no alternatives, no classes by name.
_PLAIN_PATTERN = re.compile(r"\^([^|\\.^$]*)\$").fullmatch
_PREDEFINED = {
    "string.slug": "!rule || this.matches('^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$')",
    "string.lower_case": "!rule || !this.matches('[A-Z]')",
    "repeated.unique_products": "!rule || this.map(item, item.product_id).unique()",
    "timestamp.instant": (
        "!rule || (this >= timestamp('1970-01-01T00:00:00Z') && this <= timestamp('9999-12-31T23:59:59.999999999Z'))"
    ),
}


class _Unknown(Exception):
    """A rule there is no Python for."""


@cache
def check(kind: Descriptor) -> Check:
    """Whether a message of that type is surely valid."""
    try:
        return _all(tuple(_of_message(kind)))
    except _Unknown:
        return _unsure


def _unsure(_: Any) -> bool:
    return False


def _all(checks: tuple[Check, ...]) -> Check:
    """Whether all of these hold for one value."""
    if len(checks) == 1:
        return checks[0]

    def every(value: Any) -> bool:
        for holds in checks:  # noqa: SIM110 - all() with a generator takes twice as long
            if not holds(value):
                return False
        return True

    return every


def _of_message(kind: Descriptor) -> Iterator[Check]:
    """Checks of a message, with all that stands in it. Raises _Unknown."""
    if not _is_ruled(kind):
        return
    yield from _in_cel(stated(kind))
    for oneof in kind.oneofs:
        yield from _of_oneof(oneof)
    for field in kind.fields:
        yield from _of_field(field)


def _is_ruled(kind: Descriptor) -> bool:
    """Whether there is a rule anywhere in such a message. What there is none in may be of any shape, and recursive."""
    things: Iterator[Descriptor | FieldDescriptor | OneofDescriptor] = chain.from_iterable(
        (one, *one.fields, *one.oneofs) for one in reached([kind]).values()
    )
    return any(map(stated, things))


def _of_oneof(oneof: OneofDescriptor) -> Iterator[Check]:
    rules = stated(oneof)
    if rules.pop("required", False):
        yield lambda message: message.WhichOneof(oneof.name) is not None
    _no_more(rules)


def _of_field(field: FieldDescriptor) -> Iterator[Check]:
    """Checks of the message that has the field."""
    rules = {rule: value for rule, value in stated(field).items() if value is not False}
    summed = rules.pop("sum_of", "")
    required, ignored = rules.pop("required", False), rules.pop("ignore", _ALWAYS)
    checks = tuple(_of_value(field, rules))
    if ignored not in (_ALWAYS, _IF_NOT_ZERO) or (required and not field.message_type):
        raise _Unknown(field.full_name)
    if checks or required:
        yield _at(field, _all(checks), required, ignored == _IF_NOT_ZERO)
    if summed:
        yield _sum(field.name, summed)


def _at(field: FieldDescriptor, holds: Check, required: bool, may_be_zero: bool) -> Check:
    """What holds for the field, or for its absence."""
    name, value = field.name, attrgetter(field.name)
    if may_be_zero:
        return lambda message: not value(message) or holds(value(message))
    if required:
        return lambda message: message.HasField(name) and holds(value(message))
    if field.has_presence:
        return lambda message: not message.HasField(name) or holds(value(message))
    return lambda message: holds(value(message))


def _of_value(field: FieldDescriptor, rules: Rules) -> Iterator[Check]:
    """Checks of what the field has as its value, a list where it is repeated."""
    if field.message_type and field.message_type.GetOptions().map_entry:
        raise _Unknown(field.full_name)
    if field.is_repeated:
        yield from _of_list(field, rules)
    elif field.message_type:
        if rules.pop("timestamp.instant", False):
            yield _stated_as("timestamp.instant", _is_instant)
        yield from _in_cel(rules)
        yield from _of_message(field.message_type)
    else:
        yield from (_of_scalar(field, rule, limit) for rule, limit in rules.items())


def _of_list(field: FieldDescriptor, rules: Rules) -> Iterator[Check]:
    least, most = rules.pop("repeated.min_items", 0), rules.pop("repeated.max_items", None)
    if least or most is not None:
        yield lambda values: least <= len(values) and (most is None or len(values) <= most)
    if key := rules.pop("sorted_by", ""):
        of = attrgetter(key)
        yield lambda values: all(of(one) <= of(other) for one, other in pairwise(values))
    if rules.pop("repeated.unique_products", False):
        yield _stated_as("repeated.unique_products", _has_each_product_once)
    if rules.pop("repeated.unique", False) and not field.message_type:
        yield lambda values: len(set(values)) == len(values)
    prefix = "repeated.items."
    for rule in [rule for rule in rules if rule.startswith(prefix)]:
        yield _each(_of_scalar(field, rule.removeprefix(prefix), rules.pop(rule)))
    _no_more(rules)
    if field.message_type and (checks := tuple(_of_message(field.message_type))):
        yield _each(_all(checks))


def _each(holds: Check) -> Check:
    return lambda values: all(map(holds, values))


def _of_scalar(field: FieldDescriptor, rule: str, limit: Any) -> Check:
    """Raises _Unknown."""
    kind, _, name = rule.partition(".")
    made = _SCALAR_RULES.get(name)
    if made is None or kind not in ("string", "int32", "int64", "enum"):
        raise _Unknown(rule)
    return made(field, limit)


def _pattern(_: FieldDescriptor, pattern: str) -> Check:
    if not (plain := _PLAIN_PATTERN(pattern)):
        raise _Unknown(pattern)
    matches = re.compile(plain[1], re.ASCII).fullmatch
    return lambda text: matches(text) is not None


def _defined(field: FieldDescriptor, _: bool) -> Check:
    numbers = frozenset(field.enum_type.values_by_number if field.enum_type else ())
    return lambda number: number in numbers


def _slug(_: FieldDescriptor, __: bool) -> Check:
    return _stated_as("string.slug", lambda text: _SLUG(text) is not None)


def _lower_case(_: FieldDescriptor, __: bool) -> Check:
    return _stated_as("string.lower_case", lambda text: _UPPER_CASE(text) is None)


_SCALAR_RULES: Mapping[str, Callable[[FieldDescriptor, Any], Check]] = {
    "gte": lambda _, least: lambda number: bool(number >= least),
    "lte": lambda _, most: lambda number: bool(number <= most),
    "in": lambda _, values: lambda value: value in values,
    "not_in": lambda _, values: lambda value: value not in values,
    "defined_only": _defined,
    "min_len": lambda _, least: lambda text: len(text) >= least,
    "max_len": lambda _, most: lambda text: len(text) <= most,
    "pattern": _pattern,
    "uuid": lambda _, __: lambda text: _UUID(text) is not None,
    "slug": _slug,
    "lower_case": _lower_case,
}
"""By name: what makes a check of a field's value from what the rule is stated with."""


def _sum(amount_name: str, items_name: str) -> Check:
    amount_of, items_of = attrgetter(amount_name), attrgetter(items_name)

    def adds_up(message: Any) -> bool:
        amount = amount_of(message)
        return bool(money.nanos(items_of(message)) == amount.units * money.NANOS + amount.nanos)

    return adds_up


def _is_instant(time: Any) -> bool:
    return bool(0 <= time.seconds <= _LAST_SECOND and 0 <= time.nanos < money.NANOS)


def _has_each_product_once(items: Any) -> bool:
    return len({item.product_id for item in items}) == len(items)


def _stated_as(rule: str, holds: Check) -> Check:
    """The check, where rules.proto states the rule in the words it was made from. Raises _Unknown."""
    option = rules_pb2.DESCRIPTOR.extensions_by_name[rule.partition(".")[2]]
    if [cel.expression for cel in option.GetOptions().Extensions[validate_pb2.predefined].cel] != [_PREDEFINED[rule]]:
        raise _Unknown(rule)
    return holds


def _in_cel(rules: Rules) -> Iterator[Check]:
    """Checks for rules in CEL, by their very words. Raises _Unknown."""
    for expression in rules.values():
        if expression not in _CEL:
            raise _Unknown(str(expression))
        yield _CEL[expression]


def _no_more(rules: Rules) -> None:
    if rules:
        raise _Unknown(next(iter(rules)))


def _is_amount(below: int) -> Check:
    return lambda money_: (
        money_.currency_code == "EUR" and 0 <= money_.units < below and 0 <= money_.nanos < money.NANOS
    )


def _is_in_step(order: Any) -> bool:
    """Order: a state is as many changes away from the first as it takes."""
    return bool(order.version < 1 or order.version >= {4: 4, 3: 3, 2: 2, 5: 2}.get(order.state, 1))


def _has_times_in_order(order: Any) -> bool:
    if not (order.HasField("create_time") and order.HasField("update_time")):
        return True
    created, updated = _moment(order.create_time), _moment(order.update_time)
    return updated == created if order.version == 1 else updated >= created


def _moment(time: Any) -> tuple[int, int]:
    return time.seconds, time.nanos


def _is_a_step(event: Any) -> bool:
    """OrderUpdated: from one state of the life cycle to the next."""
    if not event.HasField("order"):
        return True
    before, after = event.previous_state, event.order.state
    return bool(after == 1) if after == before else (before, after) in {(1, 2), (1, 5), (2, 3), (2, 5), (3, 4)}


def _names_its_state(event: Any) -> bool:
    if not event.HasField("order"):
        return True
    return bool(("state" in event.changed_fields) == (event.order.state != event.previous_state))


_IN_EUR = "this.currency_code == 'EUR' && this.units >= 0 && this.units < "
_NANOS = " && this.nanos >= 0 && this.nanos <= 999999999"
_CEL: Mapping[str, Check] = {
    f"{_IN_EUR}1000000{_NANOS}": _is_amount(below=1_000_000),
    f"{_IN_EUR}50000000000{_NANOS}": _is_amount(below=50_000_000_000),
    "this.version < 1 || this.version >="
    " (this.state == 4 ? 4 : this.state == 3 ? 3 : this.state == 2 || this.state == 5 ? 2 : 1)": _is_in_step,
    "!has(this.create_time) || !has(this.update_time) ||"
    " (this.version == 1 ? this.update_time == this.create_time : this.update_time >= this.create_time)": (
        _has_times_in_order
    ),
    "this.version == 1 && this.state == 1": lambda order: order.version == 1 and order.state == 1,
    "this.version >= 2": lambda order: bool(order.version >= 2),  # noqa: PLR2004 - as the rule has it
    "!has(this.order) || (this.order.state == this.previous_state ? this.order.state == 1"
    " : [this.previous_state, this.order.state] in [[1, 2], [1, 5], [2, 3], [2, 5], [3, 4]])": _is_a_step,
    "!has(this.order) || ('state' in this.changed_fields) == (this.order.state != this.previous_state)": (
        _names_its_state
    ),
    "this.asked < 1 || this.available < 0 || this.asked > this.available": lambda shortage: bool(
        shortage.asked < 1 or shortage.available < 0 or shortage.asked > shortage.available
    ),
}
"""What an expression means, for those that stand where messages are checked often."""
