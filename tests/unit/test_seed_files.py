"""The static data: how a broken file is named, and what the shipped files hold."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.contract.money import total
from ordersys.contract.times import microseconds
from ordersys.product_service.settings import ORDERS_FILE, PRODUCTS_FILE
from ordersys.runtime.seed_files import InvalidSeedFile, read

PRODUCTS = read(PRODUCTS_FILE, Product)
ORDERS = read(ORDERS_FILE, Order)
LAMP: dict[str, Any] = {
    "id": "lamp",
    "name": "Lamp",
    "unit_price": {"currency_code": "EUR", "units": "9"},
    "available": "1",
}
EUROS = LAMP["unit_price"]
LINE = {"product_id": "lamp", "quantity": 1, "unit_price": LAMP["unit_price"]}
ORDER = {
    "id": "01890000-0000-7000-8000-000000000001",
    "customer_id": "anna",
    "items": [LINE],
    "total": LAMP["unit_price"],
    "state": "ORDER_STATE_PAID",
    "version": 2,
    "create_time": "2026-09-04T13:21:25Z",
    "update_time": "2026-09-04T13:21:26Z",
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
File = Callable[[Any], Path]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Writes bytes, or a value as JSON, into a file."""

    def write(content: Any) -> Path:
        path = tmp_path / "entries.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def complaint(path: Path, kind: type[Message] = Product) -> str:
    """The complaint about a broken file, after its name."""
    with pytest.raises(InvalidSeedFile) as wrong:
        read(path, kind)
    name, _, said = str(wrong.value).partition(": ")
    assert name == str(path)
    assert "\n" not in said
    return said


def test_entries_are_read_as_messages_in_their_order(file: File) -> None:
    """With the field names of the contract; none is fine, a system may start empty."""
    assert read(file([]), Product) == []
    products = read(file([LAMP, {**LAMP, "id": "chair"}]), Product)
    assert [product.id for product in products] == ["lamp", "chair"]
    assert (products[0].name, products[0].unit_price.units, products[0].available) == ("Lamp", 9, 1)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """With what the operating system says."""
    assert complaint(tmp_path / "none.json") == "No such file or directory"
    assert complaint(tmp_path) == "Is a directory"


@pytest.mark.parametrize("content", [b"", b"[", b"[{]", b"\xff", b"\xef\xbb\xbf[]", b"[1" + b"0" * 5000 + b"]"])
def test_what_is_no_json_is_named(file: File, content: bytes) -> None:
    """The text may be broken, or its encoding."""
    assert complaint(file(content)).startswith("not JSON: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[\n{"id": "lamp",,}]', "line 2 column 15"),
        (b"", "line 1 column 1"),
        ("[]".encode("utf-16"), "byte 1 is no UTF-8"),
        (b'["\xe2\x82"]', "byte 3 is no UTF-8"),
        (b"\xef\xbb\xbf[]", "byte order mark"),
        (b"[" * 100_000, "nested too deep"),
        (b'[{"a":' * 100_000, "nested too deep"),
        (b"[NaN]", "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b"[1" + b"0" * 5000 + b"]", "a number has 5001 digits"),
    ],
    ids=str,
)
def test_what_is_no_json_is_named_by_its_place_or_its_kind(file: File, content: bytes, said: str) -> None:
    """A line and a column where there is one; nothing of Python."""
    text = complaint(file(content))
    assert said in text
    assert "sys." not in text


def test_a_file_too_large_is_not_even_read(file: File) -> None:
    """A gigabyte, most of it a hole, would be a gigabyte of memory."""
    path = file([])
    os.truncate(path, 2**30)
    assert complaint(path) == "is larger than 64 MiB"


def test_a_pipe_nobody_writes_to_does_not_hold_up_the_start(tmp_path: Path) -> None:
    """Nor does any other thing that is no file."""
    os.mkfifo(tmp_path / "pipe")
    assert complaint(tmp_path / "pipe") == "is no regular file"
    assert complaint(Path("/dev/zero")) == "is no regular file"


@pytest.mark.parametrize("content", [{}, None, 1, "x", {"products": []}])
def test_what_is_no_array_of_objects_is_named(file: File, content: object) -> None:
    """The file as a whole, or the entry by its number, counted from 1."""
    assert complaint(file(content)) == "must be a JSON array of objects"
    if not isinstance(content, dict):
        assert complaint(file([LAMP, content])) == "entry 2: must be an object"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"nam": "x"}, "nam"),
        ({"name": 5}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"available": "many"}, "available"),
        ({"available": 1.5}, "available"),
        ({"available": 10**30}, "available"),
        ({"unit_price": 5}, "unit_price"),
        ({"unit_price": {"euros": 5}}, "unit_price"),
        ({"create_time": "yesterday"}, "create_time"),
    ],
)
def test_a_field_of_another_form_is_named(file: File, change: dict[str, object], field: str) -> None:
    """Unknown names, wrong types and numbers out of range."""
    said = complaint(file([LAMP, {**LAMP, "id": "chair", **change}]))
    assert said.startswith("entry 2 (chair): ")
    assert field in said


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({**LAMP, "id": "Lamp"}, "id"),
        ({**LAMP, "name": ""}, "name"),
        ({**LAMP, "available": -1}, "available"),
        ({**LAMP, "unit_price": {"currency_code": "USD"}}, "unit_price"),
        ({**ORDER, "items": []}, "items"),
        ({**ORDER, "items": [LINE, LINE]}, "items"),
        ({**ORDER, "items": [LINE, {**LINE, "product_id": "chair", "quantity": 0}]}, "items[1].quantity"),
        ({**ORDER, "state": 0}, "state"),
        ({**ORDER, "total": None}, "total"),
        ({**ORDER, "total": {**EUROS, "units": "1"}}, "total"),
        ({**ORDER, "total": {**EUROS, "units": "-5"}}, "total"),
        ({**ORDER, "total": {**EUROS, "currency_code": "USD"}}, "total"),
        ({**ORDER, "total": {**EUROS, "nanos": 1}}, "total"),
        ({**ORDER, "items": [LINE, {**LINE, "product_id": "chair"}], "total": {**EUROS, "units": "18"}}, "items"),
        ({**ORDER, "id": "01890000-ABCD-7000-8000-000000000001"}, "id"),
        ({**ORDER, "create_time": "1969-12-31T23:59:59Z"}, "create_time"),
        ({**ORDER, "create_time": "0001-01-01T00:00:00Z"}, "create_time"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_named_by_number_id_and_field(
    file: File, entry: dict[str, object], field: str
) -> None:
    """The contract holds for files as for requests, down to the item."""
    kind = Order if "items" in entry else Product
    assert complaint(file([entry]), kind).startswith(f"entry 1 ({entry['id']}): {field}: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "ORDER_STATE_DELIVERED", "version": 1}, "version must be at least"),
        ({"state": "ORDER_STATE_DELIVERED", "version": 3}, "version must be at least"),
        ({"state": "ORDER_STATE_SHIPPED", "version": 2}, "version must be at least"),
        ({"state": "ORDER_STATE_PAID", "version": 1}, "version must be at least"),
        ({"state": "ORDER_STATE_CANCELLED", "version": 1}, "version must be at least"),
        ({"update_time": "2026-09-04T13:21:24Z"}, "update_time must be"),
        ({"state": "ORDER_STATE_PLACED", "version": 1}, "update_time must be"),
    ],
)
def test_an_order_that_can_not_be_is_named(file: File, change: dict[str, object], said: str) -> None:
    """A state before its changes, a change before the creation."""
    assert complaint(file([{**ORDER, **change}]), Order).startswith(f"entry 1 ({ORDER['id']}): {said}")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "ORDER_STATE_PLACED", "version": 9},
        {"state": "ORDER_STATE_PLACED", "version": 1, "update_time": ORDER["create_time"]},
        {"create_time": "2998-01-01T00:00:00Z", "update_time": "2999-01-01T00:00:00Z"},
    ],
)
def test_an_order_that_can_be_is_taken(file: File, change: dict[str, object]) -> None:
    """Items may change often while it is PLACED; and no clock decides what a file says."""
    assert len(read(file([{**ORDER, **change}]), Order)) == 1


TWICE = [
    (b'[{"id": "lamp", "available": "1", "available": "2"}]', "entry 1 (lamp): available: stands there twice"),
    (b'[{}, {"id": "lamp", "x\\n": 1, "x\\n": 2}]', "entry 2 (lamp): 'x\\n': stands there twice"),
    (
        b'[{"id": "lamp", "unit_price": {}, "unitPrice": {}}]',
        "entry 1 (lamp): unit_price: stands there twice, as unit_price and as unitPrice",
    ),
    (
        b'[{"id": "lamp", "unitPrice": {"currency_code": "EUR", "currencyCode": "USD"}}]',
        "entry 1 (lamp): unit_price.currency_code: stands there twice, as currency_code and as currencyCode",
    ),
]


@pytest.mark.parametrize(("content", "said"), TWICE)
def test_a_field_that_stands_twice_is_named(file: File, content: bytes, said: str) -> None:
    """By its key, or once in each of the spellings that JSON has for it; neither value wins."""
    assert complaint(file(content.replace(b"{}, {", json.dumps(LAMP).encode() + b", {"))) == said


def test_a_field_that_stands_twice_in_an_item_is_named(file: File) -> None:
    """However deep."""
    text = json.dumps([ORDER]).replace('"quantity": 1', '"quantity": 1, "quantity": 2')
    assert complaint(file(text.encode()), Order) == f"entry 1 ({ORDER['id']}): items[0].quantity: stands there twice"


def test_an_id_stands_once(file: File) -> None:
    """The second one is named, with the first."""
    assert complaint(file([LAMP, {**LAMP, "name": "Another"}])) == "entry 2 (lamp): id: stands in entry 1 already"


@given(st.lists(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(ORDER, JSON)), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_entries_or_a_wrong_file(file: File, content: list[object]) -> None:
    """No value, however odd, ends in anything else."""
    path = file(content)
    try:
        assert len(read(path, Order)) == len(content)
    except InvalidSeedFile as wrong:
        assert str(wrong).startswith(f"{path}: entry ")


def test_the_shipped_files_hold_enough_to_try_everything() -> None:
    """At least 50 products and 20 orders, in every state."""
    assert len(PRODUCTS) >= 50
    assert len(ORDERS) >= 20
    assert {order.state for order in ORDERS} == set(OrderState.values()) - {OrderState.ORDER_STATE_UNSPECIFIED}


def test_shipped_ids_are_unique() -> None:
    """Those of products, those of orders."""
    assert len({product.id for product in PRODUCTS} | {order.id for order in ORDERS}) == len(PRODUCTS) + len(ORDERS)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: str(order.id))
def test_a_shipped_order_adds_up(order: Order) -> None:
    """Its total is the sum of quantity × unit price, its items are sorted and its times in order."""
    assert order.total == total(order.items)
    assert [item.product_id for item in order.items] == sorted(item.product_id for item in order.items)
    assert microseconds(order.create_time) <= microseconds(order.update_time)
    assert (order.version == 1) == (order.create_time == order.update_time)


def test_shipped_orders_stand_in_the_order_of_their_creation() -> None:
    """And so do their ids, which sort by time."""
    times = [microseconds(order.create_time) for order in ORDERS]
    assert times == sorted(times)
    assert [order.id for order in ORDERS] == sorted(order.id for order in ORDERS)


def test_shipped_orders_hold_no_more_than_there_is() -> None:
    """Every item names a product, and what the orders hold of it is there."""
    there = {product.id: product.available for product in PRODUCTS}
    held: Counter[str] = Counter()
    for order in ORDERS:
        wanted = {item.product_id: item.quantity for item in order.items}
        assert wanted.keys() <= there.keys()
        held.update(wanted if order.state != OrderState.ORDER_STATE_CANCELLED else {})
    assert {product_id for product_id, units in held.items() if units > there[product_id]} == set()
