"""The rules in plain Python are those of the contract: protovalidate is asked about the same messages."""

import ast
import string
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.text_encoding import CEscape
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.contract import checks, descriptors
from ordersys.contract.checks import check, source
from ordersys.contract.money import total
from ordersys.contract.validation import violations
from tests.compat.contract_changes import ORDER, contract_with
from tests.contract.harness.strategies import has_rules, invalid, valid
from tests.unit.test_lifecycle import order

EXAMPLES = 20
KINDS = {kind.name: kind for kind in descriptors.messages() if has_rules(kind)}
# Knows no check: asked with a validator of its own, `violations` leaves everything to protovalidate.
_ORACLE = protovalidate.Validator()
_NUMBERS = [-(2**31), -1, 0, 1, 2, 3, 4, 5, 6, 999, 1000, 1001, 999_999, 1_000_000, 1_000_001, 2**31 - 1]
_LONG = [*_NUMBERS, 49_999_999_999, 50_000_000_000, 253_402_300_799, 253_402_300_800, 1_000_000_000, 2**62]
_ID = "0190b6a2-0000-7000-8000-00000000000a"
_TEXTS = [
    *("", "a", "A", "-", "a-", "-a", "a-b", "é", "\n", "a\n", "EUR", "eur", "state", "items", "version", "x" * 64),
    *("x" * 65, "x" * 200, "x" * 201, "x" * 256, "x" * 257, "\U0001f600" * 200, _ID, _ID.upper(), f"{_ID}\n", _ID[:-1]),
    *(f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'A' * 32}-{'b' * 16}-01", "0" * 32, f"{'0' * 32}\n", "a_1", "1a"),
]


class Place(NamedTuple):
    """A field of a message that stands in a message."""

    message: Any
    field: FieldDescriptor


def is_valid(message: Message) -> bool:
    """As protovalidate has it, and what rules.proto says besides."""
    return not violations(message, _ORACLE)


def places(message: Any) -> Iterator[Place]:
    """All there are, depth first."""
    for field in message.DESCRIPTOR.fields:
        yield Place(message, field)
        if field.message_type is None or (field.message_type.GetOptions().map_entry):
            continue
        inside = getattr(message, field.name)
        for nested in inside if field.is_repeated else [inside] if message.HasField(field.name) else []:
            yield from places(nested)


@st.composite
def meddled_with(draw: Any, kind: Descriptor) -> Any:
    """A valid message in which one to three things were changed, as near to a limit as not."""
    message = draw(valid(kind))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(places(message))))
        if place.field.is_repeated:
            change_list(draw, getattr(place.message, place.field.name))
        elif place.field.message_type or draw(st.integers(0, 9)) == 0:
            place.message.ClearField(place.field.name)
        else:
            setattr(place.message, place.field.name, draw(value(place.field)))
    return message


def change_list(draw: Any, values: Any) -> None:
    """One less, one twice, or the other way round."""
    kept = list(values)
    if not kept:
        return
    how = draw(st.sampled_from(["less", "twice", "turned", "many"]))
    del values[:]
    values.extend({"less": kept[1:], "twice": [*kept, kept[0]], "turned": kept[::-1], "many": kept[:1] * 51}[how])


def value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Anything the field can hold, limits before all."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=5)
        case FieldDescriptor.CPPTYPE_STRING:
            return st.one_of(st.sampled_from(_TEXTS), st.text(string.ascii_letters + "-\n", max_size=70))
        case FieldDescriptor.CPPTYPE_INT64:
            return st.one_of(st.sampled_from(_LONG), st.integers(-(2**63), 2**63 - 1))
        case FieldDescriptor.CPPTYPE_INT32:
            return st.one_of(st.sampled_from(_NUMBERS), st.integers(-(2**31), 2**31 - 1))
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.integers(-1, 7)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
    raise AssertionError(f"a value for {field.full_name} has to be thought of")


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_what_is_valid_is_surely_so(name: str, data: st.DataObject) -> None:
    """Every rule of the contract is known: nothing valid has to wait for protovalidate."""
    message = data.draw(valid(KINDS[name]))
    assert is_valid(message)
    assert check(KINDS[name])(message)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_message_with_one_rule_broken_is_left_to_protovalidate(name: str, data: st.DataObject) -> None:
    """Whichever rule it is."""
    assert not check(KINDS[name])(data.draw(invalid(KINDS[name])).message)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_both_judge_alike_whatever_a_message_holds(name: str, data: st.DataObject) -> None:
    """Values at limits and beyond, fields that are missing, lists too short, too long, doubled and turned round."""
    message = data.draw(meddled_with(KINDS[name]))
    assert check(KINDS[name])(message) == is_valid(message)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_both_judge_alike_a_text_with_a_little_more_or_less(name: str, data: st.DataObject) -> None:
    """Each text of a message in its turn: what two regular expression engines may well see differently."""
    message = data.draw(valid(KINDS[name]))
    for place in list(places(message)):
        if place.field.is_repeated or place.field.type != FieldDescriptor.TYPE_STRING:
            continue
        before = getattr(place.message, place.field.name)
        for text in (f"{before}\n", f"\n{before}", before.upper(), before[:-1], f"{before}\0", f"{before}\u0661", ""):
            setattr(place.message, place.field.name, text)
            assert check(KINDS[name])(message) == is_valid(message), (place.field.full_name, text)
        setattr(place.message, place.field.name, before)


_INSTANT = "timestamp { [ordersys.api.rules.v1.instant]: true }"
_FIELD = "number: 9 label: LABEL_OPTIONAL type:"
_TEXT = f"{_FIELD} TYPE_STRING options {{ [buf.validate.field] {{ string {{ min_len: 1 }} }} }}"
_UNKNOWN = {
    "CEL": ("Order", 'options { [buf.validate.message] { cel { id: "x" expression: "true" } } }', ""),
    "CEL in other words": ("OrderItem", "this.units < 2000000", "this.units < 1000000"),
    "CEL about what may be missing": ("Order", _INSTANT, f"{_INSTANT} required: true"),
    "CEL about a time of any nanos": ("Order", "required: true", f"{_INSTANT} required: true"),
    "beside others": ("OrderItem", "lte: 1000 example: 7", "lte: 1000"),
    "in place of another": ("OrderItem", "const: 5", "lte: 1000"),
    "an order of numbers": ("Order", 'sorted_by]: "quantity"', 'sorted_by]: "product_id"'),
    "of a word of Python": ("Order", f'field {{ name: "class" {_TEXT} }}', ""),
    "of a name that messages have": ("Order", f'field {{ name: "HasField" {_TEXT} }}', ""),
    "of a name that is taken": ("Order", f'field {{ name: "total_units" {_TEXT} }}', ""),
    "in itself": (
        "OrderItem",
        f'field {{ name: "part" {_FIELD} TYPE_MESSAGE type_name: ".{ORDER}.OrderItem" }}',
        "",
    ),
}


@pytest.mark.parametrize("change", _UNKNOWN.values(), ids=_UNKNOWN)
def test_a_rule_that_is_not_known_leaves_all_to_protovalidate(change: tuple[str, str, str]) -> None:
    """Also where it stands in a message inside, or of what Python has no good words for."""
    name, new, old = change
    files = descriptors.link(contract_with(f"{ORDER}.{name}", new, old))
    kinds = {kind.name: kind for kind in descriptors.messages(files)}
    event = OrderCreated(order=order())
    assert check(OrderCreated.DESCRIPTOR)(event)
    changed = descriptors.message_class(kinds["OrderCreated"]).FromString(event.SerializeToString())
    assert not check(kinds["OrderCreated"])(changed)
    assert "return False  # left to protovalidate: " in source(kinds["OrderCreated"])


_CODE = st.sampled_from(
    ["'", '"', "'''", "\n", "\r", "\f", "\0", "\u2028", "{0}", "{1!r}", "%s", "#", "x", ")", "(", ",", " "]
)
_SAID = 'pattern: "^[a-z][a-z0-9_]{0,62}$" not_in: "version"'


@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(pattern=st.lists(_CODE).map("".join), text=st.lists(_CODE | st.just("\\")).map("".join))
def test_whatever_a_contract_says_is_data_in_a_check(pattern: str, text: str) -> None:
    """No text of a rule is ever run, be the rule known or not."""
    quoted, other = (CEscape(said.encode(), as_utf8=False) for said in (f"^{pattern}$", text))
    said = f'pattern: "{quoted}" not_in: "{other}"'
    files = descriptors.link(contract_with(f"{ORDER}.OrderUpdated", said, _SAID))
    (kind,) = (kind for kind in descriptors.messages(files) if kind.name == "OrderUpdated")
    written = ast.parse(source(kind))
    assert not check(kind)(descriptors.message_class(kind)())
    if "left to protovalidate" in source(kind):
        assert ast.unparse(written) == "def check_OrderUpdated(this):\n    return False"
    else:
        assert {pattern, text} <= {node.value for node in ast.walk(written) if isinstance(node, ast.Constant)}
        assert shape(written) == shape(ast.parse(source(OrderUpdated.DESCRIPTOR)))


def shape(tree: ast.AST) -> str:
    """A program without its texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def test_a_check_can_be_read_where_it_fails() -> None:
    """A traceback names the message type, and shows the statement, whatever was checked since."""
    check.cache_clear()
    for kind in (OrderCreated.DESCRIPTOR, *KINDS.values()):
        check(kind)
    with pytest.raises(AttributeError) as failed:
        check(OrderCreated.DESCRIPTOR)(None)
    shown = "".join(traceback.format_exception(failed.value))
    assert f'File "<check of {ORDER}.OrderCreated>"' in shown
    assert "in check_OrderCreated\n    this_order = this.order\n" in shown


def test_the_first_instant_differs_from_none() -> None:
    """A Timestamp that is there and zero throughout reads like one that is not."""
    first, event = Timestamp(), OrderCreated(order=order())
    event.order.create_time.CopyFrom(first)
    event.order.update_time.CopyFrom(first)
    assert check(OrderCreated.DESCRIPTOR)(event)
    event.order.ClearField("create_time")
    assert not check(OrderCreated.DESCRIPTOR)(event)
    event.order.create_time.CopyFrom(first)
    event.order.ClearField("update_time")
    assert not check(OrderCreated.DESCRIPTOR)(event)


def test_a_product_that_stands_twice_is_left_to_protovalidate() -> None:
    """Also where the items are sorted and the total is their sum."""
    event = OrderCreated(order=order())
    del event.order.items[1:]
    event.order.total.CopyFrom(total(event.order.items))
    assert check(OrderCreated.DESCRIPTOR)(event)
    event.order.items.append(event.order.items[0])
    event.order.total.CopyFrom(total(event.order.items))
    assert check(OrderCreated.DESCRIPTOR)(event) is is_valid(event) is False


def test_a_name_that_stands_twice_is_left_to_protovalidate() -> None:
    """Of a field that changed."""
    event = OrderUpdated(order=order(), previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=["items"])
    event.order.version = 2
    assert check(OrderUpdated.DESCRIPTOR)(event)
    event.changed_fields.append("items")
    assert check(OrderUpdated.DESCRIPTOR)(event) is is_valid(event) is False


@pytest.mark.parametrize("nanos", [-1, 10**9])
def test_nanos_beyond_a_second_are_left_to_protovalidate(nanos: int) -> None:
    """The first that are, on either side."""
    event = OrderCreated(order=order())
    event.order.create_time.nanos = event.order.update_time.nanos = nanos
    assert check(OrderCreated.DESCRIPTOR)(event) is is_valid(event) is False


def test_a_nano_between_creation_and_first_version_is_left_to_protovalidate() -> None:
    """Times are compared to the nano."""
    event = OrderCreated(order=order())
    event.order.create_time.nanos = event.order.update_time.nanos = 7
    assert check(OrderCreated.DESCRIPTOR)(event)
    event.order.update_time.nanos = 8
    assert check(OrderCreated.DESCRIPTOR)(event) is is_valid(event) is False


@pytest.mark.parametrize("rule", checks._PREDEFINED)
def test_a_rule_of_ours_in_other_words_leaves_all_to_protovalidate(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of rules.proto that is known by its words."""
    monkeypatch.setitem(checks._PREDEFINED, rule, "true")
    assert source(OrderCreated.DESCRIPTOR).endswith(f"return False  # left to protovalidate: {rule!r}\n")


def test_a_message_type_without_rules_is_valid_as_it_is() -> None:
    """Shape and depth do not matter."""
    without = [kind for kind in descriptors.messages() if not has_rules(kind)]
    assert without
    for kind in without:
        assert check(kind)(descriptors.message_class(kind)()) == is_valid(descriptors.message_class(kind)())
