"""Changes of orders, in a real database, with an Order Service that lives in the test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as Hop
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ItemQuantities, UpdateOrderRequest, UpdateOrderResponse
from ordersys.contract.times import timestamp
from ordersys.order_service import lifecycle
from ordersys.product_service.change import Changes
from ordersys.product_service.saga import Sagas
from ordersys.product_service.store import products
from ordersys.product_service.store.seeds import seed
from ordersys.product_service.store.tables import SCHEMA
from ordersys.runtime.database import Database
from ordersys.runtime.identity import uuid7
from tests.integration.api import new_id, quantities

PRICE = Money(currency_code="EUR", units=5)
LAMP = Product(id="lamp", name="Lamp", unit_price=PRICE, available=1000)


class OrderServiceDouble:
    """Keeps one order by the rules of the real one."""

    def __init__(self) -> None:
        self._answers: dict[str, Order] = {}
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

    async def get(self, order_id: str) -> Order:
        await asyncio.sleep(0)
        return self.order

    async def update(self, hop: Hop, traceparent: str) -> Order:
        await asyncio.sleep(0)
        if hop.request_id not in self._answers:
            self.order = lifecycle.change(self.order, hop, 1_790_000_000_000_000)
            self._answers[hop.request_id] = self.order
        return self._answers[hop.request_id]


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


async def test_every_change_of_a_crowd_is_answered_with_itself(database: Database, orders: OrderServiceDouble) -> None:
    """However the changes of one order meet, each answer has the items that were asked for with it."""
    changes = Changes(database, orders, Sagas(10))  # type: ignore[arg-type]
    units = iter(range(2, 402))
    versions: list[int] = []

    async def client() -> None:
        for wanted in units:
            items = ItemQuantities(items=quantities({"lamp": wanted}))
            request = UpdateOrderRequest(request_id=new_id(), order_id=orders.order.id, items=items)
            order = (await changes.make(request, "", UpdateOrderResponse)).order
            assert order.items[0].quantity == wanted
            versions.append(order.version)

    await asyncio.gather(*(client() for _ in range(8)))
    assert sorted(versions) == list(range(2, 402))
    stock = await database.read(products.get, "lamp")
    held = orders.order.items[0].quantity
    assert (stock.available, stock.held) == (1000 - held, held)
