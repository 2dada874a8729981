"""Sagas go on without whoever asked for them, and take their place while they do."""

import asyncio

import pytest

from ordersys.contract.errors import StatusError, reason_of
from ordersys.product_service.saga_runner import SagaRunner


class Step:
    """A step that waits until it may go on: what it was given, and what it answers."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.may_go_on = asyncio.Event()

    async def __call__(self, numbers: list[int]) -> list[int | Exception]:
        self.given.append(numbers)
        await self.may_go_on.wait()
        return [number if number else ValueError("nothing") for number in numbers]


async def test_a_saga_nobody_waits_for_any_more_keeps_its_place() -> None:
    """Calls given up in a row do not pile up what they have begun: the next is refused until one is done."""
    sagas, done = SagaRunner(1), asyncio.Event()
    given_up = asyncio.ensure_future(sagas.detached(done.wait()))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    with pytest.raises(StatusError) as refused:
        await sagas.detached(done.wait())
    assert reason_of(refused.value.status) == "TOO_MANY_CALLS"
    done.set()
    await sagas.drained(10)
    assert await sagas.detached(done.wait())


async def test_what_is_under_way_is_left_out_and_shared() -> None:
    """Two steps with a saga in common: it is taken once, and both have its result, an exception too."""
    sagas, step = SagaRunner(9), Step()
    first = asyncio.ensure_future(sagas.single_flight(step, {"a": 1, "b": 0}))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(sagas.single_flight(step, {"b": 7, "c": 3}))
    await asyncio.sleep(0)
    step.may_go_on.set()
    ours, theirs = await first, await second
    assert step.given == [[1, 0], [3]]
    assert (ours["a"], theirs["c"]) == (1, 3)
    assert isinstance(ours["b"], ValueError)
    assert ours["b"] is theirs["b"]
    assert await sagas.single_flight(step, {"b": 7}) == {"b": 7}


async def test_a_step_that_fails_fails_for_each_of_its_sagas() -> None:
    """As a value, so that others go on."""
    sagas = SagaRunner(9)

    async def fails(_: object) -> list[int]:
        raise ValueError("no")

    assert [str(error) for error in (await sagas.single_flight(fails, {"a": 1, "b": 2})).values()] == ["no", "no"]


async def test_a_step_goes_on_whoever_gives_up_waiting_for_it() -> None:
    """The caller who began it, or another: whoever is left has its result, and it is taken once."""
    sagas, step = SagaRunner(9), Step()
    first, impatient, patient = (asyncio.ensure_future(sagas.single_flight(step, {"a": 1})) for _ in range(3))
    await asyncio.sleep(0)
    for caller in (impatient, first):
        caller.cancel()
        await asyncio.wait([caller])
    step.may_go_on.set()
    assert await asyncio.wait_for(patient, 10) == {"a": 1}
    assert step.given == [[1]]


async def test_a_step_nobody_waits_for_any_more_is_drained() -> None:
    """As a saga is: SIGTERM cuts none in two."""
    sagas, may_go_on, done = SagaRunner(9), asyncio.Event(), list[str]()

    async def step(items: list[str]) -> list[str]:
        await may_go_on.wait()
        done.extend(items)
        return items

    given_up = asyncio.ensure_future(sagas.single_flight(step, {"a": "lamp"}))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    asyncio.get_running_loop().call_later(0.01, may_go_on.set)
    await sagas.drained(10)
    assert done == ["lamp"]
