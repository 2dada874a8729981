"""Calls that go on together: when a group departs, who is in it, and what each call is answered."""

import asyncio
from collections.abc import Sequence

import pytest

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import StatusError, reason_of, status_error
from ordersys.product_service import groups
from ordersys.product_service.groups import MOST, Groups
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.runtime.storage.errors import StorageUnavailable

SECONDS = 60


class Work:
    """Answers each item with itself, or raises it; a group is held until it is let go."""

    def __init__(self, sagas: int = 300, held: bool = True) -> None:
        self.groups: list[list[object]] = []
        self.sagas = SagaRunner(sagas)
        self.calls: Groups[object, object] = Groups(self._work, self.sagas)
        self._another = asyncio.Event()
        self._free = asyncio.Event()
        if not held:
            self._free.set()

    def let_go(self) -> None:
        self._free.set()

    async def departed(self, groups: int) -> None:
        """Returns when so many groups have departed."""
        async with asyncio.timeout(SECONDS):
            while len(self.groups) < groups:
                await self._another.wait()
                self._another.clear()

    def join(self, *items: object) -> "asyncio.Task[list[object]]":
        return asyncio.create_task(self.calls.join(list(items)))

    async def _work(self, items: list[object]) -> Sequence[object]:
        self.groups.append(items)
        self._another.set()
        await self._free.wait()
        if "broken" in items:
            raise ZeroDivisionError
        return items


async def test_a_lone_call_goes_at_once() -> None:
    """Within the turn of the event loop after its arrival: no timer is waited for."""
    work = Work()
    work.join("a")
    for _ in range(4):
        await asyncio.sleep(0)
    assert work.groups == [["a"]]
    work.let_go()


async def test_what_arrives_in_the_same_turn_goes_along() -> None:
    """A call's items stay together and in order, as do the calls."""
    work = Work(held=False)
    answers = await asyncio.gather(work.join("a", "b"), work.join("c"), work.join("d", "e"))
    assert [*answers] == [["a", "b"], ["c"], ["d", "e"]]
    assert work.groups == [["a", "b", "c", "d", "e"]]


async def test_a_group_departs_when_most_of_the_crowd_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """While ten are under way seven more wait; the eighth takes them along."""
    monkeypatch.setattr(groups, "_PATIENCE_SECONDS", 10 * SECONDS)
    monkeypatch.setattr(groups, "_LONELY_SECONDS", 10 * SECONDS)
    work = Work()
    calls = [work.join(number) for number in range(10)]
    await work.departed(1)
    calls += [work.join(number) for number in range(10, 17)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(work.groups) == 1
    calls.append(work.join(17))
    await work.departed(2)
    assert work.groups == [list(range(10)), list(range(10, 18))]
    work.let_go()
    assert await asyncio.gather(*calls) == [[number] for number in range(18)]


async def test_nobody_waits_for_a_crowd_that_does_not_come() -> None:
    """However many were lately here: those that wait depart in the end without the others."""
    work = Work()
    calls = [work.join(number) for number in range(20)]
    await work.departed(1)
    calls.append(work.join("alone"))
    await work.departed(2)
    assert work.groups[1] == ["alone"]
    work.let_go()
    await asyncio.gather(*calls)


async def test_a_group_is_no_larger_than_may_be() -> None:
    """Calls that do not fit go with the next; a single call may have more."""
    work = Work(sagas=2 * MOST, held=False)
    large = work.join(*range(2 * MOST))
    many = [work.join(number) for number in range(MOST + 10)]
    await asyncio.gather(large, *many)
    assert sorted(len(group) for group in work.groups if len(group) <= MOST)[-1] == MOST
    assert [len(group) for group in work.groups if len(group) > MOST] == [2 * MOST]
    assert sum(map(len, work.groups)) == 3 * MOST + 10


async def admitted(work: Work) -> bool:
    """True when there is a place for one more."""
    try:
        return await work.calls.join(["last"]) == ["last"]
    except StatusError:
        await asyncio.sleep(0)
        return False


async def test_a_call_given_up_before_it_departs_is_withdrawn() -> None:
    """Nothing is begun for it; its place is free again when the others depart."""
    work = Work(sagas=11)
    calls = [work.join(number) for number in range(10)]
    await work.departed(1)
    given_up = work.join("given up")
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    work.let_go()
    async with asyncio.timeout(SECONDS):
        while not await admitted(work):
            pass
    await asyncio.gather(*calls)
    assert "given up" not in {item for group in work.groups for item in group}


async def test_a_call_given_up_after_it_departed_keeps_its_place_until_it_ends() -> None:
    """Its group goes on; the others are answered."""
    work = Work(sagas=2)
    given_up, other = work.join("given up"), work.join("other")
    await work.departed(1)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    with pytest.raises(StatusError) as refused:
        await work.calls.join(["one too many"])
    assert reason_of(refused.value.status) == ErrorReason.Name(ErrorReason.TOO_MANY_CALLS)
    work.let_go()
    assert await other == ["other"]
    assert await work.calls.join(["again"]) == ["again"]


async def test_an_unforeseen_error_is_raised_for_those_it_is_about() -> None:
    """Of a result its call's alone, of the work as a whole every call's; a refusal is a result like any."""
    work = Work(held=False)
    refused = status_error(ErrorReason.INTERNAL_ERROR)
    good, bad, also = await asyncio.gather(
        work.join("a", refused), work.join("b", ZeroDivisionError()), work.join("c"), return_exceptions=True
    )
    assert (good, also) == (["a", refused], ["c"])
    assert isinstance(bad, ZeroDivisionError)
    ends = await asyncio.gather(work.join("broken"), work.join("b"), return_exceptions=True)
    assert [type(end) for end in ends] == [ZeroDivisionError] * 2
    assert await work.calls.join(["again"]) == ["again"]


async def test_storage_that_is_unavailable_is_a_refusal_of_the_order_that_met_it() -> None:
    """Of a batch the other orders have their own answers: they may have been stored."""
    work = Work(held=False)
    first, second = await work.calls.join(["a", StorageUnavailable("no room")])
    assert first == "a"
    assert isinstance(second, StatusError)
    assert reason_of(second.status) == ErrorReason.Name(ErrorReason.STORAGE_UNAVAILABLE)


async def test_what_is_under_way_is_drained() -> None:
    """A service that stops waits for groups as for any saga."""
    work = Work()
    call = work.join("a")
    await work.departed(1)
    drained = asyncio.create_task(work.sagas.drained(SECONDS))
    await asyncio.sleep(0)
    assert not drained.done()
    work.let_go()
    await drained
    assert await call == ["a"]
