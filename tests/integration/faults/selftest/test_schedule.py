"""The schedule: every fault, each under a name of its own, the same for the same seed."""

from collections import Counter

import pytest

from tests.integration.faults.environment.sabotage import SABOTAGES
from tests.integration.faults.environment.setup import POSTGRESQL, Setup
from tests.integration.faults.runner.schedule import every_fault, schedule

SETUPS = [Setup(), Setup(POSTGRESQL, 3), Setup(secure=True)]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("setup", SETUPS)
def test_each_fault_has_a_name_of_its_own(quick: bool, setup: Setup) -> None:
    """A round is given to a worker by it."""
    assert not [name for name, times in Counter(f.name for f in every_fault(quick, setup)).items() if times > 1]


@pytest.mark.parametrize("setup", SETUPS)
def test_a_whole_run_has_every_fault_and_every_sabotage_that_is_fit(setup: Setup) -> None:
    """The sabotages last, and in their order: they spoil a system."""
    names = [fault.name for fault in every_fault(True, setup) if not fault.unfit(setup)]
    sabotages = [name for name, sabotage in SABOTAGES.items() if not sabotage.unfit(setup)]
    assert [job.name for job in schedule((), None, 1, None, setup)] == [*names, *sabotages]


def test_words_choose_among_faults_and_sabotages() -> None:
    """A sabotage can be tried alone; where faults are drawn none is tried."""
    setup = Setup(POSTGRESQL, 2)
    assert [job.name for job in schedule(["no-sweep"], None, 1, None, setup)] == ["no-sweep"]
    chosen = list(schedule(["standby"], None, 1, None, setup))
    assert {job.is_selftest for job in chosen} == {True, False}
    assert not [job for job in schedule(["standby"], 20, 1, None, setup) if job.is_selftest]


def test_each_fault_and_sabotage_is_fit_for_some_setup() -> None:
    """None is left out everywhere; most are tried on each."""
    faults = [[fault.name for fault in every_fault(True, setup) if not fault.unfit(setup)] for setup in SETUPS]
    every = {fault.name for setup in SETUPS for fault in every_fault(True, setup)}
    assert {name for names in faults for name in names} == every
    assert len({*faults[0]} & {*faults[1]}) > len(faults[0]) / 2
    for sabotage in SABOTAGES.values():
        assert not all(sabotage.unfit(setup) for setup in SETUPS)


def test_a_seed_draws_the_same_again() -> None:
    """All of it, or one round of it."""
    drawn = list(schedule((), 50, 7, None))
    assert drawn == list(schedule((), 50, 7, None)) != list(schedule((), 50, 8, None))
    assert [job for number in range(50) for job in schedule((), 50, 7, number)] == drawn
    assert not any(job.is_selftest for job in drawn)
