"""Functions in text read each field of their message once, and nothing that may not be there."""

from types import SimpleNamespace
from typing import Any

import pytest

from ordersys.contract.source_text import Block, Unreadable


def made(block: Block) -> Any:
    """The function whose statements these are."""
    names: dict[str, Any] = {}
    exec(block.function("f", "True"), names)  # noqa: S102 - of this test
    return names["f"]


def test_a_field_is_read_once() -> None:
    """However often it is asked for, and wherever below."""
    block = Block()
    for _ in range(2):
        block.demand(f"{block.read('this.units')} > 0")
    inside = block.inner("if True:")
    inside.demand(f"{inside.read('this.units')} > 0")
    assert block.function("f", "True").count("this.units") == 1
    assert (made(block)(SimpleNamespace(units=1)), made(block)(SimpleNamespace(units=0))) == (True, False)


def test_what_was_read_under_a_condition_is_not_at_hand_after_it() -> None:
    """Nor is what is in it."""
    block = Block()
    block.inner("if this.there:").read("this.order")
    with pytest.raises(Unreadable):
        block.read("this.order.id")


def test_a_list_is_gone_through_once() -> None:
    """All statements about its elements share one loop, even those added after what follows the list."""
    block = Block()
    block.read("this.items", "[:]")
    total = block.each("this.items").before("this.items.total", "0")
    block.read("this.total")
    each = block.each("this.items")
    each.add(f"{total} += {each.read(f'{each.item}.units')}")
    block.demand(f"{total} == {block.read('this.total')}")
    assert block.function("f", "True").count("for ") == 1
    items = [SimpleNamespace(units=2), SimpleNamespace(units=3)]
    assert [made(block)(SimpleNamespace(items=items, total=total)) for total in (5, 6)] == [True, False]


@pytest.mark.parametrize("name", ["class", "None", "HasField", "__class__"])
def test_a_field_that_python_has_no_good_name_for_is_not_read(name: str) -> None:
    """A word of the language, or what every message has."""
    with pytest.raises(Unreadable):
        Block().read(f"this.{name}")


def test_two_fields_never_share_a_variable() -> None:
    """Their paths may be the same but for dots."""
    block = Block()
    block.read("this.a")
    block.read("this.a.b")
    with pytest.raises(Unreadable):
        block.read("this.a_b")
