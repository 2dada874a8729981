"""A notification service, given its subscription and its handlers: the composition root they all share."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack

from google.protobuf.descriptor import ServiceDescriptor

from ordersys.api.notification.v1.notification_log_pb2 import DESCRIPTOR
from ordersys.contract.topology import Subscription, subscription
from ordersys.notification.recorder import Handler, Recorder
from ordersys.notification.service import NotificationLog
from ordersys.notification.store import Inbox, schema
from ordersys.runtime.consumer import Consumer
from ordersys.runtime.database import Database
from ordersys.runtime.process import run
from ordersys.runtime.server import Server
from ordersys.runtime.settings import NotificationSettings
from ordersys.runtime.upkeep import HEALTH_SECONDS, every

_log = logging.getLogger(__name__)


def run_notification_service(
    service: ServiceDescriptor, handlers: object, kind: type[NotificationSettings], meaning: str
) -> None:
    """Runs the notification service whose subscription is `service` in the contract.

    `handlers` has a method for each event, named as in the subscription, that answers what a person is told.
    `kind` declares where the service listens: a field named like the consumer, with `_address` at its end.
    """
    taken = subscription(service)

    async def serve(settings: NotificationSettings, stop: asyncio.Event) -> None:
        await _serve(taken, handlers, settings, stop)

    run(taken.consumer, meaning, kind, serve)


async def _serve(taken: Subscription, handlers: object, settings: NotificationSettings, stop: asyncio.Event) -> None:
    address = getattr(settings, f"{taken.consumer.replace('-', '_')}_address")
    async with AsyncExitStack() as stack:
        path = settings.data_dir / f"{taken.consumer}.db"
        database = await Database.open(path, schema(taken.consumer))
        stack.push_async_callback(database.close)
        inbox = Inbox(taken.consumer)
        server = Server(address, settings)
        server.add(DESCRIPTOR.services_by_name["NotificationLog"], NotificationLog(database, inbox))
        await server.start()
        stack.push_async_callback(server.stop, settings.grace_seconds)
        recorder = Recorder(database, inbox, _by_event_type(taken, handlers))
        consumer = Consumer(settings.amqp_url, taken.queue, settings.prefetch, recorder.record)
        stack.push_async_callback(consumer.close)

        async def works() -> bool:
            return await database.probe() and consumer.live

        await stack.enter_async_context(every(HEALTH_SECONDS, lambda: server.report(works)))
        _log.info("serving on %s", address)
        await stop.wait()
        _log.info("stopping: finishing the deliveries under way")


def _by_event_type(taken: Subscription, handlers: object) -> Mapping[str, Handler]:
    return {event: getattr(handlers, name) for event, name in taken.handlers.items()}
