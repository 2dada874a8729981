"""Clients in a hurry leave no moment out."""

import random
from collections import Counter

from tests.integration.faults.workload.client_behaviour import Hurried


def test_every_deadline_has_its_turn() -> None:
    """From 1 to 300 ms, as often each."""
    hurried, dice = Hurried(), random.Random(1)
    drawn = Counter(round(hurried.timeout(dice) * 1000) for _ in range(900))
    assert drawn == dict.fromkeys(range(1, 301), 3)
    assert hurried.calls == 900


def test_calls_are_cancelled_later_and_later() -> None:
    """A third of them, from at once to 100 ms, most of them while a call is likely to be under way."""
    hurried, dice = Hurried(), random.Random(1)
    drawn = [hurried.given_up_after(dice) for _ in range(600)]
    moments = [moment for moment in drawn if moment is not None]
    assert len(moments) == 200
    assert moments == sorted(moments)
    assert moments[0] == 0.0
    assert 0.09 < moments[-1] < 0.1
    assert sum(moment < 0.02 for moment in moments) > 80
