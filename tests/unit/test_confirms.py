"""Which events of a window the broker has for sure."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.runtime.confirms import Confirms, Window

SIZE = 8
FIRST = 5
TAGS = range(FIRST, FIRST + SIZE)
IDS = [f"event-{tag}" for tag in TAGS]
ANSWERS = st.lists(st.tuples(st.sampled_from(["ack", "nack"]), st.sampled_from(TAGS), st.booleans()), max_size=30)
RETURNS = st.sets(st.sampled_from(IDS))


def answered(answers: list[tuple[str, int, bool]], returns: set[str]) -> Window:
    window = Window(FIRST, IDS)
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
    assert window.outcome() == expected
    assert window.settled == (set(first) == set(TAGS))


def test_one_ack_with_multiple_settles_the_whole_window() -> None:
    """A broker may answer a thousand events with one frame."""
    window = answered([("ack", TAGS[-1], True)], set())
    assert window.settled
    assert all(window.outcome())


def test_silence_counts_as_unpublished() -> None:
    """A window the connection broke under has nothing for sure."""
    assert answered([], set()).outcome() == [False] * SIZE


def frame(name: str, tag: int, multiple: bool = False) -> SimpleNamespace:
    """An answer of the broker."""
    return SimpleNamespace(method=SimpleNamespace(NAME=name, delivery_tag=tag, multiple=multiple))


async def test_windows_follow_each_other_on_one_channel() -> None:
    """Delivery tags go on; a window is settled by what is about it, not by what comes late for the one before."""
    confirms = Confirms()
    confirms.begin(["a", "b"])
    confirms.take(frame("Basic.Ack", 2, multiple=True))
    assert confirms.settled.done()
    second = confirms.begin(["c"])
    confirms.take(frame("Basic.Ack", 2))
    assert (confirms.settled.done(), second.answered) == (False, 0)
    confirms.take(frame("Basic.Ack", 3))
    assert (confirms.settled.done(), second.outcome()) == (True, [True])


@pytest.mark.parametrize(("answer", "refused"), [("Basic.Ack", False), ("Basic.Nack", True)])
async def test_a_window_knows_whether_the_broker_refused_any(answer: str, refused: bool) -> None:
    """A return is none: nobody wanted the event."""
    confirms = Confirms()
    window = confirms.begin(["a"])
    confirms.returned("a")
    confirms.take(frame(answer, 1))
    assert (window.refused, window.outcome()) == (refused, [False])


@pytest.mark.parametrize(("size", "step"), [(1, 10), (10, 10), (100, 10), (1000, 50), (100_000, 5_000)])
def test_a_window_gets_on_in_steps_a_trickle_does_not_take(size: int, step: int) -> None:
    """A twentieth of it, ten events at least: a small window has to be answered as a whole."""
    window = Window(1, [str(number) for number in range(size)])
    for tag in range(1, min(size, 2 * step) + 1):
        window.ack(tag, False)
        assert window.steps == tag // step
