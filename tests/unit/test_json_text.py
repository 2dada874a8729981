"""JSON is read strictly."""

import pytest

from ordersys.contract.json_text import parse


def test_what_stands_in_json_is_read() -> None:
    """Objects, arrays and everything in them."""
    assert parse('[{"a": 1, "b": [null, true, 1.5, "x"]}]') == [{"a": 1, "b": [None, True, 1.5, "x"]}]


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"x": {"b": 1, "c": 2, "b": 1}}]'])
def test_a_key_that_stands_twice_is_an_error(text: str) -> None:
    """Neither value is dropped silently, also deep inside."""
    with pytest.raises(ValueError, match="stands twice"):
        parse(text)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_constants_that_are_no_json_are_errors(text: str) -> None:
    """Python's own reader takes them."""
    with pytest.raises(ValueError, match="no JSON"):
        parse(text)
