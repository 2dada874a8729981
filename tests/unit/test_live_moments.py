"""The page's readings of different moments are not compared with each other: nobody looks, and they lie far apart."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsResponse, Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ListProductsResponse
from ordersys.contract import pagination
from ordersys.grpc_client.peers import PEERS, variable
from ordersys.live import log_reader, sources
from ordersys.live.exposition import Metrics
from ordersys.live.reconciliation import EVEN, UNEVEN
from ordersys.live.serving import look
from ordersys.live.snapshot import Broker, Process
from ordersys.live.sources import Sources

BEGAN = 2_000_000_000


class System:
    """A system in which one product is ordered, as its services tell of it; and the page's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for peer in PEERS:
            monkeypatch.setenv(variable(peer.module), "127.0.0.1:1")
        self.now = 0.0
        self.held = 0
        self.orders: list[Order] = []
        self.notifications: list[Notification] = []
        monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: BEGAN))
        self.page: Sources = look(None).sources
        facts = self.page._facts
        facts.processes = {(s, ""): Process(s, "", "SERVING", 0) for s in self.page._places.services}
        facts.broker, facts.orders, facts.is_all = Broker("up"), [], True
        monkeypatch.setattr(self.page._client, "products", SimpleNamespace(ListProducts=self._list_products))
        log: Any = SimpleNamespace(ListNotifications=self._list_notifications)
        for consumer, number in self.page._numbers.items():
            self.page._client.logs[number] = self.page._logs[consumer]._log = log

    async def _list_products(self, *_: Any, **__: Any) -> ListProductsResponse:
        return ListProductsResponse(products=[Product(id="lamp", available=100 - self.held, held=self.held)])

    async def _list_notifications(self, request: Any, **_: Any) -> ListNotificationsResponse:
        last = pagination.last_key(request, int) or 0
        return ListNotificationsResponse(notifications=[each for each in self.notifications if each.sequence > last])

    def place(self, units: int, name: str = "a") -> None:
        """Has an order placed, and recorded by each subscriber."""
        created = Timestamp(seconds=BEGAN + 1)
        items = [OrderItem(product_id="lamp", quantity=units)]
        placed = OrderState.ORDER_STATE_PLACED
        order = Order(id=name, version=1, state=placed, items=items, create_time=created, update_time=created)
        number = len(self.notifications) + 1
        notification = Notification(sequence=number, event_id=f"{name}.1", order_id=name, version=1)
        notification.event.Pack(OrderCreated(order=order))
        self.held += units
        self.orders.append(order)
        self.notifications.append(notification)

    def begin_anew(self) -> None:
        """Has all services started with new databases, at the addresses of those before."""
        self.held = 0
        self.orders.clear()
        self.notifications.clear()

    async def read_stock(self) -> None:
        """Has the page read it."""
        await self.page._read_stock()

    async def read_logs(self) -> None:
        """Has the page read them, and the orders."""
        for consumer in self.page._logs:
            await self.page._read_log(consumer)
        self.page._facts.orders = list(self.orders)

    def verdict(self, after: float) -> str:
        """The verdict on the stock, after so many seconds in which the page looks at what it has read."""
        end = self.now + after
        while self.now < end:
            self.now += 0.5
            self.page.show_now()
        return next(check.verdict for check in self.page._facts.checks if check.subject == "stock")


@pytest.fixture
async def system(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    """One at rest."""
    system = System(monkeypatch)
    yield system
    await system.page._client.close()


@pytest.mark.parametrize("first", ["stock", "logs"])
async def test_stock_and_logs_are_compared_as_they_were_at_one_time_of_rest(system: System, first: str) -> None:
    """An order between the two readings would else be missing in one of them for ever."""
    readings = {"stock": system.read_stock, "logs": system.read_logs}
    earlier = readings.pop(first)
    (later,) = readings.values()
    await earlier()
    system.place(5)
    await later()
    system.verdict(4)
    await earlier()
    system.verdict(2)
    for _ in range(4):
        await earlier()
        await later()
        verdict = system.verdict(5)
    assert verdict == EVEN


@pytest.mark.parametrize("later", [["c"], ["c", "d", "e"]], ids=["shorter", "longer"])
async def test_a_system_with_other_databases_is_another_one(system: System, later: list[str]) -> None:
    """Its records have the numbers of those before, and nothing of the orders before is compared with it."""
    for name in ("a", "b"):
        system.place(1, name)
    await system.read_logs()
    system.begin_anew()
    for name in later:
        system.place(1, name)
    for _ in range(2 * log_reader.CHECKED_EVERY):
        await system.read_logs()
    await system.read_stock()
    ledger = system.page._facts.ledger
    assert [ledger.version(name) for name in ("a", "b", *later)] == [0, 0, *[1] * len(later)]
    system.verdict(15)
    assert all(check.verdict != UNEVEN for check in system.page._facts.checks)


def test_no_rate_is_told_across_a_restart() -> None:
    """Also where the process has served more calls since than it had in all before, of other methods."""
    before, after = {"a.B/C": 5.0}, {"a.B/C": 1.0, "a.B/D": 10.0}
    samples = [(time, Metrics(calls, None, None, None)) for time, calls in ((0.0, before), (1.0, before), (2.0, after))]
    assert list(sources._rates("order_service", samples)) == []
    (rate,) = sources._rates("order_service", samples[:2])
    assert rate.rate == 0.0
