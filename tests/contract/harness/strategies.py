"""Messages of the contract, made from its descriptors and rules: valid ones, and ones with exactly one rule broken.

A new field, rule or RPC widens the tests by itself. A rule nobody can generate for fails the suite.
"""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ordersys.contract import descriptors
from ordersys.contract.rules import rules_of
from tests.contract.harness.invalid_messages import (
    SPOILED,
    Breakage,
    InvalidMessage,
    breakages,
    broken,
    broken_twice,
    late_breakages,
)
from tests.contract.harness.valid_values import EXAMPLES, valid

__all__ = [
    "Breakage",
    "InvalidMessage",
    "broken",
    "broken_twice",
    "has_rules",
    "invalid",
    "late_breakages",
    "unknown_rules",
    "valid",
]

_KNOWN = {
    "required",
    "ignore",
    "string.uuid",
    "string.lower_case",
    "string.slug",
    "string.min_len",
    "string.max_len",
    "string.pattern",
    *(f"{kind}.{rule}" for kind in ("int32", "int64") for rule in ("gte", "lte", "not_in")),
    "enum.defined_only",
    "enum.in",
    "enum.not_in",
    "repeated.min_items",
    "repeated.max_items",
    "repeated.items.string.not_in",
    "repeated.items.string.pattern",
    "repeated.items.string.uuid",
    "repeated.unique",
    "repeated.unique_products",
    "sorted_by",
    "sum_of",
    "timestamp.instant",
    *EXAMPLES,
    *SPOILED,
}


def invalid(kind: Descriptor) -> SearchStrategy[InvalidMessage]:
    """A message of `kind` with exactly one rule broken. Only for kinds that have rules: see `has_rules`."""
    return st.sampled_from(breakages(kind)).flatmap(lambda breakage: broken(kind, breakage))


def has_rules(kind: Descriptor) -> bool:
    """True when a message of `kind` can break a rule."""
    return bool(breakages(kind))


def unknown_rules() -> set[str]:
    """The rules of the contract this module has no values for; must be empty."""
    return {rule for message in descriptors.messages() for rule in _stated(message)} - _KNOWN


def _stated(message: Descriptor) -> Iterator[str]:
    """The names of the rules of a message and its fields."""
    yield from rules_of(message)
    for field in message.fields:
        yield from rules_of(field)
