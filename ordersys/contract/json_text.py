"""JSON that people write, parsed strictly: no entry is dropped silently."""

import json
from collections import Counter
from typing import Any

_MAX_DIGITS = 400  # of a number; far more than a field takes, far less than Python refuses (4,300)


class Object(dict[str, Any]):
    """A JSON object. `twice` has the keys that stand more than once in its text; the last value of each is kept."""

    twice: tuple[str, ...] = ()


def parse(text: str) -> Any:
    """The value that JSON `text` stands for. Raises ValueError, which says where the text is wrong.

    RFC 8259 §4 leaves open what a key that stands twice in one object means; `json` keeps the last value. Here it is an
    error, as are NaN and Infinity, which are no JSON, and what is nested deeper than Python reads.
    """
    return _load(text, _strict)


def read(text: str) -> Any:
    """As `parse`, but returns an `Object` where a key stands twice: for a caller who can name the place better."""
    return _load(text, _object)


def _load(text: str, object_hook: Any) -> Any:
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark; save it as UTF-8 without one (RFC 8259 §8.1)")
    try:
        return json.loads(text, object_pairs_hook=object_hook, parse_constant=_no_constant, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> Object:
    entries = Object(pairs)
    if len(entries) < len(pairs):
        entries.twice = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return entries


def _strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = _object(pairs)
    if entries.twice:
        raise ValueError(f"the key {entries.twice[0]!r} stands twice in one object")
    return entries


def _integer(digits: str) -> int:
    """An integer of at most _MAX_DIGITS: beyond 4,300 Python raises an error about a setting of the interpreter."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
