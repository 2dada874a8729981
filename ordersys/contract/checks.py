"""The rules of the contract as plain Python: a function for each message type, generated from the descriptors.

A check returns True for a message that is surely valid. False decides nothing: protovalidate then judges the message
and words every violation. A check takes a fraction of protovalidate's time, which pays for messages that are part of
every order (docs/performance.md). A message type with a rule that is unknown here, or whose CEL is not the one copied
here, is left to protovalidate.

Reading a field takes 50 to 130 ns, longer than comparing it. So a check reads each field once and iterates over each
list once. `print(source(Order.DESCRIPTOR))` prints the function that is run.
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
from ordersys.contract.descriptors import message_class, reachable
from ordersys.contract.rules import rules_of
from ordersys.contract.source_text import Block, Unreadable

Check: TypeAlias = Callable[[Any], bool]
Rules: TypeAlias = dict[str, Any]
_ALWAYS, _IF_NOT_ZERO = validate_pb2.IGNORE_UNSPECIFIED, validate_pb2.IGNORE_IF_ZERO_VALUE
_LAST_SECOND = 253_402_300_799  # in seconds since 1970: the end of the year 9999, the last that RFC 3339 can write
_NAMES = {
    "re": re,
    "UUID": re.compile("-".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12))).fullmatch,
    "SLUG": re.compile("[a-z0-9][a-z0-9-]{0,63}(?<!-)").fullmatch,
}
"""The names that a check may use besides Python's built-ins."""
# CEL uses RE2. Only patterns that mean the same to RE2 and to Python are compiled: between ^ and $, no alternatives, no
# dots, no classes such as \d, which has other digits in Python.
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
    # Stricter than the rule, which is about A to Z only: other capitals are left to protovalidate.
    "lower_case": "{0} == {0}.lower()",
}
"""The condition for each rule, by its name: {0} is the variable, {1} the value the rule is stated with."""
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
"""The CEL expressions of message types that are checked often, and the same in Python.

Two things hold by construction. `has(this.x)` has no Python: where x is not required its fields cannot be read outside
of an `if`, and the message type is left to protovalidate. And `x.instant.moment` exists only where x has the rule
timestamp.instant: CEL compares other Timestamps with their nanos carried into their seconds.
"""
_PATH = re.compile(r"\bthis((?:\.[a-z_]+)+)")


class _Unknown(Exception):
    """A rule that has no Python here."""


@cache
def check(kind: Descriptor) -> Check:
    """The check of a message type: True for a message that is surely valid, False for any other or an unknown."""
    text, file = source(kind), f"<check of {kind.full_name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # for tracebacks and debuggers
    return _compiled(text, file, _name(kind))


def source(kind: Descriptor) -> str:
    """The source text of the check of a message type."""
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
    """Adds the rules of the message at a path, and of its fields. Raises _Unknown, Unreadable, as every _add_… does."""
    if not _is_ruled(kind):
        return
    if any(kind.full_name in reachable([field.message_type]) for field in kind.fields if field.message_type):
        raise _Unknown(f"{kind.full_name} can stand in itself")
    for oneof in kind.oneofs:
        _add_oneof(block, oneof, this)
    for field in kind.fields:
        _add_field(block, field, this)
    for field in kind.fields:
        if items := rules_of(field).get("sum_of"):
            _add_sum(block, f"{this}.{field.name}", f"{this}.{items}")
    _add_cel(block, rules_of(kind), this)


def _is_ruled(kind: Descriptor) -> bool:
    """True if a message of that type, or one inside it, has a rule. A type without rules may even be recursive."""
    descriptors: Iterator[Descriptor | FieldDescriptor | OneofDescriptor] = chain.from_iterable(
        (message, *message.fields, *message.oneofs) for message in reachable([kind]).values()
    )
    return any(map(rules_of, descriptors))


def _add_oneof(block: Block, oneof: OneofDescriptor, this: str) -> None:
    rules = rules_of(oneof)
    if rules.pop("required", False):
        block.demand(f"{block.read(this)}.WhichOneof({oneof.name!r})")
    _no_more(rules)


def _add_field(block: Block, field: FieldDescriptor, this: str) -> None:
    """Adds the rules of a field of the message at a path, and whether the field may be absent."""
    rules = {rule: value for rule, value in rules_of(field).items() if value is not False and rule != "sum_of"}
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
        # A field in it that is not zero shows that it is there; it was read already, where HasField takes a call.
        shown = [block.at_hand(f"{path}.{member.name}") for member in inside.fields if not member.message_type]
        block.demand(" or ".join([*filter(None, shown), present]))


def _is_valid_when_empty(kind: Descriptor, field: FieldDescriptor, rules: Rules) -> bool:
    """True if an absent message passes the rules for its content: it reads as an empty one, so HasField has to tell."""
    block = Block()  # for one run at start-up: the answer is a constant of the generated check
    _add_value(block, field, rules, "this")
    return _compiled(block.function("holds", "True"), "<check of absence>", "holds")(message_class(kind)())


def _add_value(block: Block, field: FieldDescriptor, rules: Rules, this: str) -> None:
    """Adds the rules of the value of a field, which stands at a path."""
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
    """Adds the rules of a number or a text, which may be an element of a list."""
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
    # A slice is one call. Iterating over a protobuf list is a call for each index, and one beyond the end.
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
    """Adds the rule that no two elements have the same text under `key`."""
    value, seen = each.read(f"{each.item}.{key}"), each.before(f"{these}.seen", "set()")
    each.demand(f"{value} not in {seen}")
    each.add(f"{seen}.add({value})")


def _add_order(each: Block, field: FieldDescriptor, these: str, key: str, order: str) -> None:
    """Adds the rule that each element's text under `key` is in this `order` to the one before.

    The contract sorts by bytes, Python by code points: for UTF-8 that is the same order.
    """
    by = field.message_type and field.message_type.fields_by_name.get(key)
    if not by or by.type != FieldDescriptor.TYPE_STRING:
        raise _Unknown(f"sorted_by {key}")
    value, last = each.read(f"{each.item}.{key}"), each.before(f"{these}.last", "''")
    each.demand(f"{last} {order} {value}")
    each.add(f"{last} = {value}")


def _add_sum(block: Block, amount: str, items: str) -> None:
    """Adds the rule that the amount is the sum of quantity × unit price over the items."""
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
    # A pair compares as times do: by seconds, then by nanos.
    block.set(f"{this}.instant.moment", f"({seconds}, {nanos})")


def _demand_stated(rule: str) -> None:
    """Raises _Unknown where the CEL of a rule in rules.proto is not the one its Python was written from."""
    option = rules_pb2.DESCRIPTOR.extensions_by_name[rule.partition(".")[2]]
    if [cel.expression for cel in option.GetOptions().Extensions[validate_pb2.predefined].cel] != [_PREDEFINED[rule]]:
        raise _Unknown(rule)


def _add_cel(block: Block, rules: Rules, this: str) -> None:
    """Adds the CEL rules of the message at a path, which are recognised by their exact text."""
    for expression in rules.values():
        if expression not in _CEL:
            raise _Unknown(str(expression))
        block.demand(_PATH.sub(lambda path: block.read(f"{this}{path[1]}"), _CEL[expression]))


def _no_more(rules: Rules) -> None:
    if rules:
        raise _Unknown(next(iter(rules)))
