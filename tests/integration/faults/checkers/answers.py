"""Answers: a repeat gets the first one, none is a bug, each comes in the end, and none is stale."""

from collections.abc import Iterator

from tests.integration.faults.checkers.observations import Finding, Kind, Observations, answered_orders
from tests.integration.faults.workload.history import Outcome

_READS = ("GetProduct", "ListProducts", "GetOrder", "ListOrders", "ListNotifications")


def answered_otherwise(observations: Observations) -> Iterator[Finding]:
    """A request that is repeated after its success is answered the same again (AIP-155)."""
    for operation in observations.operations:
        ends = [attempt for attempt in operation.tries if attempt.outcome is not Outcome.UNKNOWN]
        if operation.outcome is not Outcome.OK or operation.call in _READS:
            continue
        first = next(index for index, attempt in enumerate(ends) if attempt.outcome is Outcome.OK)
        if any(attempt.answer.response != ends[first].answer.response for attempt in ends[first:]):
            yield Finding(Kind.DUPLICATED, f"operation {operation.number} was answered one thing, then another")


def answered_by_a_bug(observations: Observations) -> Iterator[Finding]:
    """Every failure has a reason of the contract."""
    for operation in observations.operations:
        if any(attempt.answer.reason == "INTERNAL_ERROR" for attempt in operation.tries):
            yield Finding(Kind.UNRECOVERED, f"operation {operation.number} ({operation.call}) met a bug")


def never_answered(observations: Observations) -> Iterator[Finding]:
    """A request left open is resolved by repeating it; reads are not repeated."""
    for operation in observations.operations:
        if not (operation.settled or operation.abandoned or operation.call in _READS):
            yield Finding(Kind.UNRECOVERED, f"operation {operation.number} ({operation.call}) is open for good")


def read_stale(observations: Observations) -> Iterator[Finding]:
    """A state answered to anybody is seen by everybody who asks afterwards."""
    written = [
        (operation.answered, order)
        for operation in observations.operations
        if operation.outcome is Outcome.OK and operation.call not in _READS
        for order in answered_orders(operation)[:1]
    ]
    for operation in observations.asked("GetOrder"):
        for read in answered_orders(operation):
            known = [order.version for moment, order in written if order.id == read.id and moment < operation.called]
            if read.version < max(known, default=0):
                yield Finding(Kind.LOST, f"operation {operation.number} read a version of {read.id} that was past")
