"""Publishing: an event that can't be sent harms no other."""

from dataclasses import replace

import pytest

from ordersys.contract import topology
from ordersys.contract.events import EventMessage
from ordersys.runtime.outbox import Waiting
from ordersys.runtime.rabbitmq.confirms import Fate, PublishResult
from ordersys.runtime.rabbitmq.publisher import Forbidden, encoded

GOOD = EventMessage("a.1", "type", "source", "a", 1_790_000_000_000_000, "trace", b"")
TO = topology.Publication("exchange", "key", "source")


def waiting(event: EventMessage = GOOD, to: topology.Publication = TO) -> Waiting:
    return Waiting(1, event, to, held=False)


@pytest.mark.parametrize(
    "bad",
    [
        waiting(GOOD._replace(time=10**30)),
        waiting(GOOD._replace(time=-(10**30))),
        waiting(to=replace(TO, exchange="")),
    ],
    ids=["a time that is none", "a time before all", "an event this release does not know"],
)
def test_an_event_that_cant_be_encoded_harms_none_but_its_order(bad: Waiting) -> None:
    """It has a reason, what comes after it of the same order is held back, and the others are sent."""
    other = waiting(GOOD._replace(event_id="b.1", subject="b"))
    after = waiting(GOOD._replace(event_id="a.2"))
    messages, outcomes = encoded([other, bad, after, other])
    assert list(messages) == [0, 3]
    assert [outcome.fate for outcome in outcomes.values()] == [Fate.IMPOSSIBLE, Fate.HELD]
    assert outcomes[1].reason


def test_an_event_is_published_where_the_outbox_says() -> None:
    """The type need not be one this release knows."""
    messages, _ = encoded([waiting()])
    assert messages[0][:3] == ("exchange", "key", b"")


def test_an_event_names_the_user_of_the_connection_it_is_published_by() -> None:
    """An event that waited under another user is published by this one."""
    for user in ("order-service", "another"):
        messages, _ = encoded([waiting()], user=user)
        assert messages[0].properties.user_id == user


OTHER = replace(TO, routing_key="other")
REFUSAL = "ACCESS_REFUSED - access to topic 'key' in exchange 'exchange' in vhost '/' refused for user 'u'"
OPEN, CONFIRMED = PublishResult(Fate.OPEN, "as the whole window"), PublishResult(Fate.CONFIRMED)


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_forbidden_routing_key_concerns_its_events_only() -> None:
    """Those that were open have the reason; what was confirmed is, and the others are open for no reason of theirs."""
    forbidden = Forbidden(Clock())
    window = [waiting(), waiting(), waiting(to=OTHER)]
    assert forbidden.judged(window, [CONFIRMED, OPEN, OPEN], REFUSAL) == [
        CONFIRMED,
        PublishResult(Fate.IMPOSSIBLE, REFUSAL),
        PublishResult(Fate.OPEN),
    ]


@pytest.mark.parametrize("closed", ["", "CONNECTION_FORCED", REFUSAL.replace("'key'", "'another'")])
def test_a_session_that_ended_for_another_reason_forbids_nothing(closed: str) -> None:
    """All is as it was."""
    forbidden = Forbidden(Clock())
    assert forbidden.judged([waiting()], [OPEN], closed) == [OPEN]
    assert not forbidden
    assert not forbidden.reason


def test_a_forbidden_routing_key_is_tried_now_and_then_until_it_is_confirmed() -> None:
    """Each try costs a session. What is parked is tried after 5 s: then it may be."""
    clock = Clock()
    forbidden = Forbidden(clock)
    forbidden.judged([waiting()], [OPEN], REFUSAL)
    messages, outcomes = encoded([waiting(), waiting(to=OTHER), waiting(GOOD._replace(subject="b"))], forbidden.now)
    assert not messages  # the second is of the same order
    assert [outcome.fate for outcome in outcomes.values()] == [Fate.IMPOSSIBLE, Fate.HELD, Fate.IMPOSSIBLE]
    assert forbidden.reason == REFUSAL
    clock.seconds += 5
    assert list(encoded([waiting()], forbidden.now)[0]) == [0]
    assert forbidden.reason == REFUSAL
    forbidden.judged([waiting()], [CONFIRMED], "")
    assert not forbidden.reason
