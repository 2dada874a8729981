"""Natural batching."""

import asyncio

import pytest

from ordersys.runtime.batching import Batcher


async def test_what_arrives_while_a_batch_is_worked_on_is_the_next_batch() -> None:
    """The first item goes alone; all that came meanwhile share one batch, in order."""
    batches: list[list[int]] = []
    gate = asyncio.Event()

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        await gate.wait()
        return items

    batcher: Batcher[int, int] = Batcher(work, 100)
    first = batcher.submit(0)
    await asyncio.sleep(0)
    rest = [batcher.submit(number) for number in range(1, 10)]
    gate.set()
    assert await asyncio.gather(first, *rest) == list(range(10))
    assert batches == [[0], list(range(1, 10))]


async def test_a_batch_never_exceeds_its_limit() -> None:
    """Many waiting items are worked on in portions of the limit, in order."""
    sizes: list[int] = []

    async def work(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    batcher: Batcher[int, int] = Batcher(work, 3)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(8))) == list(range(8))
    assert sizes == [3, 3, 2]


async def test_an_exception_for_one_item_is_raised_for_that_item_alone() -> None:
    """Results and refusals stand side by side in one batch."""

    async def work(items: list[int]) -> list[int | Exception]:
        return [ValueError(str(n)) if n == 1 else n for n in items]

    batcher: Batcher[int, int] = Batcher(work, 10)
    results = await asyncio.gather(*(batcher.submit(n) for n in range(3)), return_exceptions=True)
    assert results[0] == 0
    assert isinstance(results[1], ValueError)
    assert results[2] == 2


@pytest.mark.parametrize("count", [0, 2, 4])
async def test_another_number_of_results_is_an_error_of_every_item(count: int) -> None:
    """Nobody waits for ever for a result that is missing, nor gets that of a neighbour; the next batch is as ever."""

    async def work(items: list[int]) -> list[int]:
        return [0] * count if len(items) == 3 else items

    batcher: Batcher[int, int] = Batcher(work, 10)
    async with asyncio.timeout(10):
        results = await asyncio.gather(*(batcher.submit(n) for n in range(3)), return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results)
        assert await batcher.submit(7) == 7


async def test_a_failure_of_the_work_is_raised_for_all_and_ends_nothing() -> None:
    """After a batch that failed as a whole the next is worked on as ever."""
    fails = True

    async def work(items: list[int]) -> list[int]:
        if fails:
            raise OSError("disk")
        return items

    batcher: Batcher[int, int] = Batcher(work, 10)
    results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    fails = False
    assert await batcher.submit(3) == 3


async def test_cancelling_a_waiter_does_not_stop_work_that_has_begun() -> None:
    """A waiter that stops leaves the batch under way, and everybody else's result, as it was."""
    done: list[int] = []
    begun = asyncio.Event()

    async def work(items: list[int]) -> list[int]:
        begun.set()
        await asyncio.sleep(0)
        done.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 10)
    left, stays = batcher.submit(1), batcher.submit(2)
    await begun.wait()
    left.cancel()
    assert await stays == 2
    assert done == [1, 2]
    with pytest.raises(asyncio.CancelledError):
        await left


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    """An item whose future was cancelled in the queue costs nobody anything; all of them cancelled is no batch."""
    done: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        done.append(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 2)
    given_up = [batcher.submit(number) for number in range(5)]
    for future in given_up:
        future.cancel()
    assert await batcher.submit(5) == 5
    assert done == [[5]]


async def test_drained_returns_when_everything_is_worked_on() -> None:
    """Work handed in before and while draining is done afterwards."""
    done: list[int] = []

    async def work(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        done.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 2)
    for number in range(5):
        batcher.submit(number)
    await batcher.drained()
    assert done == list(range(5))


async def test_what_is_not_urgent_rides_with_what_is() -> None:
    """It waits for the next urgent item, in its place; alone it goes after a moment."""
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 100)
    rider = batcher.submit(1, urgent=False)
    await asyncio.sleep(0)
    assert batches == []
    assert (await batcher.submit(2), await rider) == (2, 1)
    assert batches == [[1, 2]]
    assert await batcher.submit(3, urgent=False) == 3


async def test_draining_does_not_wait_for_company() -> None:
    """A rider leaves at once when everything has to be done."""
    batcher: Batcher[int, int] = Batcher(_echo, 100)
    rider = batcher.submit(1, urgent=False)
    await batcher.drained()
    assert rider.result() == 1


async def _echo(items: list[int]) -> list[int]:
    return items


async def test_after_a_batch_it_rests_and_more_collects() -> None:
    """The first goes at once; what comes while it rests is one batch, however it came."""
    batches: list[list[int]] = []

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 100, pause=0.2)
    await batcher.submit(0)
    for number in range(1, 4):
        batcher.submit_and_log(number)
        await asyncio.sleep(0.001)
    await batcher.drained()
    assert batches == [[0], [1, 2, 3]]


async def test_it_rests_only_while_little_waits() -> None:
    """A backlog is worked on without a pause."""
    sizes: list[int] = []

    async def work(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return items

    batcher: Batcher[int, int] = Batcher(work, 8, pause=3600)
    async with asyncio.timeout(5):
        await asyncio.gather(*(batcher.submit(number) for number in range(80)))
    assert sizes == [8] * 10


async def test_a_failure_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It is not lost, and the next batch is worked on as ever."""
    done: list[int] = []

    async def work(items: list[int]) -> list[int]:
        if items == [1]:
            raise OSError("nobody foresaw this")
        done.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 1)
    batcher.submit_and_log(1)
    batcher.submit_and_log(2)
    await batcher.drained()
    assert done == [2]
    assert "nobody foresaw this" in caplog.text


async def test_what_is_handed_in_while_it_is_drained_is_worked_on_as_well() -> None:
    """Also an item nobody waits for, handed in by whoever has just had a result: its 50 ms are not waited for."""
    done: list[int] = []

    async def work(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        done.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(work, 100)

    async def complete() -> None:
        batcher.submit(await batcher.submit(1) + 1, urgent=False)

    completing = asyncio.ensure_future(complete())
    await asyncio.sleep(0)
    await batcher.drained()
    assert done == [1, 2]
    await completing
