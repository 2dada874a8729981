"""The Order Service: keeps orders and publishes what becomes of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
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
from ordersys.runtime.periodic import HEALTH_SECONDS, PURGE_SECONDS, every, leading, purge, sampled
from ordersys.runtime.process import run
from ordersys.runtime.rabbitmq.publisher import Publisher
from ordersys.runtime.relay import Relay
from ordersys.runtime.retention import Retention
from ordersys.runtime.rpc.security import RELOAD_SECONDS, Security
from ordersys.runtime.rpc.server import Server
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.storage.opening import open_storage

NAME = "order-service"
STORED = Stored("order.db", store.SCHEMA)
_SERVICE = DESCRIPTOR.services_by_name["OrderService"]
_log = logging.getLogger(__name__)


async def serve(settings: OrderSettings, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
    """Runs the service until `stop` is set."""
    async with AsyncExitStack() as stack:
        security = Security.of(settings, _SERVICE.full_name)
        await security.start()
        first = partial(_seed, settings.orders_file)
        database = await open_storage(settings.database_url, settings.data_dir, STORED, first)
        stack.push_async_callback(database.close)
        # Above the database, below the server: closed in reverse, so that no call is taken that could not be committed.
        publisher = Publisher(tasks, settings.amqp_url, NAME)
        stack.push_async_callback(publisher.close)
        await stack.enter_async_context(leading(tasks, database))
        relay = Relay(tasks, database, store.OUTBOX, publisher, settings.publish_window, service=_SERVICE.full_name)
        stack.push_async_callback(relay.close)
        server = Server(str(settings.order_service_address), settings, security)
        servers = [server]
        if security.certificates is not None:
            # By itself: no flood of clients takes the places of the Product Service.
            servers.append(Server(str(settings.order_service_internal_address), settings, security, of_services=True))
        for each in servers:
            each.add(_SERVICE, OrderService(database))
            await each.start()

        async def works() -> bool:
            """Orders are taken while the broker is away; one that refuses their events waits for a person."""
            return await database.probe() and security.works and not publisher.refusal

        stack.push_async_callback(_stop, servers, Grace(settings.grace_seconds))
        await stack.enter_async_context(every(tasks, "health", HEALTH_SECONDS, partial(_report, servers, works)))
        await stack.enter_async_context(every(tasks, "identity", RELOAD_SECONDS, security.reload))
        forget = partial(purge, database, store.purge, Retention(settings.request_retention_hours))
        await stack.enter_async_context(every(tasks, "purge", PURGE_SECONDS, forget))
        await stack.enter_async_context(sampled(tasks, relay.measure))
        _log.info("serving on %s", " and ".join(each.address for each in servers))
        security.warn()
        await stop.wait()
        _log.info("stopping: finishing the calls under way")


async def _report(servers: Sequence[Server], works: Callable[[], Awaitable[bool]]) -> None:
    serving = await works()
    for server in servers:
        await server.healthy(serving)


async def _stop(servers: Sequence[Server], grace: Grace) -> None:
    await asyncio.gather(*(server.stop(grace) for server in servers))


def _seed(path: Path, connection: Connection) -> None:
    store.seed(connection, seed_files.read(path, Order))


if __name__ == "__main__":
    run(NAME, __doc__ or "", OrderSettings, serve, STORED)
