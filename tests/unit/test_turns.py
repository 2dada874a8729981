"""Turns of changes: in order, one at a time, and nobody waits behind a doubt."""

import asyncio

import pytest

from ordersys.product_service.saga import OutcomeUnknown, in_doubt
from ordersys.product_service.turns import Turns


async def test_turns_are_taken_in_order_one_at_a_time() -> None:
    """Of each order; other orders wait for nobody."""
    turns, under_way, seen = Turns(), set[str](), list[int]()

    async def change(order_id: str, number: int) -> None:
        async with turns.turn(order_id):
            assert order_id not in under_way
            under_way.add(order_id)
            await asyncio.sleep(0)
            under_way.remove(order_id)
            if order_id == "one":
                seen.append(number)

    await asyncio.gather(*(change(order_id, number) for number in range(50) for order_id in ("one", "other")))
    assert seen == list(range(50))
    assert not turns._waiting


async def test_who_waits_behind_a_doubt_is_in_doubt_at_once() -> None:
    """The Order Service is away: each would wait for it as long again. Who comes later has a turn again."""
    turns, asked = Turns(), 0

    async def change() -> None:
        nonlocal asked
        async with turns.turn("one"):
            asked += 1
            await asyncio.sleep(0)
            raise in_doubt()

    ends = await asyncio.gather(*(change() for _ in range(300)), return_exceptions=True)
    assert {type(end) for end in ends} == {OutcomeUnknown}
    assert asked == 1
    with pytest.raises(OutcomeUnknown):
        await change()
    assert asked == 2


async def test_who_gives_up_waiting_keeps_no_turn() -> None:
    """Cancelled before its turn, and just when it came: the one behind it goes on."""
    turns, seen, may_go_on = Turns(), list[str](), asyncio.Event()

    async def change(name: str) -> None:
        async with turns.turn("one"):
            seen.append(name)
            await may_go_on.wait()

    first, second, third, fourth = [asyncio.create_task(change(name)) for name in ("1", "2", "3", "4")]
    await asyncio.sleep(0)
    second.cancel()
    may_go_on.set()
    await first
    third.cancel()
    await asyncio.wait([second, third, fourth], timeout=10)
    assert seen[0] == "1"
    assert seen[-1] == "4"
    assert not turns._waiting
