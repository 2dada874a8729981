"""A comparison that fails in a law says which fields differ, and what pytest says of it."""

from typing import Any

import pytest

from ordersys.api.order.v1.order_pb2 import Order


def said(pytestconfig: pytest.Config, left: object, right: object) -> list[str]:
    """The lines that explain `left == right` in this folder."""
    results: list[Any] = pytestconfig.hook.pytest_assertrepr_compare(
        config=pytestconfig, op="==", left=left, right=right
    )
    return list(results[0]) if results else []


def test_messages_that_differ_are_explained_by_their_fields(pytestconfig: pytest.Config) -> None:
    """A type that pytest does not know."""
    lines = said(pytestconfig, Order(id="a", version=1), Order(id="a", version=2))
    assert lines[1:] == ["left and right differ in 1 place:", "version: 1 != 2"]


def test_what_pytest_says_of_lists_stays(pytestconfig: pytest.Config) -> None:
    """Behind the fields."""
    lines = said(pytestconfig, [Order(version=1)], [Order(version=2)])
    assert lines[1:3] == ["left and right differ in 1 place:", "[0].version: 1 != 2"]
    assert any("At index 0 diff" in line for line in lines)


def test_what_holds_no_message_is_explained_by_pytest_alone(pytestconfig: pytest.Config) -> None:
    """Nothing is in its way."""
    assert not any("left and right" in line for line in said(pytestconfig, [1], [2]))
