"""A request that comes to two processes at once, on one PostgreSQL: one commits while the other one reads, or writes.

There each query of a transaction sees what was committed before it began (READ COMMITTED): of two, the later one may
see an effect of the request, and the earlier one not its record. Nothing is left to luck here: the process that commits
has locked something first, and goes on when the server says that the other one waits for that.
"""

import asyncio
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection

from ordersys.api.order.v1.order_pb2 import OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import CreateProductRequest
from ordersys.order_service import store as orders
from ordersys.product_service.store import products, tables
from ordersys.runtime.base import database_url
from ordersys.runtime.base.ids import uuid7
from ordersys.runtime.storage import postgresql_database
from ordersys.runtime.storage.interface import Operation
from ordersys.runtime.storage.postgresql_database import PostgreSQLDatabase
from ordersys.runtime.storage.schema import Schema
from ordersys.runtime.storage.statements import driver_of
from tests import postgresql
from tests.integration.conftest import skip_without_postgresql

PATIENCE = 60.0  # seconds
POLL = 0.005
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
ORDER_ID = "0b0d7a3e-7b7e-4f0e-9d5a-0c8f2a6f3c11"


def creation() -> list[orders.Creation]:
    """A call that creates one order."""
    item = OrderItem(product_id="lamp", quantity=1)
    item.unit_price.currency_code = "EUR"
    item.unit_price.units = 1
    request = CreateOrderRequest(request_id=uuid7(), order_id=ORDER_ID, customer_id="c", items=[item])
    return [orders.Creation(request, "t")]


def change() -> orders.Change:
    """A change that the order it has made is not open to a second time."""
    state = OrderState.ORDER_STATE_PAID
    return orders.Change(UpdateOrderRequest(request_id=uuid7(), order_id=ORDER_ID, state=state), "t")


class Case(NamedTuple):
    """An operation that is asked for the same at two processes of a service."""

    schema: Schema
    operation: Operation
    item: Any
    table: str
    """Shows to a repeat that its request had an effect."""
    before: tuple[tuple[Operation, Any], ...] = ()
    """Operations that have to be done before."""


CASES = {
    "an order created": Case(orders.SCHEMA, orders.create, creation(), "orders"),
    "an order changed": Case(orders.SCHEMA, orders.change, change(), "orders", ((orders.create, creation()),)),
    "a product created": Case(
        tables.SCHEMA,
        products.create,
        CreateProductRequest(request_id=uuid7(), product=Product(id="lamp", name="Lamp")),
        "products",
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not postgresql.given():
        skip_without_postgresql()
    with postgresql.server(tmp_path_factory.mktemp("server") / "postgresql", "-F") as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    with postgresql.database(server, f"t{random.getrandbits(60)}") as url:
        yield url


class Ahead:
    """An operation that waits, in its transaction, until somebody else waits for what it has locked."""

    def __init__(self, operation: Operation, table: str | None = None) -> None:
        """Waits before it reads anything, `table` locked; else before it commits what it has written."""
        self.has_locked = threading.Event()
        self._operation = operation
        self._table = table

    def __call__(self, connection: Connection, items: list[Any]) -> Sequence[Any]:
        """Runs in the writer's thread."""
        if self._table:
            driver_of(connection).execute(f"LOCK TABLE {self._table} IN ACCESS EXCLUSIVE MODE")
            self._wait(connection)
            return self._operation(connection, items)
        results = self._operation(connection, items)
        self._wait(connection)
        return results

    def _wait(self, connection: Connection) -> None:
        until = time.monotonic() + PATIENCE
        # The first answer comes behind that to all that was said to the server before.
        while not driver_of(connection).execute(WAITING).fetchone()[0]:
            self.has_locked.set()
            if time.monotonic() > until:
                raise AssertionError("nobody waits for what is locked")
            time.sleep(POLL)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the other one comes."""
    monkeypatch.setattr(postgresql_database, "_ANSWER_SECONDS", PATIENCE)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_repeat_that_sees_an_effect_of_its_request_sees_its_record(url: str, case: Case) -> None:
    """It is answered as the first one, and not refused for what that has done."""
    await assert_answered_alike(url, case, Ahead(case.operation, case.table))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_repeat_that_writes_what_its_request_has_written_is_answered_by_it(url: str, case: Case) -> None:
    """It has read nothing of it, waits for the commit, and is done again then."""
    await assert_answered_alike(url, case, Ahead(case.operation))


async def assert_answered_alike(url: str, case: Case, ahead: Ahead) -> None:
    """The request is `ahead` at one process when it comes to the other one."""
    place = database_url.parse(url)
    assert place is not None
    first, second = [await PostgreSQLDatabase.open(place, case.schema) for _ in range(2)]
    try:
        for operation, item in case.before:
            await first.write(operation, item)
        earlier = first.write(ahead, case.item)
        assert await asyncio.to_thread(ahead.has_locked.wait, PATIENCE)
        later = second.write(case.operation, case.item)
        assert await later == await earlier
    finally:
        await first.close()
        await second.close()
