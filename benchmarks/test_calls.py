"""Latency of a call, one after the other, on the running system."""

import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

import grpc
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import samples
from benchmarks.plan import SMALL_CATALOGUE
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import ItemQuantities, ItemQuantity, UpdateOrderRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.local.system import System


@pytest.fixture(scope="module")
def products(system: System) -> Iterator[Any]:
    """A stub of the Product Service."""
    with grpc.insecure_channel(system.services["product_service"].address) as channel:
        yield ProductServiceStub(channel)


@pytest.fixture(scope="module")
def orders(system: System) -> Iterator[Any]:
    """A stub of the Order Service."""
    with grpc.insecure_channel(system.services["order_service"].address) as channel:
        yield OrderServiceStub(channel)


@pytest.fixture
def order_id(products: Any) -> str:
    """A placed order."""
    return str(products.PlaceOrder(samples.place_order(SMALL_CATALOGUE)).order.id)


def test_place_order(benchmark: BenchmarkFixture, products: Any) -> None:
    """PlaceOrder: two durable commits and a call to the Order Service."""
    assert benchmark(lambda: products.PlaceOrder(samples.place_order(SMALL_CATALOGUE))).order.version == 1


def test_update_order(benchmark: BenchmarkFixture, products: Any, order_id: str) -> None:
    """UpdateOrder: one or two units in turn, so that every call changes the order."""
    numbers = count()

    def update() -> Any:
        items = [ItemQuantity(product_id=samples.product_id(0), quantity=1 + next(numbers) % 2)]
        request = UpdateOrderRequest(request_id=str(uuid.uuid4()), order_id=order_id, items=ItemQuantities(items=items))
        return products.UpdateOrder(request)

    assert benchmark(update).order.version > 1


def test_get_order(benchmark: BenchmarkFixture, orders: Any, order_id: str) -> None:
    """GetOrder: a read."""
    assert benchmark(lambda: orders.GetOrder(GetOrderRequest(order_id=order_id))).order.id == order_id
