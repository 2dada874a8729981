"""JSON as people write it: read strictly, so that no entry is dropped without a word."""

import json
from collections import Counter
from typing import Any

_MOST_DIGITS = 400


class Object(dict[str, Any]):
    """A JSON object, and the keys that stand more than once in its text: the last value of each is kept."""

    twice: tuple[str, ...] = ()


def parse(text: str) -> Any:
    """The value that JSON `text` stands for. Raises ValueError, which says where the text is wrong.

    RFC 8259 §4 leaves open what a key that stands twice in one object means; `json` keeps the last value. Here it is an
    error, as are NaN and Infinity, which are no JSON, and what is nested deeper than Python reads.
    """
    return _load(text, _strict)


def read(text: str) -> Any:
    """As `parse`, but what has a key twice is an `Object` that says so: for a reader who can name the place better."""
    return _load(text, _object)


def _load(text: str, made: Any) -> Any:
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark; save it as UTF-8 without one (RFC 8259 §8.1)")
    try:
        return json.loads(text, object_pairs_hook=made, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> Object:
    found = Object(pairs)
    if len(found) < len(pairs):
        found.twice = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return found


def _strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _object(pairs)
    if found.twice:
        raise ValueError(f"the key {found.twice[0]!r} stands twice in one object")
    return found


def _integer(digits: str) -> int:
    """Python reads up to 4,300 digits and names a setting of its own beyond; no field takes more than 20."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
