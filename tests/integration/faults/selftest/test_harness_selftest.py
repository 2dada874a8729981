"""Sabotages: each has a fault that shows it, and what gives it away is told from what does not."""

import pytest

from tests.integration.faults.checkers.observations import Finding
from tests.integration.faults.environment.sabotage import SABOTAGES
from tests.integration.faults.selftest.harness_selftest import HARMLESS, REVEALED, giving_away


def test_each_sabotage_is_tried() -> None:
    """None is forgotten: it is found out, or must not be."""
    assert sorted([*REVEALED, *HARMLESS]) == sorted(SABOTAGES)


@pytest.mark.parametrize("name", REVEALED)
def test_what_gives_a_sabotage_away_is_found_among_other_things(name: str) -> None:
    """By its kind and by what is said of it."""
    for kind, words in REVEALED[name].findings.items():
        telling = Finding(kind, f"this {words} that")
        assert giving_away(name, [Finding(kind, "something else"), telling]) == [telling]
    assert giving_away(name, [Finding(kind, "something else") for kind in REVEALED[name].findings]) == []
