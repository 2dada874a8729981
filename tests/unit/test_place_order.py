"""Placements, in a real database, with an Order Service that lives in the test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from google.type.money_pb2 import Money
from sqlalchemy import Connection, delete

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as OrderUpdate
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, PlaceOrderRequest, PlaceOrderResponse
from ordersys.contract.errors import StatusError, order_already_exists, reason_of, status_error
from ordersys.order_service import lifecycle
from ordersys.product_service.__main__ import DESCRIPTIONS
from ordersys.product_service.place_order import PlaceOrderSaga
from ordersys.product_service.saga import OutcomeUnknown, Saga
from ordersys.product_service.saga_engine import SagaEngine
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.store import products
from ordersys.product_service.store import sagas as store
from ordersys.product_service.store.seed import seed
from ordersys.product_service.store.tables import SAGAS, SCHEMA
from ordersys.product_service.store.transaction import Transaction
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.errors import StorageUnavailable
from ordersys.runtime.tracing.contexts import new_root
from tests.integration.api import new_id, quantities

SECONDS = 60
NOW = 1_790_000_000_000_000
PRICE = Money(currency_code="EUR", units=5)
LAMP = Product(id="lamp", name="Lamp", unit_price=PRICE, available=100)


class OrderServiceDouble:
    """Keeps orders by the rules of the real one; forgets every request_id at once."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.lost = False
        """True when replies are lost."""

    async def create(self, requests: Sequence[CreateOrderRequest]) -> list[bytes | Exception]:
        return [self._created(request) for request in requests]

    def _created(self, request: CreateOrderRequest) -> bytes | Exception:
        exists = request.order_id in self.orders
        if not exists:
            self.orders[request.order_id] = lifecycle.place(request, NOW)
        if self.lost:
            return OutcomeUnknown(status_error(ErrorReason.OUTCOME_OPEN).status)
        return order_already_exists(request.order_id) if exists else response(self.orders[request.order_id])

    async def find(self, order_id: str, parent: str) -> Order | None:
        return self.orders.get(order_id)


@pytest.fixture
def orders() -> OrderServiceDouble:
    """An Order Service without orders."""
    return OrderServiceDouble()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """The Product Service's database, with 100 lamps."""
    opened = await Database.open(tmp_path / "p.db", SCHEMA, lambda connection: seed(connection, [LAMP], []))
    yield opened
    await opened.close()


@pytest.fixture
def sagas() -> SagaRunner:
    """The runner of sagas."""
    return SagaRunner(300)


@pytest.fixture
def engine(database: Database, orders: OrderServiceDouble, sagas: SagaRunner) -> SagaEngine:
    """The saga engine."""
    return SagaEngine(database, orders, sagas, DESCRIPTIONS)  # type: ignore[arg-type]


@pytest.fixture
def placement(database: Database, orders: OrderServiceDouble, engine: SagaEngine, sagas: SagaRunner) -> PlaceOrderSaga:
    """The placements."""
    return PlaceOrderSaga(database, orders, engine, sagas)  # type: ignore[arg-type]


def response(order: Order) -> bytes:
    return PlaceOrderResponse(order=order).SerializeToString()


def placing(units: int = 4) -> PlaceOrderRequest:
    return PlaceOrderRequest(request_id=new_id(), customer_id="anna", items=quantities({"lamp": units}))


async def stock(database: Database) -> tuple[int, int]:
    product = await database.read(products.get, "lamp")
    return product.available, product.held


def forget_placements(connection: Connection, _: list[Any]) -> list[None]:
    """An operation: what an earlier release did when an order was cancelled before its placement was completed."""
    connection.execute(delete(SAGAS))
    return [None]


def begin_change(connection: Connection, order_ids: list[str]) -> list[None]:
    """An operation: a change of an order is pending."""
    transaction = Transaction(connection)
    for order_id in order_ids:
        change = OrderUpdate(order_id=order_id, request_id=new_id(), state=OrderState.ORDER_STATE_PAID)
        transaction.begin(Saga(new_id(), change, {}, ""), bytes(16))
    transaction.write()
    return [None] * len(order_ids)


async def test_an_open_request_is_not_answered_with_a_change_of_its_order(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga
) -> None:
    """A database of an earlier release: its placement is gone, and a change of the order is pending."""
    request = placing()
    orders.lost = True
    await placement.place([request], "")
    await database.write(forget_placements, None)
    (order,) = orders.orders.values()
    await database.write(begin_change, order.id)
    assert await placement.place([request], "") == [response(order)]
    assert [saga.order_id for saga in await database.read(store.pending, "", 9)] == [order.id]


async def test_an_open_request_whose_placement_is_gone_is_answered(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga
) -> None:
    """A database of an earlier release: with its order as it was created; its neighbours in the call are answered."""
    request = placing()
    orders.lost = True
    (open_,) = await placement.place([request], "")
    assert isinstance(open_, OutcomeUnknown)
    await database.write(forget_placements, None)
    orders.lost = False
    (order,) = orders.orders.values()
    first = Order()
    first.CopyFrom(order)
    cancelled = lifecycle.change(order, OrderUpdate(state=OrderState.ORDER_STATE_CANCELLED), NOW + 1)
    orders.orders[order.id] = cancelled
    answers = await placement.place([placing(1), request, placing(1)], "")
    assert answers[1] == response(first)
    assert [isinstance(answer, bytes) for answer in answers] == [True] * 3
    assert await placement.place([request], "") == [response(first)]


async def test_a_look_up_belongs_to_its_own_saga_in_a_group_of_others(
    orders: OrderServiceDouble, placement: PlaceOrderSaga, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the trace of the client whose call had the group depart."""
    request, own, strangers = placing(1), new_root(), new_root()
    orders.lost = True
    await placement.place([request], own)
    orders.lost = False
    find, looked_up = orders.find, list[str]()

    async def find_for(order_id: str, parent: str) -> Order | None:
        looked_up.append(parent)
        return await find(order_id, parent)

    monkeypatch.setattr(orders, "find", find_for)
    await asyncio.gather(placement.place([placing(1)], strangers), placement.place([request], own))
    assert looked_up == [own]


@pytest.mark.parametrize("gone", [False, True], ids=["refused", "gone"])
async def test_orders_that_are_looked_up_are_looked_up_at_once(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga, gone: bool
) -> None:
    """A group of slow look-ups takes as long as one of them: none is answered before all were asked for."""
    requests = [placing(1) for _ in range(3)]
    orders.lost = True
    await placement.place(requests, "")
    orders.lost = False
    if gone:
        await database.write(forget_placements, None)
    all_asked, find = asyncio.Barrier(len(requests)), orders.find

    async def find_together(order_id: str, parent: str) -> Order | None:
        async with asyncio.timeout(SECONDS):
            await all_asked.wait()
        return await find(order_id, parent)

    orders.find = find_together  # type: ignore[method-assign]
    assert [type(answer) for answer in await placement.place(requests, "")] == [bytes] * 3


async def test_somebody_elses_order_under_the_id_is_a_refusal(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga
) -> None:
    """It can't be, but if it is: the stock is released, and the refusal passed on."""
    request = placing()
    orders.lost = True
    await placement.place([request], "")
    orders.lost = False
    (order_id,) = orders.orders
    orders.orders[order_id].customer_id = "somebody-else"
    (refused,) = await placement.place([request], "")
    assert isinstance(refused, StatusError)
    assert not isinstance(refused, OutcomeUnknown)
    assert await stock(database) == (100, 0)


async def test_who_waits_for_a_placement_in_doubt_is_in_doubt(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga, engine: SagaEngine
) -> None:
    """OutcomeUnknown, as of any saga: the changes that wait their turn behind it are told so at once."""
    orders.lost = True
    await placement.place([placing()], "")
    (pending,) = await database.read(store.pending, "", 9)
    with pytest.raises(OutcomeUnknown):
        await engine.settle_one(pending)
    orders.lost = False
    await engine.settle_one(pending)


async def test_an_id_that_is_taken_by_an_order_nobody_finds_is_in_doubt(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga
) -> None:
    """There and not there, as of a copy that lags behind: nothing is released."""
    request = placing()
    orders.lost = True
    await placement.place([request], "")
    orders.lost = False
    real, orders.find = orders.find, _nothing  # type: ignore[method-assign, assignment]
    (open_,) = await placement.place([request], "")
    assert isinstance(open_, OutcomeUnknown)
    assert await stock(database) == (96, 4)
    orders.find = real  # type: ignore[method-assign]
    assert isinstance((await placement.place([request], ""))[0], bytes)
    assert await stock(database) == (96, 4)


async def test_a_stranger_who_gives_up_leaves_nobody_waiting(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga, engine: SagaEngine
) -> None:
    """His request has the id of one in doubt, asks about it, and is cancelled: who repeats it, and his group, go on."""
    request = placing(1)
    orders.lost = True
    await placement.place([request], "")
    orders.lost = False
    was_asked, may_answer, create = asyncio.Event(), asyncio.Event(), orders.create

    async def create_slowly(requests: Sequence[CreateOrderRequest]) -> list[bytes | Exception]:
        was_asked.set()
        await may_answer.wait()
        return await create(requests)

    orders.create = create_slowly  # type: ignore[method-assign]
    under_its_id = AdjustStockRequest(request_id=request.request_id, product_id="lamp", delta=1)
    stranger = asyncio.ensure_future(
        engine.ask(request.request_id, lambda: database.write(products.adjust_stock, under_its_id))
    )
    await asyncio.wait_for(was_asked.wait(), SECONDS)
    was_asked.clear()
    group = asyncio.ensure_future(placement.place([request, placing(1)], ""))
    await asyncio.wait_for(was_asked.wait(), SECONDS)  # for the other one alone: it shares the answer to the first
    stranger.cancel()
    await asyncio.wait([stranger])
    may_answer.set()
    assert [type(answer) for answer in await asyncio.wait_for(group, SECONDS)] == [bytes] * 2


async def test_a_group_waits_for_no_answer_that_others_have_asked_for(
    database: Database, orders: OrderServiceDouble, placement: PlaceOrderSaga
) -> None:
    """A repeat of what is under way shares its answer, however late; whoever came with it has his own at once."""
    request, asked, may_answer, create = placing(1), asyncio.Event(), asyncio.Event(), orders.create

    async def create_late(requests: Sequence[CreateOrderRequest]) -> list[bytes | Exception]:
        orders.create = create  # type: ignore[method-assign]
        asked.set()
        await may_answer.wait()
        return await create(requests)

    orders.create = create_late  # type: ignore[method-assign]
    first = asyncio.ensure_future(placement.place([request], ""))
    await asyncio.wait_for(asked.wait(), SECONDS)
    repeat, other = (asyncio.ensure_future(placement.place([each], "")) for each in (request, placing(2)))
    ((placed,),) = [await asyncio.wait_for(other, 5)]
    assert isinstance(placed, bytes)
    assert not repeat.done()
    may_answer.set()
    assert await repeat == await first
    assert len(orders.orders) == 2


async def test_an_order_whose_request_id_cannot_be_looked_up_fails_no_other_of_its_batch(
    database: Database, placement: PlaceOrderSaga, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reader can open the file, and writes go on: it alone is to be repeated."""
    request = placing(1)
    await placement.place([request], "")
    another = placing(2)
    another.request_id = request.request_id
    monkeypatch.setattr(database, "read", AsyncMock(side_effect=StorageUnavailable("too many open files")))
    placed, refused = await placement.place([placing(1), another], "")
    assert isinstance(placed, bytes)
    assert isinstance(refused, StatusError)
    assert reason_of(refused.status) == "STORAGE_UNAVAILABLE"


async def _nothing(*_: str) -> None:
    return None
