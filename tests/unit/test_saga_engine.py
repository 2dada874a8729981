"""Recovery of pending sagas, in a real database: bounded, fair, and cut in two by nobody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money
from sqlalchemy import Connection

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse
from ordersys.contract.errors import order_not_found
from ordersys.product_service.__main__ import DESCRIPTIONS
from ordersys.product_service.saga import OrderRequest, Result, Saga, in_doubt
from ordersys.product_service.saga_engine import SagaEngine
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.store import products, sagas
from ordersys.product_service.store.seed import seed
from ordersys.product_service.store.tables import SCHEMA
from ordersys.product_service.store.transaction import Transaction
from ordersys.runtime.base.ids import now, uuid7, uuid7_time
from ordersys.runtime.idempotency import RequestIdReused
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.errors import StorageUnavailable
from tests.integration.api import new_id

OLD = uuid7_time(uuid7()) - 60_000_000
PRICE = Money(currency_code="EUR", units=5)
LAMP = Product(id="lamp", name="Lamp", unit_price=PRICE, available=1000)


class OrderServiceDouble:
    """Makes every order request; of the orders named the outcome stays unknown, those refused it refuses for good."""

    def __init__(self) -> None:
        self.doubtful: set[str] = set()
        self.refused: set[str] = set()
        self.asked: list[list[str]] = []
        """The orders each call asked for."""
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def create(self, requests: Sequence[CreateOrderRequest]) -> list[Result]:
        self.asked.append([request.order_id for request in requests])
        self.was_asked.set()
        await self.may_answer.wait()
        return [self._result(request.order_id) for request in requests]

    async def update(self, request: UpdateOrderRequest, traceparent: str) -> bytes:
        self.asked.append([request.order_id])
        await self.may_answer.wait()
        result = self._result(request.order_id)
        if isinstance(result, Exception):
            raise result
        return result

    async def find(self, order_id: str, parent: str) -> Order | None:
        return None

    def _result(self, order_id: str) -> bytes | Exception:
        if order_id in self.doubtful:
            return in_doubt()
        if order_id in self.refused:
            return order_not_found(order_id)
        return PlaceOrderResponse(order=Order(id=order_id)).SerializeToString()


def saga(number: int, time: int = OLD, kind: type[OrderRequest] = CreateOrderRequest) -> Saga:
    """The saga of one of many orders, of a lamp, begun at that time in microseconds since 1970."""
    saga_id = str(UUID(int=(time // 1000) << 80 | 0x7 << 76 | number))
    request = kind(order_id=f"{number:06d}", request_id=saga_id)
    items = request.items if isinstance(request, CreateOrderRequest) else request.items.items
    items.add(product_id="lamp", quantity=1, unit_price=PRICE)
    return Saga(new_id(), request, {"lamp": 1}, "")


def begin(connection: Connection, begun: list[Saga]) -> list[None]:
    """An operation: sagas a process before this one has left."""
    transaction = Transaction(connection, product_ids=["lamp"])
    for each in begun:
        transaction.begin(each, bytes(16))
    transaction.write()
    return [None] * len(begun)


@pytest.fixture
def orders() -> OrderServiceDouble:
    """The Order Service."""
    return OrderServiceDouble()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A database with 1,000 lamps."""
    opened = await Database.open(tmp_path / "p.db", SCHEMA, lambda connection: seed(connection, [LAMP], []))
    yield opened
    await opened.close()


@pytest.fixture
def runner() -> SagaRunner:
    """The runner of sagas."""
    return SagaRunner(9)


@pytest.fixture
def engine(database: Database, orders: OrderServiceDouble, runner: SagaRunner) -> SagaEngine:
    """The saga engine."""
    return SagaEngine(database, orders, runner, DESCRIPTIONS)  # type: ignore[arg-type]


async def pending(database: Database) -> list[str]:
    """The orders whose saga is pending, once what was written before is committed."""
    await database.write(lambda _, items: [None] * len(items), None)
    return [each.order_id for each in await database.read(sagas.pending, "", 10_000)]


async def test_all_are_recovered_the_oldest_first_in_portions(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble
) -> None:
    """1,000 after an outage: never more than the Order Service finds room for beside its live traffic."""
    await database.write_each(begin, [saga(number) for number in range(1000)])
    await engine.recover()
    assert await pending(database) == []
    assert max(map(len, orders.asked)) <= 100
    asked = [order_id for portion in orders.asked for order_id in portion]
    assert asked == sorted(asked)
    product = await database.read(products.get, "lamp")
    assert (product.available, product.held) == (0, 1000)


async def test_sagas_of_both_kinds_are_recovered(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble
) -> None:
    """Placements share a call, each change has its own; what is refused for good gives its stock back."""
    kinds = [CreateOrderRequest, UpdateOrderRequest]
    await database.write_each(begin, [saga(number, kind=kinds[number % 2]) for number in range(20)])
    orders.refused = {f"{number:06d}" for number in range(8)}
    await engine.recover()
    assert await pending(database) == []
    assert sorted(map(len, orders.asked)) == [1] * 10 + [10]
    product = await database.read(products.get, "lamp")
    assert (product.available, product.held) == (988, 12)


@pytest.fixture(params=[CreateOrderRequest, UpdateOrderRequest])
async def began(database: Database, request: pytest.FixtureRequest) -> Saga:
    """A saga of either kind that is pending."""
    (began,) = begun = [saga(0, kind=request.param)]
    await database.write_each(begin, begun)
    return began


@pytest.mark.parametrize("is_doubtful", [False, True], ids=["made", "in doubt"])
async def test_an_id_whose_request_may_have_had_its_effect_is_used_for_good(
    engine: SagaEngine, orders: OrderServiceDouble, began: Saga, is_doubtful: bool
) -> None:
    """From the word of the Order Service on, which is asked once, and not from the commit of it, which may be later."""
    orders.doubtful = {began.order_id} if is_doubtful else set()
    ask = AsyncMock(side_effect=RequestIdReused(Status()))
    with pytest.raises(RequestIdReused):
        await engine.ask(began.request_id, ask)
    assert (ask.await_count, orders.asked) == (1, [[began.order_id]])


async def test_an_id_whose_request_was_refused_is_free(
    engine: SagaEngine, orders: OrderServiceDouble, began: Saga
) -> None:
    """The other request is asked for again, and the Order Service about the first no more."""
    orders.refused = {began.order_id}
    ask = AsyncMock(side_effect=[RequestIdReused(Status()), "done"])
    assert await engine.ask(began.request_id, ask) == "done"
    assert orders.asked == [[began.order_id]]


async def test_what_stays_in_doubt_for_ever_keeps_nothing_behind_it(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble
) -> None:
    """500 that fail each time: the others are recovered all the same, and those are asked for again, too."""
    await database.write_each(begin, [saga(number) for number in range(700)])
    orders.doubtful = {f"{number:06d}" for number in range(500)}
    for _ in range(20):
        await engine.recover()
    assert set(await pending(database)) == orders.doubtful
    assert sum(portion[0] == "000000" for portion in orders.asked) > 1


async def test_one_doubt_holds_up_no_others(database: Database, engine: SagaEngine, orders: OrderServiceDouble) -> None:
    """A change in doubt in each portion: one round recovers all the rest."""
    kinds = [UpdateOrderRequest, *[CreateOrderRequest] * 99]
    await database.write_each(begin, [saga(number, kind=kinds[number % 100]) for number in range(500)])
    orders.doubtful = {f"{number:06d}" for number in range(0, 500, 100)}
    await engine.recover()
    assert set(await pending(database)) == orders.doubtful


async def test_a_full_disk_ends_the_round_with_one_line(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing comes to its end while nothing can be stored: not every saga is asked for, and told of, again."""
    await database.write_each(begin, [saga(number, kind=UpdateOrderRequest) for number in range(300)])

    async def full(operation: object, items: Sequence[object], urgent: bool = True) -> list[Exception]:
        return [StorageUnavailable("no space left") for _ in items]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "write_each", full)
        await engine.recover()
    assert len(orders.asked) == 100
    assert len([record for record in caplog.records if record.name.endswith("saga_engine")]) == 1
    assert len(await pending(database)) == 300


async def test_a_service_that_is_away_is_asked_for_one_portion_at_a_time(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble
) -> None:
    """A portion that is all in doubt ends the round: there is another soon."""
    await database.write_each(begin, [saga(number) for number in range(700)])
    orders.doubtful = {f"{number:06d}" for number in range(700)}
    await engine.recover()
    assert len(orders.asked) == 1


async def test_what_has_just_begun_is_left_to_its_call(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble
) -> None:
    """It is about to be completed; one that seems to come from the future, after a clock was put back, is not."""
    young, old, future = saga(1, now()), saga(2), saga(3, now() + 3_600_000_000)
    await database.write_each(begin, [young, old, future])
    await engine.recover()
    assert orders.asked == [[old.order_id, future.order_id]]


async def test_the_end_of_recovery_cancels_no_step_a_call_shares(
    database: Database, engine: SagaEngine, orders: OrderServiceDouble, runner: SagaRunner
) -> None:
    """SIGTERM cancels recovery: the client that waits for the same saga has its answer."""
    begun = saga(1)
    await database.write_each(begin, [begun])
    orders.may_answer.clear()
    recovering = asyncio.create_task(engine.recover())
    await asyncio.wait_for(orders.was_asked.wait(), 30)
    client = asyncio.create_task(engine.settle_one(begun))
    await asyncio.sleep(0)
    recovering.cancel()
    await asyncio.wait([recovering])
    orders.may_answer.set()
    assert PlaceOrderResponse.FromString(await client).order.id == begun.order_id
    await runner.drained(10)
    assert len(orders.asked) == 1


async def test_a_late_reply_ends_nothing_twice(database: Database) -> None:
    """Settled twice, as after a lost reply: the second finds no saga, or another one of the order, and does nothing."""
    first, second = saga(1), saga(1, OLD + 1_000_000, UpdateOrderRequest)
    response = PlaceOrderResponse(order=Order(id=first.order_id)).SerializeToString()
    await database.write(begin, first)
    await database.write_each(sagas.settle, [sagas.Settled(first, response)] * 2)
    await database.write(begin, second)
    late = [sagas.Settled(first, response), sagas.Settled(first, order_not_found(first.order_id))]
    assert await database.write_each(sagas.settle, late) == [None, None]
    assert await pending(database) == [second.order_id]
    product = await database.read(products.get, "lamp")
    assert (product.available, product.held) == (998, 2)
