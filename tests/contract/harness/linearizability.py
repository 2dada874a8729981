"""Checks that a history of one product could have happened one operation after the other (Wing & Gong 1993).

An operation takes effect at some moment between its call and its answer. One whose outcome is unknown may have
taken effect at any time after its call, or never.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Operation(NamedTuple):
    """An operation on the stock of a product: `taken` units (negative: added), between two moments.

    `outcome` is True when it was done, False when it was refused for want of stock, None when nobody knows.
    """

    called: float
    answered: float
    units: int
    outcome: bool | None


def linearizable(history: Sequence[Operation], stock: int) -> bool:
    """True if there is an order of the operations, true to their times, in which each outcome is right.

    `stock` is what was available at first.
    """
    seen: set[tuple[frozenset[int], int]] = set()

    def search(left: frozenset[int], available: int) -> bool:
        if all(history[index].outcome is None for index in left):
            return True
        if (left, available) in seen:
            return False
        seen.add((left, available))
        soonest = min(_end(history[index]) for index in left)
        return any(
            search(left - {index}, after)
            for index in left
            if history[index].called <= soonest
            for after in _afterwards(history[index], available)
        )

    return search(frozenset(range(len(history))), stock)


def _end(operation: Operation) -> float:
    """The moment by which it has taken effect."""
    return float("inf") if operation.outcome is None else operation.answered


def _afterwards(operation: Operation, available: int) -> list[int]:
    """The amounts that may be available after it, none when its outcome would be wrong."""
    enough = operation.units <= available
    done = [available - operation.units] if enough else []
    if operation.outcome is None:
        return [*done, available]
    if operation.outcome:
        return done
    return [] if enough else [available]
