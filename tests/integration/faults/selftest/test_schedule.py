"""The schedule: every fault, each under a name of its own, the same for the same seed."""

from collections import Counter

import pytest

from tests.integration.faults.environment.sabotage import SABOTAGES
from tests.integration.faults.runner.schedule import every_fault, schedule


@pytest.mark.parametrize("quick", [True, False])
def test_each_fault_has_a_name_of_its_own(quick: bool) -> None:
    """A round is given to a worker by it."""
    assert not [name for name, times in Counter(f.name for f in every_fault(quick)).items() if times > 1]


def test_a_whole_run_has_every_fault_and_every_sabotage() -> None:
    """The sabotages last, and in their order: they spoil a system."""
    names = [fault.name for fault in every_fault(quick=True)]
    assert [job.name for job in schedule("", None, 1, None)] == [*names, *SABOTAGES]


def test_a_seed_draws_the_same_again() -> None:
    """All of it, or one round of it."""
    drawn = list(schedule("", 50, 7, None))
    assert drawn == list(schedule("", 50, 7, None)) != list(schedule("", 50, 8, None))
    assert [job for number in range(50) for job in schedule("", 50, 7, number)] == drawn
    assert not any(job.is_selftest for job in drawn)
