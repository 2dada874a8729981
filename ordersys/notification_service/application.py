"""A notification service, given its subscription and its handlers: the composition root they all share."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

from google.protobuf.descriptor import ServiceDescriptor

from ordersys.api.notification.v1 import dead_letter_service_pb2, notification_log_pb2
from ordersys.contract.topology import Subscription, subscription
from ordersys.notification_service import requests
from ordersys.notification_service.inbox import DEAD_LETTERS, Inbox, schema
from ordersys.notification_service.recorder import Handler, Recorder
from ordersys.notification_service.removals import Removals
from ordersys.notification_service.servicer import DeadLetterService, NotificationLog
from ordersys.notification_service.settings import NotificationSettings
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.periodic import HEALTH_SECONDS, PURGE_SECONDS, every, purge
from ordersys.runtime.process import run
from ordersys.runtime.rabbitmq.consumer import Consumer, Disposition
from ordersys.runtime.rabbitmq.messages import AmqpDelivery
from ordersys.runtime.retention import Retention
from ordersys.runtime.rpc.server import Server
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.storage.database import Database

_log = logging.getLogger(__name__)
_NOTIFICATION_LOG = notification_log_pb2.DESCRIPTOR.services_by_name["NotificationLog"]
_DEAD_LETTERS_AT_A_TIME = 16  # few: nothing says how large they are
_DEAD_LETTER_SERVICE = dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"]


def run_notification_service(
    service: ServiceDescriptor, handlers: object, kind: type[NotificationSettings], meaning: str
) -> None:
    """Runs the notification service whose subscription is `service` in the contract.

    `handlers` has a method for each event, named as in the subscription, that answers what a person is told.
    `kind` declares the settings, with a field for the address of this very service.
    """
    taken = subscription(service)

    async def serve(settings: NotificationSettings, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        await _serve(taken, handlers, settings, stop, tasks)

    run(taken.consumer, meaning, kind, serve, _stored(taken))


async def _serve(
    taken: Subscription,
    handlers: object,
    settings: NotificationSettings,
    stop: asyncio.Event,
    tasks: asyncio.TaskGroup,
) -> None:
    address = settings.listen_address
    async with AsyncExitStack() as stack:
        stored = _stored(taken)
        database = await Database.open(settings.data_dir / stored.file_name, stored.schema)
        stack.push_async_callback(database.close)
        inbox = Inbox(taken.consumer)
        recorder = Recorder(database, inbox, _by_event_type(taken, handlers))
        server = Server(str(address), settings)
        server.add(_NOTIFICATION_LOG, NotificationLog(database, inbox))
        removals = Removals(tasks, database, settings.amqp_url, taken)
        stack.push_async_callback(removals.drained)
        server.add(_DEAD_LETTER_SERVICE, DeadLetterService(database, recorder, removals))
        await server.start()
        stack.push_async_callback(server.stop, Grace(settings.grace_seconds))
        consumer = Consumer(tasks, settings.amqp_url, taken.queue, settings.prefetch, recorder.take)
        stack.push_async_callback(consumer.close)
        dead_letters = Consumer(
            tasks,
            settings.amqp_url,
            taken.dead_letter_queue,
            _DEAD_LETTERS_AT_A_TIME,
            partial(_take_over, database),
            cautious=False,  # they are kept as bytes, whatever they hold: none kills anybody
        )
        stack.push_async_callback(dead_letters.close)

        async def works() -> bool:
            return await database.probe() and consumer.works and dead_letters.works

        await stack.enter_async_context(every(tasks, "health", HEALTH_SECONDS, lambda: server.report(works)))
        retention = Retention(settings.request_retention_hours)
        forget = partial(purge, database, requests.purge, retention)
        await stack.enter_async_context(every(tasks, "purge", PURGE_SECONDS, forget))
        _log.info("serving on %s", address)
        await stop.wait()
        _log.info("stopping: finishing the deliveries under way")


def _stored(taken: Subscription) -> Stored:
    return Stored(f"{taken.consumer}.db", schema(taken.consumer))


async def _take_over(database: Database, deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
    """Keeps dead letters, so that they may go from their queue."""
    await database.write(DEAD_LETTERS.keep, deliveries)
    return [Disposition.ACK] * len(deliveries)


def _by_event_type(taken: Subscription, handlers: object) -> Mapping[str, Handler]:
    return {event: getattr(handlers, name) for event, name in taken.handlers.items()}
