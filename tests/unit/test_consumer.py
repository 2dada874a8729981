"""Deliveries are divided and settled, on a channel that keeps books as a broker does."""

from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.runtime.rabbitmq.consumer import Disposition, Tagged, _portions, _settle
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.messages import AmqpDelivery

ACK, DEAD_LETTER, RETURN = Disposition.ACK, Disposition.DEAD_LETTER, Disposition.RETURN
CASES = st.lists(st.tuples(st.booleans(), st.sampled_from(Disposition)), max_size=20)


class Intake:
    """Knows which tags are unsettled, and what becomes of each (AMQP 0-9-1 §1.8); breaks when told to."""

    def __init__(self, batch: Sequence[Tagged], breaks_after: int = 1000) -> None:
        self.unsettled = [tagged.tag for tagged in batch]
        self.settled: list[tuple[int, Disposition]] = []
        self.frames: list[tuple[str, int]] = []
        self._breaks_after = breaks_after

    def ack(self, tag: int, multiple: bool) -> None:
        self._frame("ack", tag)
        for open_tag in [open_tag for open_tag in self.unsettled if open_tag == tag or (multiple and open_tag < tag)]:
            self._book(open_tag, ACK)

    def reject(self, tag: int, requeue: bool) -> None:
        self._frame("reject", tag)
        self._book(tag, RETURN if requeue else DEAD_LETTER)

    def _frame(self, kind: str, tag: int) -> None:
        if len(self.frames) == self._breaks_after:
            raise BrokerUnavailable("gone")
        self.frames.append((kind, tag))

    def _book(self, tag: int, disposition: Disposition) -> None:
        self.unsettled.remove(tag)  # fails for a tag that is settled: a broker closes the channel
        self.settled.append((tag, disposition))


def deliveries(redelivered: Sequence[bool], first: int = 1) -> list[Tagged]:
    return [Tagged(tag, AmqpDelivery("id", "type", None, b"", again)) for tag, again in enumerate(redelivered, first)]


def settled(batch: list[Tagged], dispositions: Sequence[Disposition], breaks_after: int = 1000) -> Intake:
    intake = Intake(batch, breaks_after)
    by_tag = {tagged.tag: disposition for tagged, disposition in zip(batch, dispositions, strict=True)}
    for portion in _portions(batch):
        _settle(intake, portion, [by_tag[tagged.tag] for tagged in portion])  # type: ignore[arg-type]
    return intake


@given(cases=CASES, first=st.integers(1, 2**63))
def test_every_delivery_is_settled_once_in_order_as_it_was_decided(
    cases: list[tuple[bool, Disposition]], first: int
) -> None:
    """No delivery is left, settled twice, or settled as another, whatever was redelivered and decided."""
    batch = deliveries([again for again, _ in cases], first)
    intake = settled(batch, [disposition for _, disposition in cases])
    assert intake.unsettled == []
    assert intake.settled == [(first + index, disposition) for index, (_, disposition) in enumerate(cases)]


@given(CASES)
def test_fresh_deliveries_are_worked_on_together_and_redelivered_ones_alone(
    cases: list[tuple[bool, Disposition]],
) -> None:
    """Portions keep the order, leave nothing out, and are as few as they can be."""
    batch = deliveries([again for again, _ in cases])
    portions = list(_portions(batch))
    assert [tagged for portion in portions for tagged in portion] == batch
    assert all(len(portion) == 1 or not any(t.delivery.redelivered for t in portion) for portion in portions)
    runs_of_fresh = [again for again, _ in groupby(cases, key=lambda case: case[0])].count(False)
    assert len(portions) == runs_of_fresh + sum(again for again, _ in cases)


@pytest.mark.parametrize(
    ("dispositions", "frames"),
    [
        ([ACK] * 5, [("ack", 5)]),
        ([ACK, ACK, DEAD_LETTER, ACK, ACK], [("ack", 2), ("reject", 3), ("ack", 5)]),
        ([RETURN, DEAD_LETTER, ACK], [("reject", 1), ("reject", 2), ("ack", 3)]),
        ([ACK, RETURN, RETURN], [("ack", 1), ("reject", 2), ("reject", 3)]),
        ([], []),
    ],
)
def test_one_ack_settles_a_run_and_each_refusal_is_a_frame_of_its_own(
    dispositions: list[Disposition], frames: list[tuple[str, int]]
) -> None:
    """Five hundred recorded events cost one frame; a refused one among them costs two more."""
    assert settled(deliveries([False] * len(dispositions)), dispositions).frames == frames


def test_a_redelivered_one_is_acknowledged_before_the_next_is_worked_on() -> None:
    """One that kills the process then drives only itself to its delivery limit."""
    batch = deliveries([False, False, True, True, False])
    assert [frame[1] for frame in settled(batch, [ACK] * 5).frames] == [2, 3, 4, 5]


@given(CASES, st.integers(0, 5))
def test_a_broken_session_leaves_the_rest_to_come_again(cases: list[tuple[bool, Disposition]], frames: int) -> None:
    """It raises nothing; what is settled is the beginning, as it was decided, and nothing after it."""
    dispositions = [disposition for _, disposition in cases]
    intake = settled(deliveries([again for again, _ in cases]), dispositions, breaks_after=frames)
    assert intake.settled == list(enumerate(dispositions, 1))[: len(intake.settled)]
    assert len(intake.frames) <= frames


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_that_are_not_one_for_each_delivery_are_noticed(count: int) -> None:
    """A recorder that answers for too few or too many is a bug, never a silent acknowledgement of the rest."""
    batch = deliveries([False, False])
    intake = Intake(batch)
    with pytest.raises(ValueError, match="zip"):
        _settle(intake, batch, [ACK] * count)  # type: ignore[arg-type]
    assert intake.settled == []
