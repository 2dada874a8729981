"""Databases filled for benchmarks: the product's own queries find in them what they would find after real orders."""

from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import samples
from benchmarks.observing import Records, Unsound, oldest_waiting, outbox, until
from benchmarks.seeding import Stored, append_events, fill
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.contract.validation import violations
from ordersys.notification_service.inbox import Inbox, schema
from ordersys.order_service import store as orders
from ordersys.product_service.store import products
from ordersys.product_service.store.tables import SCHEMA
from ordersys.runtime.storage.database import Database

STORED = Stored(orders=3, products=2)


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three orders of two products."""
    folder = tmp_path_factory.mktemp("seeded") / "databases"
    fill(folder, STORED)
    return folder


async def test_stored_orders_are_orders_of_the_contract(databases: Path) -> None:
    """Each found under its id, and valid."""
    database = await Database.open(databases / "order.db", orders.SCHEMA)
    rows = await database.read(orders.page, ListOrdersRequest(), None, 10)
    read_back = [Order.FromString(row.body) for row in rows]
    assert len({order.id for order in read_back}) == STORED.orders
    assert [await database.read(orders.get, order.id) for order in read_back] == read_back
    assert [violation for order in read_back for violation in violations(order)] == []
    await database.close()


async def test_what_they_hold_is_not_available(databases: Path) -> None:
    """The ample catalogue knows the units of stored orders as held."""
    database = await Database.open(databases / "product.db", SCHEMA)
    page = await database.read(products.page, None, 10)
    assert [(product.id, product.held) for product in page] == [(samples.product_id(0), 3), (samples.product_id(1), 6)]
    await database.close()


@pytest.mark.parametrize("consumer", ["notification-service-1", "notification-service-2"])
async def test_their_creations_are_recorded(databases: Path, consumer: str) -> None:
    """A notification for each order, its event inside."""
    database = await Database.open(databases / f"{consumer}.db", schema(consumer))
    records = await database.read(Inbox(consumer).page, ListNotificationsRequest(), 0, 10)
    assert len({record.order_id for record in records}) == STORED.orders
    assert all(record.order_id.encode() in record.event.value for record in records)
    await database.close()


def test_appended_events_wait_in_the_outbox(databases: Path) -> None:
    """The oldest is seen beside whoever uses the database."""
    append_events(databases, 5)
    with outbox(databases) as reading:
        assert oldest_waiting(reading) == 1


def test_records_that_are_not_exactly_the_accepted_orders_end_the_run(databases: Path) -> None:
    """As many are not enough: they have to be the same."""
    with closing(Records.in_files(databases)) as records:
        assert records.marks() == [3, 3]
        with pytest.raises(Unsound, match="accepted"):
            records.verify([0, 0], ["this", "that", "other"])


def test_what_does_not_happen_is_not_waited_for_forever() -> None:
    """The run ends instead."""
    with pytest.raises(Unsound, match="did not happen"):
        until(lambda: False, patience=0.01)
