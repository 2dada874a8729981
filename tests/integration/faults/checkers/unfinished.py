"""Unfinished work when everything works again: there must be none."""

from collections.abc import Iterator

from tests.integration.faults.checkers.observations import Finding, Kind, Observations

_SAGAS = frozenset({"sagas without an outcome"})


def left_undone(observations: Observations) -> Iterator[Finding]:
    """No reservation without an outcome, no event unpublished, 30 s after the fault has cleared."""
    for name, count in observations.left.items():
        if count:
            kind = Kind.ORPHAN if name in _SAGAS else Kind.UNRECOVERED
            yield Finding(kind, f"{name}: {count}")
