"""Confirms: the events of a window that the broker has for sure."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.runtime.rabbitmq.confirms import Confirms, Fate, Window

SIZE = 8
FIRST = 5
TAGS = range(FIRST, FIRST + SIZE)
IDS = [f"event-{tag}" for tag in TAGS]
ANSWERS = st.lists(st.tuples(st.sampled_from(["ack", "nack"]), st.sampled_from(TAGS), st.booleans()), max_size=30)
RETURNS = st.sets(st.sampled_from(IDS))


def sent(window: Window, event_ids: list[str]) -> Window:
    """Everything is on its way."""
    for event_id in event_ids:
        window.sent(event_id)
    window.complete()
    return window


def answered(answers: list[tuple[str, int, bool]], returns: set[str]) -> Window:
    window = sent(Window(FIRST), IDS)
    for event_id in returns:
        window.returned(event_id)
    for kind, tag, multiple in answers:
        (window.ack if kind == "ack" else window.nack)(tag, multiple)
    return window


@given(ANSWERS, RETURNS)
def test_an_event_counts_as_published_only_when_acked_and_never_refused(
    answers: list[tuple[str, int, bool]], returns: set[str]
) -> None:
    """Sure means: first answered by an ack, never nacked by its own tag, not returned."""
    first: dict[int, str] = {}
    own_nacks = {tag for kind, tag, _ in answers if kind == "nack"}
    for kind, tag, multiple in answers:
        for settled in [t for t in TAGS if t <= tag] if multiple else [tag]:
            first.setdefault(settled, kind)
    expected = [
        first.get(tag) == "ack" and tag not in own_nacks and event_id not in returns
        for tag, event_id in zip(TAGS, IDS, strict=True)
    ]
    window = answered(answers, returns)
    assert [fate is Fate.CONFIRMED for fate in window.fates()] == expected
    assert window.settled == (set(first) == set(TAGS))


def test_one_ack_with_multiple_settles_the_whole_window() -> None:
    """A broker may answer a thousand events with one frame."""
    window = answered([("ack", TAGS[-1], True)], set())
    assert window.settled
    assert set(window.fates()) == {Fate.CONFIRMED}


def test_silence_counts_as_unpublished() -> None:
    """A window the connection broke under has nothing for sure."""
    assert answered([], set()).fates() == [Fate.OPEN] * SIZE


def begin(confirms: Confirms, *event_ids: str) -> Window:
    """A window that is on its way."""
    window = confirms.begin()
    for event_id in event_ids:
        window.sent(event_id)
    confirms.complete()
    return window


def frame(name: str, tag: int, multiple: bool = False) -> SimpleNamespace:
    """An answer of the broker."""
    return SimpleNamespace(method=SimpleNamespace(NAME=name, delivery_tag=tag, multiple=multiple))


async def test_windows_follow_each_other_on_one_channel() -> None:
    """Delivery tags go on; a window is settled by what is about it, not by what comes late for the one before."""
    confirms = Confirms()
    begin(confirms, "a", "b")
    confirms.take(frame("Basic.Ack", 2, multiple=True))
    assert confirms.settled.done()
    second = begin(confirms, "c")
    confirms.take(frame("Basic.Ack", 2))
    assert (confirms.settled.done(), second.answered) == (False, 0)
    confirms.take(frame("Basic.Ack", 3))
    assert (confirms.settled.done(), second.fates()) == (True, [Fate.CONFIRMED])


@pytest.mark.parametrize(("answer", "fate"), [("Basic.Ack", Fate.RETURNED), ("Basic.Nack", Fate.NACKED)])
async def test_what_is_returned_is_not_nacked(answer: str, fate: Fate) -> None:
    """Nobody wanted the event, which is another matter than that somebody could not take it."""
    confirms = Confirms()
    window = begin(confirms, "a")
    confirms.returned("a")
    confirms.take(frame(answer, 1))
    assert window.fates() == [fate]


async def test_a_window_is_not_settled_before_all_of_it_is_sent() -> None:
    """The broker answers while the rest is still being encoded."""
    confirms = Confirms()
    window = confirms.begin()
    window.sent("a")
    confirms.take(frame("Basic.Ack", 1))
    assert not confirms.settled.done()
    window.sent("b")
    confirms.complete()
    assert not confirms.settled.done()
    confirms.take(frame("Basic.Ack", 2))
    assert confirms.settled.done()


async def test_a_window_of_which_nothing_could_be_sent_is_settled() -> None:
    """There is nothing to wait for (and no six seconds of silence)."""
    confirms = Confirms()
    confirms.begin()
    confirms.complete()
    assert confirms.settled.done()


@pytest.mark.parametrize(("size", "step"), [(1, 10), (10, 10), (100, 10), (1000, 50), (100_000, 5_000)])
def test_a_window_gets_on_in_steps_a_trickle_does_not_take(size: int, step: int) -> None:
    """A twentieth of it, ten events at least: a small window has to be answered as a whole."""
    window = sent(Window(1), [str(number) for number in range(size)])
    for tag in range(1, min(size, 2 * step) + 1):
        window.ack(tag, False)
        assert window.progress == tag // step
