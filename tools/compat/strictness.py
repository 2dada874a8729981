"""Comparison of protovalidate's rules: which became stricter, and which values they then refuse."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple


class _Rule(NamedTuple):
    """A kind of rule: a test for a stricter value, given old and new (None: not stated), and what that refuses."""

    tightened: Callable[[Any, Any], bool]
    refused: str


def _lowered(old: Any, new: Any) -> bool:
    return new is not None and (old is None or new < old)


def _raised(old: Any, new: Any) -> bool:
    return new is not None and (old is None or new > old)


def _more(old: int | None, new: int | None) -> bool:
    return (new or 0) > (old or 0)


def _less(old: int | None, new: int | None) -> bool:
    return (new or 0) < (old or 0)


def _grown(old: tuple[Any, ...] | None, new: tuple[Any, ...] | None) -> bool:
    return any(value not in (old or ()) for value in new or ())


def _shrunk(old: tuple[Any, ...] | None, new: tuple[Any, ...] | None) -> bool:
    return bool(new) and (not old or _grown(new, old))


def _changed(old: Any, new: Any) -> bool:
    return bool(new) and new != old


def _never(old: Any, new: Any) -> bool:
    return False


_RULES: Mapping[str, _Rule] = {
    "lte": _Rule(_lowered, "above {}"),
    "lt": _Rule(_lowered, "of {} or more"),
    "gte": _Rule(_raised, "below {}"),
    "gt": _Rule(_raised, "of {} or less"),
    "max_len": _Rule(_lowered, "longer than {} characters"),
    "max_bytes": _Rule(_lowered, "longer than {} bytes"),
    "max_items": _Rule(_lowered, "of more than {} elements"),
    "max_pairs": _Rule(_lowered, "of more than {} pairs"),
    "min_len": _Rule(_more, "shorter than {} characters"),
    "min_bytes": _Rule(_more, "shorter than {} bytes"),
    "min_items": _Rule(_more, "of fewer than {} elements"),
    "min_pairs": _Rule(_more, "of fewer than {} pairs"),
    "in": _Rule(_shrunk, "other than {}"),
    "not_in": _Rule(_grown, "out of {}"),
    "required": _Rule(_changed, "unset"),
    "ignore": _Rule(_less, "empty"),
    "defined_only": _Rule(_changed, "of a number that has no name"),
    "pattern": _Rule(_changed, "unlike {}"),
    "cel_expression": _Rule(_grown, "against one of {}"),
    "example": _Rule(_never, ""),  # protovalidate documents values by it, and refuses none
}
# A rule that is not listed above counts as stricter whenever it changes: a false alarm is better than a missed break.
_OTHER = _Rule(_changed, "against the rule")


def tightened(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Values that the rules `new` refuse and `old` did not, such as "above 500 (int32.lte: 1000 → 500)"."""
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        rule = _RULES.get(name.rpartition(".")[2], _OTHER)
        if rule.tightened(before, now):
            yield f"{rule.refused.format(_text(now))} ({name}: {_text(before)} → {_text(now)})"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return "none" if value is None else repr(value)
