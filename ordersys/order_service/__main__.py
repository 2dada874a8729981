"""The Order Service: keeps orders and publishes what becomes of them."""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import DESCRIPTOR
from ordersys.order_service import store
from ordersys.order_service.servicer import OrderService
from ordersys.order_service.settings import OrderSettings
from ordersys.runtime import seed_files
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.periodic import HEALTH_SECONDS, PURGE_SECONDS, every, leading, purge
from ordersys.runtime.process import run
from ordersys.runtime.rabbitmq.publisher import Publisher
from ordersys.runtime.relay import Relay
from ordersys.runtime.retention import Retention
from ordersys.runtime.rpc.server import Server
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.storage.opening import open_storage

NAME = "order-service"
STORED = Stored("order.db", store.SCHEMA)
_log = logging.getLogger(__name__)


async def serve(settings: OrderSettings, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
    """Runs the service until `stop` is set."""
    async with AsyncExitStack() as stack:
        first = partial(_seed, settings.orders_file)
        database = await open_storage(settings.database_url, settings.data_dir, STORED, first)
        stack.push_async_callback(database.close)
        # Above the database, below the server: closed in reverse, so that no call is taken that could not be committed.
        publisher = Publisher(tasks, settings.amqp_url, NAME)
        stack.push_async_callback(publisher.close)
        await stack.enter_async_context(leading(tasks, database))
        relay = Relay(tasks, database, store.OUTBOX, publisher, settings.publish_window)
        stack.push_async_callback(relay.close)
        server = Server(str(settings.order_service_address), settings)
        server.add(DESCRIPTOR.services_by_name["OrderService"], OrderService(database))
        await server.start()

        async def works() -> bool:
            """Orders are taken while the broker is away; one that refuses their events waits for a person."""
            return await database.probe() and not publisher.refusal

        stack.push_async_callback(server.stop, Grace(settings.grace_seconds))
        await stack.enter_async_context(every(tasks, "health", HEALTH_SECONDS, partial(server.report, works)))
        forget = partial(purge, database, store.purge, Retention(settings.request_retention_hours))
        await stack.enter_async_context(every(tasks, "purge", PURGE_SECONDS, forget))
        _log.info("serving on %s", settings.order_service_address)
        await stop.wait()
        _log.info("stopping: finishing the calls under way")


def _seed(path: Path, connection: Connection) -> None:
    store.seed(connection, seed_files.read(path, Order))


if __name__ == "__main__":
    run(NAME, __doc__ or "", OrderSettings, serve, STORED)
