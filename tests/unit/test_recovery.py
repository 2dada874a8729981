"""Recovery of pending sagas, and turns of changes: bounded, fair, and cut in two by nobody."""

import asyncio
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from sqlalchemy import Connection

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import refuse
from ordersys.product_service.order_client import OutcomeUnknown
from ordersys.product_service.saga_runner import SagaRunner, Turns, recover
from ordersys.product_service.store.tables import SCHEMA
from ordersys.runtime.base.ids import now, uuid7, uuid7_time
from ordersys.runtime.storage.database import Database

OLD = uuid7_time(uuid7()) - 60_000_000


def in_doubt() -> OutcomeUnknown:
    return OutcomeUnknown(refuse(ErrorReason.OUTCOME_OPEN).status)


class Saga(NamedTuple):
    """A saga without an outcome."""

    order_id: str
    saga_id: str


def begun(number: int, time: int = OLD) -> Saga:
    """The saga of one of many orders, begun at that time in microseconds since 1970."""
    return Saga(f"{number:06d}", str(UUID(int=(time // 1000) << 80 | 0x7 << 76)))


class Sea:
    """Sagas without an outcome; those named stay so whatever is done."""

    def __init__(self, sagas: list[Saga], doubtful: set[str] | None = None) -> None:
        self.left = {saga.order_id: saga for saga in sagas}
        self._doubtful = doubtful or set()
        self.portions: list[list[str]] = []

    def pending(self, _: Connection, after: str, most: int) -> list[Saga]:
        return [saga for order_id, saga in sorted(self.left.items()) if order_id > after][:most]

    async def settle(self, sagas: list[Saga]) -> list[object]:
        self.portions.append([saga.order_id for saga in sagas])
        results: list[object] = [in_doubt() if saga.order_id in self._doubtful else None for saga in sagas]
        for saga in sagas:
            if saga.order_id not in self._doubtful:
                del self.left[saga.order_id]
        return results


@pytest.fixture
async def database(tmp_path: Path) -> Database:
    """A database; what is pending is the test's."""
    return await Database.open(tmp_path / "p.db", SCHEMA)


async def test_all_are_recovered_the_oldest_first_in_portions(database: Database) -> None:
    """1,000 after an outage: never more than the Order Service finds room for beside its live traffic."""
    sea = Sea([begun(number) for number in range(1000)])
    assert await recover(database, sea.pending, "", sea.settle) == ""
    assert not sea.left
    assert max(map(len, sea.portions)) <= 100
    settled = [order_id for portion in sea.portions for order_id in portion]
    assert settled == sorted(settled)
    await database.close()


async def test_what_stays_in_doubt_for_ever_keeps_nothing_behind_it(database: Database) -> None:
    """500 that fail each time: the others are recovered all the same."""
    doubtful = {f"{number:06d}" for number in range(500)}
    sea, after = Sea([begun(number) for number in range(700)], doubtful), ""
    for _ in range(20):
        after = await recover(database, sea.pending, after, sea.settle)
    assert set(sea.left) == doubtful
    assert sum(portion[0] == "000000" for portion in sea.portions) > 1  # and those are asked again, too
    await database.close()


async def test_a_service_that_is_away_is_asked_for_one_portion_at_a_time(database: Database) -> None:
    """The first doubt ends the round: there is another soon."""
    sea = Sea([begun(number) for number in range(700)], {f"{number:06d}" for number in range(700)})
    await recover(database, sea.pending, "", sea.settle)
    assert len(sea.portions) == 1
    await database.close()


async def test_what_has_just_begun_is_left_to_its_call(database: Database) -> None:
    """It is about to be completed; one that seems to come from the future, after a clock was put back, is not."""
    young, old, future = begun(1, now()), begun(2), begun(3, now() + 3_600_000_000)
    sea = Sea([young, old, future])
    await recover(database, sea.pending, "", sea.settle)
    assert sea.portions == [[old.order_id, future.order_id]]
    await database.close()


async def test_the_end_of_recovery_cancels_no_step_a_call_shares() -> None:
    """SIGTERM cancels recovery: the client that waits for the same saga has its answer."""
    sagas, may_go_on = SagaRunner(9), asyncio.Event()

    async def step(_: int) -> str:
        await may_go_on.wait()
        return "made"

    recovering = asyncio.create_task(sagas.background(sagas.once("a", step, 1)))
    await asyncio.sleep(0)
    client = asyncio.create_task(sagas.once("a", step, 1))
    await asyncio.sleep(0)
    recovering.cancel()
    await asyncio.wait([recovering])
    may_go_on.set()
    assert await client == "made"
    await sagas.drained(10)


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
