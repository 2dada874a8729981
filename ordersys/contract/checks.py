"""The rules of the contract as plain Python: a function for each message type, written from the descriptors.

A check says of a message that it is surely valid, and nothing else: protovalidate judges whatever it does not, and
words every refusal. It costs a small part of that, which counts for what is checked with every order. A rule that is
not known here, or is stated in other words than here, leaves its message types to protovalidate.

Reading fields is what takes the time, 50 to 130 ns each: each is read once, and each list is gone through once.
`print(source(Order.DESCRIPTOR))` shows what is run.
"""

import linecache
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from buf.validate import validate_pb2
from ordersys.api.rules.v1 import rules_pb2
from ordersys.contract import money
from ordersys.contract.descriptors import message_class, reached
from ordersys.contract.rules import stated
from ordersys.contract.source_text import Block, Unreadable

Check: TypeAlias = Callable[[Any], bool]
Rules: TypeAlias = dict[str, Any]
_ALWAYS, _IF_NOT_ZERO = validate_pb2.IGNORE_UNSPECIFIED, validate_pb2.IGNORE_IF_ZERO_VALUE
_LAST_SECOND = 253_402_300_799  # of the year 9999
_NAMES = {
    "re": re,
    "UUID": re.compile("-".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12))).fullmatch,
    "SLUG": re.compile("[a-z0-9][a-z0-9-]{0,63}(?<!-)").fullmatch,
}
"""What a check finds by name, besides what Python has."""
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
_SCALAR = {
    "gte": "{0} >= {1!r}",
    "lte": "{0} <= {1!r}",
    "in": "{0} in {1!r}",
    "not_in": "{0} not in {1!r}",
    "defined_only": "{0} in {1!r}",
    "min_len": "len({0}) >= {1!r}",
    "max_len": "len({0}) <= {1!r}",
    "pattern": "{1}({0})",
    "uuid": "UUID({0})",
    "slug": "SLUG({0})",
    # What has an upper case beyond A to Z is left to protovalidate.
    "lower_case": "{0} == {0}.lower()",
}
"""By name: what a rule asks of a variable, with what the rule is stated with."""
_IN_EUR, _NANOS = "this.currency_code == 'EUR' && this.units >= 0 && this.units < ", " && this.nanos >= 0 && this.nanos"
_CEL = {
    f"{_IN_EUR}1000000{_NANOS} <= 999999999": (
        "this.currency_code == 'EUR' and 0 <= this.units < 1_000_000 and 0 <= this.nanos <= 999_999_999"
    ),
    f"{_IN_EUR}50000000000{_NANOS} <= 999999999": (
        "this.currency_code == 'EUR' and 0 <= this.units < 50_000_000_000 and 0 <= this.nanos <= 999_999_999"
    ),
    "this.version < 1 || this.version >="
    " (this.state == 4 ? 4 : this.state == 3 ? 3 : this.state == 2 || this.state == 5 ? 2 : 1)": (
        "this.state == 1 or this.version < 1 or this.version >="
        " (4 if this.state == 4 else 3 if this.state == 3 else 2 if this.state in (2, 5) else 1)"
    ),
    "!has(this.create_time) || !has(this.update_time) ||"
    " (this.version == 1 ? this.update_time == this.create_time : this.update_time >= this.create_time)": (
        "this.update_time.instant.moment == this.create_time.instant.moment if this.version == 1"
        " else this.update_time.instant.moment >= this.create_time.instant.moment"
    ),
    "this.version == 1 && this.state == 1": "this.version == 1 and this.state == 1",
    "this.version >= 2": "this.version >= 2",
    "!has(this.order) || (this.order.state == this.previous_state ? this.order.state == 1"
    " : [this.previous_state, this.order.state] in [[1, 2], [1, 5], [2, 3], [2, 5], [3, 4]])": (
        "this.order.state == 1 if this.order.state == this.previous_state"
        " else (this.previous_state, this.order.state) in {(1, 2), (1, 5), (2, 3), (2, 5), (3, 4)}"
    ),
    "!has(this.order) || ('state' in this.changed_fields) == (this.order.state != this.previous_state)": (
        "('state' in this.changed_fields) == (this.order.state != this.previous_state)"
    ),
    "this.asked < 1 || this.available < 0 || this.asked > this.available": (
        "this.asked < 1 or this.available < 0 or this.asked > this.available"
    ),
}
"""What an expression means in Python, for those that stand where messages are checked often.

A message asked for with has() has to be required: else its fields are not at hand where the expression is. So has a
`moment` to be that of an instant, since others are compared with their nanos carried into their seconds.
"""
_PATH = re.compile(r"\bthis((?:\.[a-z_]+)+)")


class _Unknown(Exception):
    """A rule there is no Python for."""


@cache
def check(kind: Descriptor) -> Check:
    """Whether a message of that type is surely valid."""
    text, file = source(kind), f"<check of {kind.full_name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # for tracebacks and debuggers
    return _compiled(text, file, _name(kind))


def source(kind: Descriptor) -> str:
    """The check of a message type as Python, for people to read."""
    block = Block()
    try:
        _add_message(block, kind, "this")
    except (_Unknown, Unreadable) as unknown:
        return Block().function(_name(kind), f"False  # left to protovalidate: {unknown.args[0]!r}")
    return block.function(_name(kind), "True")


def _name(kind: Descriptor) -> str:
    return f"check_{kind.name}"


def _compiled(text: str, file: str, name: str) -> Check:
    names = dict[str, Any](_NAMES)
    exec(compile(text, file, "exec"), names)  # noqa: S102 - texts of the contract are constants in it
    made: Check = names[name]
    return made


def _add_message(block: Block, kind: Descriptor, this: str) -> None:
    """All rules of the message at a path, and of what stands in it. Raises _Unknown, Unreadable, as all that add."""
    if not _is_ruled(kind):
        return
    if any(kind.full_name in reached([field.message_type]) for field in kind.fields if field.message_type):
        raise _Unknown(f"{kind.full_name} can stand in itself")
    for oneof in kind.oneofs:
        _add_oneof(block, oneof, this)
    for field in kind.fields:
        _add_field(block, field, this)
    for field in kind.fields:
        if items := stated(field).get("sum_of"):
            _add_sum(block, f"{this}.{field.name}", f"{this}.{items}")
    _add_cel(block, stated(kind), this)


def _is_ruled(kind: Descriptor) -> bool:
    """Whether there is a rule anywhere in such a message. What there is none in may be of any shape, and recursive."""
    things: Iterator[Descriptor | FieldDescriptor | OneofDescriptor] = chain.from_iterable(
        (one, *one.fields, *one.oneofs) for one in reached([kind]).values()
    )
    return any(map(stated, things))


def _add_oneof(block: Block, oneof: OneofDescriptor, this: str) -> None:
    rules = stated(oneof)
    if rules.pop("required", False):
        block.demand(f"{block.read(this)}.WhichOneof({oneof.name!r})")
    _no_more(rules)


def _add_field(block: Block, field: FieldDescriptor, this: str) -> None:
    """The rules of a field of the message at a path, and what holds for its absence."""
    rules = {rule: value for rule, value in stated(field).items() if value is not False and rule != "sum_of"}
    required, ignored = rules.pop("required", False), rules.pop("ignore", _ALWAYS)
    inside, path, present = field.message_type, f"{this}.{field.name}", f"{block.read(this)}.HasField({field.name!r})"
    if ignored == _IF_NOT_ZERO and not (required or field.has_presence):
        block = block.inner(f"if {block.read(path)}:")
    elif ignored != _ALWAYS or (required and (field.is_repeated or not inside)):
        raise _Unknown(field.full_name)
    elif field.has_presence and not required:
        block = block.inner(f"if {present}:")
    _add_value(block, field, dict(rules), path)
    if required and inside and _is_valid_when_empty(inside, field, rules):
        # Anything in it that is not zero shows that it is there, for less than HasField takes.
        shown = [block.at_hand(f"{path}.{one.name}") for one in inside.fields if not one.message_type]
        block.demand(" or ".join([*filter(None, shown), present]))


def _is_valid_when_empty(kind: Descriptor, field: FieldDescriptor, rules: Rules) -> bool:
    """Whether the rules for what is in a field hold for a message that is not there, since it reads as an empty one."""
    block = Block()
    _add_value(block, field, rules, "this")
    return _compiled(block.function("holds", "True"), "<check of absence>", "holds")(message_class(kind)())


def _add_value(block: Block, field: FieldDescriptor, rules: Rules, this: str) -> None:
    """The rules of what a field has as its value, at a path."""
    if field.message_type and field.message_type.GetOptions().map_entry:
        raise _Unknown(field.full_name)
    if field.is_repeated:
        _add_list(block, field, rules, this)
    elif not field.message_type:
        _add_scalar(block, field, rules, this)
    elif rules or _is_ruled(field.message_type):
        block.read(this)
        if rules.pop("timestamp.instant", False):
            _add_instant(block, this)
        _add_message(block, field.message_type, this)
        _add_cel(block, rules, this)


def _add_scalar(block: Block, field: FieldDescriptor, rules: Rules, this: str) -> None:
    """The rules of a number or a text, be it an element of a list."""
    if rules:
        value = block.read(this)
        block.demand(" and ".join(_of_scalar(block, field, rule, limit, value) for rule, limit in rules.items()))


def _of_scalar(block: Block, field: FieldDescriptor, rule: str, limit: Any, value: str) -> str:
    kind, _, name = rule.partition(".")
    if name not in _SCALAR or kind not in ("string", "int32", "int64", "enum"):
        raise _Unknown(rule)
    if name == "pattern":
        limit = _pattern(block, limit)
    elif name == "defined_only":
        limit = tuple(field.enum_type.values_by_number if field.enum_type else ())
    elif rule in _PREDEFINED:
        _demand_stated(rule)
    return _SCALAR[name].format(value, limit)


def _pattern(block: Block, pattern: str) -> str:
    if not (plain := _PLAIN_PATTERN(pattern)):
        raise _Unknown(pattern)
    try:
        re.compile(plain[1])
    except re.error as error:
        raise _Unknown(pattern) from error
    return block.constant("PATTERN", f"re.compile({plain[1]!r}, re.ASCII).fullmatch")


def _add_list(block: Block, field: FieldDescriptor, rules: Rules, this: str) -> None:
    least, most = rules.pop("repeated.min_items", 0), rules.pop("repeated.max_items", None)
    key, unique_products = rules.pop("sorted_by", ""), rules.pop("repeated.unique_products", False)
    prefix = "repeated.items."
    items = {rule.removeprefix(prefix): rules.pop(rule) for rule in list(rules) if rule.startswith(prefix)}
    # A slice takes one call, where protobuf's lists are iterated by index, to beyond their end.
    values = block.read(this, "[:]")
    if least or most is not None:
        block.demand(f"{least!r} <= len({values})" + (f" <= {most!r}" if most is not None else ""))
    if not field.message_type and rules.pop("repeated.unique", False):
        block.demand(f"len(set({values})) == len({values})")
    _no_more(rules)
    each = block.each(this)
    if field.message_type:
        _no_more(items)
        _add_message(each, field.message_type, each.item)
    else:
        _add_scalar(each, field, items, each.item)
    if unique_products:
        _demand_stated("repeated.unique_products")
        if key != "product_id":
            _add_difference(each, this, "product_id")
    if key:
        _add_order(each, field, this, key, "<" if unique_products and key == "product_id" else "<=")


def _add_difference(each: Block, these: str, key: str) -> None:
    """No two elements have the same text."""
    value, seen = each.read(f"{each.item}.{key}"), each.before(f"{these}.seen", "set()")
    each.demand(f"{value} not in {seen}")
    each.add(f"{seen}.add({value})")


def _add_order(each: Block, field: FieldDescriptor, these: str, key: str, order: str) -> None:
    """Each element's text stands in this order to the one before: in bytes and in characters it is the same."""
    by = field.message_type and field.message_type.fields_by_name.get(key)
    if not by or by.type != FieldDescriptor.TYPE_STRING:
        raise _Unknown(f"sorted_by {key}")
    value, last = each.read(f"{each.item}.{key}"), each.before(f"{these}.last", "''")
    each.demand(f"{last} {order} {value}")
    each.add(f"{last} = {value}")


def _add_sum(block: Block, amount: str, items: str) -> None:
    """The amount is the sum of quantity × unit price over the items."""
    each = block.each(items)
    total, quantity = each.before(f"{items}.total", "0"), each.read(f"{each.item}.quantity")
    each.add(f"{total} += {quantity} * {_nanos(each, f'{each.item}.unit_price')}")
    block.demand(f"{total} == {_nanos(block, amount)}")


def _nanos(block: Block, amount: str) -> str:
    return f"({block.read(f'{amount}.units')} * {money.NANOS} + {block.read(f'{amount}.nanos')})"


def _add_instant(block: Block, this: str) -> None:
    _demand_stated("timestamp.instant")
    seconds, nanos = block.read(f"{this}.seconds"), block.read(f"{this}.nanos")
    block.demand(f"0 <= {seconds} <= {_LAST_SECOND} and 0 <= {nanos} < {money.NANOS}")
    block.set(f"{this}.instant.moment", f"({seconds}, {nanos})")


def _demand_stated(rule: str) -> None:
    """Raises _Unknown where rules.proto states a rule in other words than its Python was made from."""
    option = rules_pb2.DESCRIPTOR.extensions_by_name[rule.partition(".")[2]]
    if [cel.expression for cel in option.GetOptions().Extensions[validate_pb2.predefined].cel] != [_PREDEFINED[rule]]:
        raise _Unknown(rule)


def _add_cel(block: Block, rules: Rules, this: str) -> None:
    """Rules in CEL of the message at a path, known by their very words."""
    for expression in rules.values():
        if expression not in _CEL:
            raise _Unknown(str(expression))
        block.demand(_PATH.sub(lambda path: block.read(f"{this}{path[1]}"), _CEL[expression]))


def _no_more(rules: Rules) -> None:
    if rules:
        raise _Unknown(next(iter(rules)))
