"""A notification service, given its subscription and its handlers: the composition root they all share."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from google.protobuf.descriptor import ServiceDescriptor

from ordersys.api.notification.v1 import dead_letter_service_pb2, notification_log_pb2
from ordersys.contract.topology import Subscription, subscription
from ordersys.notification import requests
from ordersys.notification.recorder import Handler, Recorder
from ordersys.notification.service import DeadLetterService, NotificationLog
from ordersys.notification.store import Inbox, schema
from ordersys.runtime.consumer import Consumer
from ordersys.runtime.database import Database
from ordersys.runtime.dead_letters import DeadLetterQueue
from ordersys.runtime.process import run
from ordersys.runtime.server import Server
from ordersys.runtime.settings import NotificationSettings
from ordersys.runtime.upkeep import HEALTH_SECONDS, PURGE_SECONDS, every, purge
from ordersys.runtime.waiting import Grace

_log = logging.getLogger(__name__)
_NOTIFICATION_LOG = notification_log_pb2.DESCRIPTOR.services_by_name["NotificationLog"]
_DEAD_LETTER_SERVICE = dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"]


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
        recorder = Recorder(database, inbox, _by_event_type(taken, handlers))
        server = Server(address, settings)
        server.add(_NOTIFICATION_LOG, NotificationLog(database, inbox))
        dead_letters = DeadLetterQueue(settings.amqp_url, taken)
        server.add(_DEAD_LETTER_SERVICE, DeadLetterService(database, dead_letters, recorder))
        await server.start()
        stack.push_async_callback(server.stop, Grace(settings.grace_seconds))
        consumer = Consumer(settings.amqp_url, taken.queue, settings.prefetch, recorder.record)
        stack.push_async_callback(consumer.close)

        async def works() -> bool:
            return await database.probe() and consumer.live

        await stack.enter_async_context(every(HEALTH_SECONDS, lambda: server.report(works)))
        retention = settings.request_retention_hours
        await stack.enter_async_context(every(PURGE_SECONDS, partial(purge, database, requests.purge, retention)))
        _log.info("serving on %s", address)
        await stop.wait()
        _log.info("stopping: finishing the deliveries under way")


def _by_event_type(taken: Subscription, handlers: object) -> Mapping[str, Handler]:
    return {event: getattr(handlers, name) for event, name in taken.handlers.items()}
