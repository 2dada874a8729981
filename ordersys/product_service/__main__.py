"""The Product Service: keeps products and stock, and is the door for orders."""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial

from sqlalchemy import Connection

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import DESCRIPTOR
from ordersys.product_service.change_order import CHANGE_ORDER, ChangeOrderSaga
from ordersys.product_service.measures import StoreMeasures
from ordersys.product_service.order_client import OrderServiceClient
from ordersys.product_service.place_order import PLACE_ORDER, PlaceOrderSaga
from ordersys.product_service.saga import Kind
from ordersys.product_service.saga_engine import SagaEngine
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.servicer import ProductService
from ordersys.product_service.settings import ProductSettings
from ordersys.product_service.store import products, seed
from ordersys.product_service.store.tables import OUTBOX, SCHEMA
from ordersys.runtime import seed_files
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.periodic import AUDIT_SECONDS, HEALTH_SECONDS, PURGE_SECONDS, every, leading, purge, sampled
from ordersys.runtime.process import run
from ordersys.runtime.rabbitmq.publisher import Publisher
from ordersys.runtime.relay import Relay
from ordersys.runtime.retention import Retention
from ordersys.runtime.rpc.security import RELOAD_SECONDS, Security
from ordersys.runtime.rpc.server import Server
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.storage.opening import open_storage

NAME = "product-service"
STORED = Stored("product.db", SCHEMA)
DESCRIPTIONS = {Kind.PLACE_ORDER: PLACE_ORDER, Kind.CHANGE_ORDER: CHANGE_ORDER}
_SERVICE = DESCRIPTOR.services_by_name["ProductService"]
_LOOK_SECONDS = 2.0  # a client that asks health is told within 15 s (docs/reliability.md)
_log = logging.getLogger(__name__)


async def serve(settings: ProductSettings, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
    """Runs the service until `stop` is set."""
    async with AsyncExitStack() as stack:
        security = Security.of(settings, _SERVICE.full_name)
        await security.start()
        first = partial(_seed, settings)
        database = await open_storage(settings.database_url, settings.data_dir, STORED, first)
        stack.push_async_callback(database.close)
        publisher = Publisher(tasks, settings.amqp_url, NAME)
        stack.push_async_callback(publisher.close)
        await stack.enter_async_context(leading(tasks, database))
        relay = Relay(tasks, database, OUTBOX, publisher, settings.publish_window, service=_SERVICE.full_name)
        stack.push_async_callback(relay.close)
        orders = OrderServiceClient(
            settings.order_service_address
            if security.certificates is None
            else settings.order_service_internal_address,
            settings.call_timeout_seconds,
            settings.database_url is not None,
            security.certificates,
        )
        stack.push_async_callback(orders.close)
        sagas = SagaRunner(settings.max_concurrent_calls)
        engine = SagaEngine(database, orders, sagas, DESCRIPTIONS)
        placement = PlaceOrderSaga(database, orders, engine, sagas)
        changes = ChangeOrderSaga(database, orders, engine, sagas)
        server = Server(str(settings.product_service_address), settings, security)
        server.add(_SERVICE, ProductService(database, engine, placement, changes))
        await server.start()

        async def works() -> bool:
            """Orders are taken while others are away; a broker that refuses, or a wrong address, waits for a person."""
            return await database.probe() and security.works and not publisher.refusal and not orders.astray

        retention = Retention(settings.request_retention_hours)
        for name, seconds, work in (
            ("health", HEALTH_SECONDS, partial(server.report, works)),
            ("who is at the Order Service's address", _LOOK_SECONDS, orders.look),
            ("purge", PURGE_SECONDS, partial(purge, database, products.purge, retention)),
            ("identity", RELOAD_SECONDS, security.reload),
            ("recovery of sagas", settings.sweep_seconds, engine.recover),
        ):
            await stack.enter_async_context(every(tasks, name, seconds, work))
        measures = StoreMeasures(database)
        await stack.enter_async_context(sampled(tasks, relay.measure, measures.look))
        await stack.enter_async_context(sampled(tasks, measures.audit, name="audit", seconds=AUDIT_SECONDS))
        # First of all when it stops: recovery goes on as long as calls and sagas may share a step of it.
        stack.push_async_callback(_drain, server, sagas, Grace(settings.grace_seconds))
        _log.info("serving on %s", settings.product_service_address)
        security.warn()
        await stop.wait()
        _log.info("stopping: finishing the calls under way")


async def _drain(server: Server, sagas: SagaRunner, grace: Grace) -> None:
    """Finishes the calls under way, and the sagas of calls that were given up, within one time for both."""
    await server.stop(grace)
    await sagas.drained(grace.left())


def _seed(settings: ProductSettings, connection: Connection) -> None:
    try:
        seed.seed(
            connection, seed_files.read(settings.products_file, Product), seed_files.read(settings.orders_file, Order)
        )
    except seed.SeedMismatch as error:
        way_out = "name orders that fit with ORDERSYS_ORDERS_FILE ([] in it means none)"
        raise seed_files.InvalidSeedFile(f"{settings.orders_file}: {error}; {way_out}") from error


if __name__ == "__main__":
    run(NAME, __doc__ or "", ProductSettings, serve, STORED)
