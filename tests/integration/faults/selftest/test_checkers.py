"""Each checker finds the fault it is there for, planted in a round that went well, and finds nothing else."""

from dataclasses import replace

import grpc
import pytest
from google.rpc.status_pb2 import Status

from tests.contract.harness.client import Answer
from tests.integration.faults.checkers.events import repeated
from tests.integration.faults.checkers.every_checker import CHECKERS, findings
from tests.integration.faults.checkers.observations import Kind, Stock
from tests.integration.faults.selftest.healthy_history import UNAVAILABLE, HealthyHistory, healthy_history
from tests.integration.faults.selftest.planted_violations import (
    NOT_ALLOWED,
    PLANTED,
    Plant,
    published_by_two_in_their_own_order,
)
from tests.integration.faults.workload.history import Outcome


def test_a_round_that_went_well_is_without_findings() -> None:
    """Open outcomes, refusals, repeats and clients that give up are no faults."""
    assert findings(healthy_history().observations()) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found_by_its_checker(plant: Plant) -> None:
    """And counts as what it is."""
    name, kind = PLANTED[plant]
    (checker,) = (checker for checker in CHECKERS if checker.__name__ == name)
    assert [finding.kind for finding in checker(plant())][:1] == [kind]


def test_every_checker_has_a_fault_it_was_shown_to_catch() -> None:
    """No checker is believed untried."""
    assert {name for name, _ in PLANTED.values()} == {checker.__name__ for checker in CHECKERS}


def test_what_comes_again_is_no_disorder() -> None:
    """Nor is an event that a queue of a cluster refused before it took the next."""
    sound = healthy_history().observations()
    again = {exchange: [*events, *events] for exchange, events in sound.received.items()}
    assert findings(replace(sound, received=again)) == []
    assert repeated(sound) == 0
    assert repeated(replace(sound, received=again)) == sum(map(len, sound.received.values()))
    assert findings(replace(published_by_two_in_their_own_order(), may_overtake=True)) == []


def test_a_refusal_after_silence_says_nothing_of_the_silence() -> None:
    """The first try may still have its effect; only a refusal for want of stock is kept."""
    history = HealthyHistory()
    open_one = history.ask(history.operations[0].request, UNAVAILABLE, NOT_ALLOWED)
    assert open_one.outcome is Outcome.UNKNOWN
    assert open_one.settled
    kept = history.refuse("anna")
    kept.tries.insert(0, kept.tries[0]._replace(answer=UNAVAILABLE))
    assert kept.outcome is Outcome.FAIL


def test_an_unknown_adjustment_may_have_happened_or_not() -> None:
    """Either way the stock is conserved; any other number is not."""
    history = HealthyHistory()
    history.adjust(5, Answer(grpc.StatusCode.UNAVAILABLE, None, Status()))
    history.operations[-1].abandoned = True
    assert findings(history.observations()) == []
    assert findings(history.observations(stock=HealthyHistory().stock)) == []
    spoilt = {**history.stock, "lamp": Stock(12, 0)}
    assert [finding.kind for finding in findings(history.observations(stock=spoilt))] == [Kind.OVERSOLD]
