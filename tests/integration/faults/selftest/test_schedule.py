"""What is played: all of it, each under a name of its own, the same for the same seed."""

from collections import Counter

import pytest

from tests.integration.faults.environment.sabotage import SABOTAGES
from tests.integration.faults.runner.schedule import every_fault, programme


@pytest.mark.parametrize("quick", [True, False])
def test_each_fault_has_a_name_of_its_own(quick: bool) -> None:
    """A round is given to a stage by it."""
    assert not [name for name, times in Counter(f.name for f in every_fault(quick)).items() if times > 1]


def test_the_whole_plays_every_fault_and_tries_every_sabotage() -> None:
    """The sabotages last, and in their order: they spoil a system."""
    names = [fault.name for fault in every_fault(quick=True)]
    assert [part.name for part in programme("", None, 1, None)] == [*names, *SABOTAGES]


def test_a_seed_draws_the_same_again() -> None:
    """All of it, or one round of it."""
    drawn = list(programme("", 50, 7, None))
    assert drawn == list(programme("", 50, 7, None)) != list(programme("", 50, 8, None))
    assert [part for number in range(50) for part in programme("", 50, 7, number)] == drawn
    assert not any(part.is_trial for part in drawn)
