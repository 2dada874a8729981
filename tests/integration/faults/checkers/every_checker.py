"""Every checker: finds violations in the observations of a round, one law a function. Pure."""

from collections.abc import Callable, Iterator, Sequence

from tests.integration.faults.checkers import answers, changes, events, orders, records, sharing, stock, unfinished
from tests.integration.faults.checkers.observations import Finding, Observations

Checker = Callable[[Observations], Iterator[Finding]]
CHECKERS: Sequence[Checker] = (
    orders.acknowledged_and_missing,
    orders.present_and_never_asked,
    orders.placed_twice,
    changes.made_twice_or_never_asked,
    changes.one_version_for_two,
    events.change_without_event,
    events.event_without_change,
    events.told_otherwise,
    events.forged,
    events.told_in_disorder,
    events.told_back_in_time,
    records.recorded_as_told,
    records.recorded_once,
    records.late_and_not_said,
    stock.created_and_missing,
    stock.conserved,
    stock.held_by_orders,
    stock.linear,
    answers.answered_otherwise,
    answers.answered_by_a_bug,
    answers.never_answered,
    answers.read_stale,
    unfinished.left_undone,
    sharing.led_by_two,
    sharing.deadlocked,
)


def findings(observations: Observations) -> list[Finding]:
    """Everything that must not be; nothing when all is well."""
    return [finding for check in CHECKERS for finding in check(observations)]
