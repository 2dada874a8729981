"""A file of orders: what may stand in it, and the request ids that follow from it."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.console.parser import UsageError
from ordersys.grpc_client import order_input
from ordersys.grpc_client.order_input import OrderInput

ID = "01890000-0000-7000-8000-000000000001"
LINE = {"product_id": "lamp", "quantity": 1}
ORDER = {"customer_id": "anna", "items": [LINE]}
SLUGS = st.from_regex("[a-z][a-z0-9]{0,8}", fullmatch=True)
WISHES = st.builds(
    OrderInput,
    SLUGS,
    st.dictionaries(SLUGS, st.integers(1, 1000), min_size=1, max_size=4).map(
        lambda quantities: tuple(order_input.items(f"{product}={units}" for product, units in quantities.items()))
    ),
    st.just(""),
)
FILES = st.lists(WISHES, max_size=8)
NAMED = st.tuples(WISHES, st.uuids()).map(lambda pair: pair[0]._replace(request_id=str(pair[1])))


def read(path: Path, entries: Any) -> list[OrderInput]:
    """The wishes of a file with these entries, or with this text."""
    path.write_bytes(entries if isinstance(entries, bytes) else json.dumps(entries).encode())
    return order_input.from_file(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file of orders."""
    return tmp_path / "orders.json"


def test_the_entries_of_a_file_are_wishes(path: Path) -> None:
    """Customer and items count; whatever else an order has is passed over."""
    (wish,) = read(path, [{**ORDER, "id": ID, "items": [{**LINE, "unit_price": {}}], "state": 1}])
    assert (wish.customer_id, [(i.product_id, i.quantity) for i in wish.items]) == ("anna", [("lamp", 1)])
    assert len(order_input.from_file(order_input.STATIC_ORDERS)) >= 20


@pytest.mark.parametrize(
    "entry",
    [
        {"customerId": "anna", "items": [{"productId": "lamp", "quantity": 1}]},
        {"customer_id": "anna", "items": [{"productId": "lamp", "quantity": "1"}]},
        {"customer_id": "anna", "items": [{"product_id": "lamp", "quantity": 1.0}]},
    ],
)
def test_both_spellings_of_a_key_are_read(path: Path, entry: object) -> None:
    """And numbers as ProtoJSON has them."""
    assert read(path, [entry]) == read(path, [ORDER])


def test_a_byte_order_mark_is_passed_over(path: Path) -> None:
    """Editors of some systems write one."""
    assert read(path, b"\xef\xbb\xbf" + json.dumps([ORDER]).encode()) == read(path, [ORDER])


def test_an_entry_may_bring_a_request_id(path: Path) -> None:
    """It is the entry's, whatever else the file holds."""
    other, own = read(path, [ORDER, {**ORDER, "requestId": ID.upper()}])
    assert (other.request_id, own.request_id) == ("", ID)
    assert order_input.request_ids([other, own])[1] == order_input.request_ids([own], "a batch")[0] == ID


WRONG: dict[str, tuple[object, str]] = {
    "no JSON": (b"[", "not JSON: "),
    "no UTF-8": (b"\xff", "not JSON: "),
    "too deep": (b"[" * 100_000, "not JSON: it is nested too deep"),
    "no array": ({}, "must be a JSON array of orders"),
    "no items": ([{"customer_id": "a"}], "entry 1: items is missing"),
    "no customer": ([{"items": [LINE]}], "entry 1: customer_id is missing"),
    "items no array": ([{**ORDER, "items": LINE}], "entry 1: items: must be an array of objects with product_id and "),
    "empty items": ([{**ORDER, "items": []}], "entry 1: items: must contain at least 1 item(s)"),
    "a product twice": ([ORDER, {**ORDER, "items": [LINE, LINE]}], "entry 2: items: each product may stand only once"),
    "entry no object": ([ORDER, 5], "entry 2: must be an object with customer_id and items"),
    "customer null": ([{**ORDER, "customer_id": None}], "entry 1: customer_id: must be a string, and not empty"),
    "customer empty": ([{**ORDER, "customer_id": ""}], "entry 1: customer_id: must be a string, and not empty"),
    "half a letter": ([{**ORDER, "customer_id": "\ud800"}], "entry 1: customer_id: must be a string"),
    "customer no slug": (
        [{**ORDER, "customer_id": "Anna"}],
        "entry 1: customer_id: must be 1 to 64 lower-case letters",
    ),
    "item no object": ([{**ORDER, "items": [LINE, 5]}], "entry 1: items[1]: must be an object with product_id and "),
    "no quantity": ([{**ORDER, "items": [{"product_id": "b"}]}], "entry 1: items[0]: quantity is missing"),
    "quantity no number": (
        [{**ORDER, "items": [{**LINE, "quantity": "x"}]}],
        "entry 1: items[0]: Failed to parse quantity",
    ),
    "half a unit": ([{**ORDER, "items": [{**LINE, "quantity": 1.5}]}], "entry 1: items[0]: Failed to parse quantity"),
    "none": ([{**ORDER, "items": [{**LINE, "quantity": 0}]}], "entry 1: items[0].quantity: must be greater than"),
    "too many": ([{**ORDER, "items": [{**LINE, "quantity": 2**40}]}], "entry 1: items[0]: Failed to parse quantity"),
    "infinitely many": (
        b'[{"customer_id": "a", "items": [{"product_id": "b", "quantity": 1e400}]}]',
        "entry 1: items[0]: ",
    ),
    "not a number": (
        b'[{"customer_id": "a", "items": [{"product_id": "b", "quantity": NaN}]}]',
        "not JSON: NaN is no ",
    ),
    "a key twice": (
        b'[{"customer_id": "a", "customer_id": "b", "items": []}]',
        "not JSON: the key 'customer_id' stands",
    ),
    "two spellings": ([{**ORDER, "customerId": "b"}], "entry 1: customer_id and customerId are one key"),
    "two of an item": (
        [{**ORDER, "items": [{**LINE, "productId": "x"}]}],
        "entry 1: items[0]: product_id and productId",
    ),
    "no UUID": ([{**ORDER, "request_id": "x"}], "entry 1: request_id: must be a valid UUID"),
    "an id twice": (
        [{**ORDER, "request_id": ID}, ORDER, {**ORDER, "request_id": ID.upper()}],
        f"entry 3: request_id: {ID} is that of entry 1, too",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_file_is_named(path: Path, name: str) -> None:
    """File, entry, key, in one line; before anything is placed."""
    content, said = WRONG[name]
    with pytest.raises(UsageError) as wrong:
        read(path, content)
    assert str(wrong.value).startswith(f"{path}: {said}")
    assert "\n" not in str(wrong.value)


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    """With the system's reason."""
    for path, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=f"^{path}: {said}"):
            order_input.from_file(path)


def test_the_request_ids_of_a_file_are_for_ever() -> None:
    """An upgrade between two tries leaves them repeats of the same requests."""
    lamp = OrderInput("anna", tuple(order_input.items(["lamp=1", "chair=2"])))
    assert order_input.request_ids([lamp, lamp]) == [
        "12f0c360-4a96-5755-8df5-9f1fe02548ba",
        "6529154e-71a9-5773-8a93-afcfd80b78c5",
    ]
    assert order_input.request_ids([lamp], "monday") == ["22cb9b5a-449d-5b82-a677-5f878c7956a4"]


@given(FILES)
def test_a_repeat_of_a_file_is_a_repeat_of_its_requests(wishes: list[OrderInput]) -> None:
    """Each entry has an id of its own, a UUID, the same each time; two equal entries are two orders."""
    ids = order_input.request_ids(wishes)
    assert ids == order_input.request_ids(wishes)
    assert len(set(ids)) == len(wishes)
    assert all(str(uuid.UUID(request_id)) == request_id for request_id in ids)


def reordered(wishes: list[OrderInput]) -> list[OrderInput]:
    """The same entries, and their items, the other way round."""
    return [wish._replace(items=tuple(reversed(wish.items))) for wish in reversed(wishes)]


@given(st.lists(WISHES | NAMED, max_size=8))
def test_the_order_of_entries_and_items_means_nothing(wishes: list[OrderInput]) -> None:
    """As it means nothing to the contract."""
    assert sorted(order_input.request_ids(wishes)) == sorted(order_input.request_ids(reordered(wishes)))


CHANGES: dict[str, Callable[[OrderInput], OrderInput]] = {
    "another customer": lambda wish: wish._replace(customer_id=f"{wish.customer_id}x"),
    "another quantity": lambda wish: wish._replace(
        items=(order_input.items([f"{wish.items[0].product_id}={wish.items[0].quantity + 1}"])[0], *wish.items[1:])
    ),
    "another product": lambda wish: wish._replace(items=(*wish.items, *order_input.items(["zz-another=1"]))),
}


@pytest.mark.parametrize("name", CHANGES)
@given(wishes=FILES.filter(bool))
def test_a_file_with_other_orders_is_another_file(name: str, wishes: list[OrderInput]) -> None:
    """None of its requests is one of the first file."""
    changed = [CHANGES[name](wishes[0]), *wishes[1:]]
    assert not set(order_input.request_ids(wishes)) & set(order_input.request_ids(changed))


@given(FILES, WISHES | NAMED)
def test_an_entry_is_placed_once_in_a_batch(wishes: list[OrderInput], more: OrderInput) -> None:
    """Under one name a file may grow; under another all of it is placed again."""
    monday = order_input.request_ids(wishes, "monday")
    assert set(monday) < set(order_input.request_ids([*wishes, more], "monday"))
    for other in (order_input.request_ids(wishes, "tuesday"), order_input.request_ids(wishes)):
        assert not set(monday) & set(other)
