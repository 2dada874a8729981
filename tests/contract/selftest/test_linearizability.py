"""The search that judges concurrent histories is itself right."""

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.harness.linearizability import Operation, linearizable


def test_the_last_unit_is_not_sold_twice() -> None:
    """Two buyers at once: one of them is refused, or it did not happen."""
    both = [Operation(0, 2, 1, True), Operation(1, 3, 1, True)]
    assert not linearizable(both, 1)
    assert linearizable([both[0], both[1]._replace(outcome=False)], 1)
    assert linearizable(both, 2)


def test_a_refusal_needs_a_moment_without_stock() -> None:
    """Refused while there was stock all the time: no."""
    assert not linearizable([Operation(0, 1, 1, False)], 1)
    assert not linearizable([Operation(0, 1, 1, True), Operation(2, 3, 1, False)], 2)
    assert linearizable([Operation(0, 2, 1, True), Operation(1, 3, 1, False)], 1)


def test_what_was_answered_before_counts_for_what_is_called_after() -> None:
    """Real time is kept: a restock that was answered is seen by the next buyer."""
    assert not linearizable([Operation(0, 1, -1, True), Operation(2, 3, 1, False)], 0)
    assert linearizable([Operation(0, 3, -1, True), Operation(1, 2, 1, False)], 0)


def test_an_unknown_outcome_may_be_either() -> None:
    """A call without an answer may have taken the unit, or not."""
    unknown = Operation(0, 1, 1, None)
    assert linearizable([unknown, Operation(2, 3, 1, True)], 1)
    assert linearizable([unknown, Operation(2, 3, 1, False)], 1)
    assert not linearizable([unknown._replace(called=5), Operation(2, 3, 1, False)], 1)


@given(
    stock=st.integers(0, 5),
    steps=st.lists(st.tuples(st.integers(-2, 3).filter(bool), st.floats(0, 3), st.floats(0, 3)), max_size=8),
)
def test_what_happened_one_after_the_other_is_always_accepted(
    stock: int, steps: list[tuple[int, float, float]]
) -> None:
    """However wide the calls are stretched around the moments they took effect."""
    available, history = stock, []
    for moment, (units, before, after) in enumerate(steps):
        done = units <= available
        available -= units if done else 0
        history.append(Operation(moment - before, moment + after, units, done))
    assert linearizable(history, stock)
