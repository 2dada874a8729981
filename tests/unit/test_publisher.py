"""Which events can be sent at all: whatever is wrong with one harms no other."""

from dataclasses import replace

import pytest

from ordersys.contract import topology
from ordersys.contract.events import EventMessage
from ordersys.runtime.confirms import Fate
from ordersys.runtime.outbox import Waiting
from ordersys.runtime.publisher import encoded

GOOD = EventMessage("a.1", "type", "source", "a", 1_790_000_000_000_000, "trace", b"")
TO = topology.Publication("exchange", "key", "source")


def waiting(event: EventMessage = GOOD, to: topology.Publication = TO) -> Waiting:
    return Waiting(1, event, to, held=False)


@pytest.mark.parametrize(
    "bad",
    [
        waiting(replace(GOOD, time=10**30)),
        waiting(replace(GOOD, time=-(10**30))),
        waiting(to=replace(TO, exchange="")),
    ],
    ids=["a time that is none", "a time before all", "an event this release does not know"],
)
def test_an_event_that_cant_be_encoded_harms_none_but_its_order(bad: Waiting) -> None:
    """It has a reason, what comes after it of the same order is held back, and the others are sent."""
    other = waiting(replace(GOOD, event_id="b.1", subject="b"))
    after = waiting(replace(GOOD, event_id="a.2"))
    messages, outcomes = encoded([other, bad, after, other])
    assert list(messages) == [0, 3]
    assert [outcome.fate for outcome in outcomes.values()] == [Fate.IMPOSSIBLE, Fate.HELD]
    assert outcomes[1].reason


def test_an_event_is_published_where_the_outbox_says() -> None:
    """Whether or not this release knows its type."""
    messages, _ = encoded([waiting()])
    assert messages[0][:3] == ("exchange", "key", b"")
