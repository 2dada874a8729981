"""Changes of orders, in a real database, with an Order Service that lives in the test."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import OrderItems
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as OrderUpdate
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ItemQuantities, UpdateOrderRequest, UpdateOrderResponse
from ordersys.contract.access import TRUSTED
from ordersys.contract.times import timestamp
from ordersys.order_service import lifecycle
from ordersys.product_service.__main__ import DESCRIPTIONS
from ordersys.product_service.change_order import ChangeOrderSaga
from ordersys.product_service.saga_engine import SagaEngine
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.store import products
from ordersys.product_service.store.seed import seed
from ordersys.product_service.store.tables import SCHEMA
from ordersys.runtime.base.ids import uuid7
from ordersys.runtime.storage.database import Database
from tests.integration.api import new_id, quantities

PRICE = Money(currency_code="EUR", units=5)
LAMP = Product(id="lamp", name="Lamp", unit_price=PRICE, available=1000)


class OrderServiceDouble:
    """Keeps one order by the rules of the real one."""

    def __init__(self) -> None:
        self._answers: dict[str, Order] = {}
        self.reads = 0
        self.others = 0
        """The number of times somebody else changes the order as soon as it was read."""
        time = timestamp(1_790_000_000_000_000)
        self.order = Order(
            id=uuid7(),
            customer_id="anna",
            items=[OrderItem(product_id="lamp", quantity=1, unit_price=PRICE)],
            total=PRICE,
            state=OrderState.ORDER_STATE_PLACED,
            version=1,
            create_time=time,
            update_time=time,
        )

    async def get(self, order_id: str, parent: str) -> Order:
        self.reads += 1
        read = self.order
        if self.others:
            self.others -= 1
            items = OrderItems(items=[OrderItem(product_id="lamp", quantity=1 + self.others % 2, unit_price=PRICE)])
            self.order = lifecycle.change(read, OrderUpdate(order_id=order_id, items=items), 1_790_000_000_000_000)
        await asyncio.sleep(0)
        return read

    async def update(self, update: OrderUpdate, traceparent: str) -> bytes:
        await asyncio.sleep(0)
        if update.request_id not in self._answers:
            self.order = lifecycle.change(self.order, update, 1_790_000_000_000_000)
            self._answers[update.request_id] = self.order
        return UpdateOrderResponse(order=self._answers[update.request_id]).SerializeToString()


@pytest.fixture
def orders() -> OrderServiceDouble:
    """An Order Service with one order."""
    return OrderServiceDouble()


@pytest.fixture
async def database(tmp_path: Path, orders: OrderServiceDouble) -> AsyncIterator[Database]:
    """The Product Service's database, holding the stock of that order."""
    opened = await Database.open(tmp_path / "p.db", SCHEMA, lambda connection: seed(connection, [LAMP], [orders.order]))
    yield opened
    await opened.close()


def saga(database: Database, orders: OrderServiceDouble) -> ChangeOrderSaga:
    """Changes of orders, for 300 clients at once."""
    runner = SagaRunner(300)
    engine = SagaEngine(database, orders, runner, DESCRIPTIONS)  # type: ignore[arg-type]
    return ChangeOrderSaga(database, orders, engine, runner)  # type: ignore[arg-type]


async def crowd(changes: ChangeOrderSaga, order_id: str, units: Iterable[int]) -> list[Order]:
    """The answers to as many clients as there are units, all at once."""

    async def change(wanted: int) -> Order:
        items = ItemQuantities(items=quantities({"lamp": wanted}))
        request = UpdateOrderRequest(request_id=new_id(), order_id=order_id, items=items)
        order = UpdateOrderResponse.FromString(await changes.change(request, TRUSTED, "")).order
        assert order.items[0].quantity == wanted
        return order

    return await asyncio.gather(*map(change, units))


@pytest.mark.parametrize("clients", [8, 300])
async def test_every_change_of_a_crowd_is_answered_with_itself(
    database: Database, orders: OrderServiceDouble, clients: int
) -> None:
    """However many change one order at once, each has its own answer, and the Order Service is read once for each."""
    changes = saga(database, orders)
    answers = await crowd(changes, orders.order.id, range(2, 2 + clients))
    assert sorted(order.version for order in answers) == list(range(2, 2 + clients))
    assert orders.reads == clients
    stock = await database.read(products.get, "lamp")
    held = orders.order.items[0].quantity
    assert (stock.available, stock.held) == (1000 - held, held)


async def test_a_crowd_holds_its_own_against_who_asks_the_order_service_himself(
    database: Database, orders: OrderServiceDouble
) -> None:
    """The order changes between reading and asking: it is read again, and each change is made in the end."""
    changes = saga(database, orders)
    orders.others = 30
    answers = await crowd(changes, orders.order.id, range(2, 42))
    assert sorted(order.items[0].quantity for order in answers) == list(range(2, 42))
    assert orders.others == 0
