"""Comparison of two versions of the contract, by name."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def pairs(old: Mapping[str, T], new: Mapping[str, T]) -> Iterator[tuple[T, T]]:
    """The (old, new) values of the names that both have."""
    return ((value, new[name]) for name, value in old.items() if name in new)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The values that differ, as (name, before, now); None stands for a name that is absent."""
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)
