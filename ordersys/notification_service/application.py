"""A notification service, given its subscription and its handlers: the composition root they all share."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from ordersys.api.notification.v1 import dead_letter_service_pb2, notification_log_pb2
from ordersys.contract.publishers import Publishers
from ordersys.contract.topology import Subscription, subscription
from ordersys.notification_service import requests
from ordersys.notification_service.inbox import DEAD_LETTERS, Inbox, schema
from ordersys.notification_service.measures import Measures
from ordersys.notification_service.recorder import Handler, Recorder
from ordersys.notification_service.removals import Removals
from ordersys.notification_service.servicer import DeadLetterService, NotificationLog
from ordersys.notification_service.settings import ANY, AUTO, NotificationSettings
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.base.settings import PREFIX, InvalidSetting
from ordersys.runtime.periodic import HEALTH_SECONDS, PURGE_SECONDS, every, leading, purge, sampled
from ordersys.runtime.process import run
from ordersys.runtime.rabbitmq.consumer import Consumer, Disposition
from ordersys.runtime.rabbitmq.messages import AmqpDelivery
from ordersys.runtime.retention import Retention
from ordersys.runtime.rpc.security import RELOAD_SECONDS, Security
from ordersys.runtime.rpc.server import Server
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.storage.interface import Storage
from ordersys.runtime.storage.opening import open_storage

_log = logging.getLogger(__name__)
_NOTIFICATION_LOG = notification_log_pb2.DESCRIPTOR.services_by_name["NotificationLog"]
_DEAD_LETTERS_AT_A_TIME = 16  # few: nothing says how large they are
_DEAD_LETTER_SERVICE = dead_letter_service_pb2.DESCRIPTOR.services_by_name["DeadLetterService"]


def run_notification_service(
    service: ServiceDescriptor,
    handlers: Mapping[type[Message], Handler],
    kind: type[NotificationSettings],
    meaning: str,
) -> None:
    """Runs the notification service whose subscription is `service` in the contract.

    `handlers` has one for each event of the subscription. `kind` declares the settings, with a field for the address of
    this very service.
    """
    own = subscription(service)
    by_type = _by_event_type(own, handlers)

    async def serve(settings: NotificationSettings, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        await _serve(service, by_type, settings, stop, tasks)

    run(own.consumer, meaning, kind, serve, _stored(own))


async def _serve(
    service: ServiceDescriptor,
    handlers: Mapping[str, Handler],
    settings: NotificationSettings,
    stop: asyncio.Event,
    tasks: asyncio.TaskGroup,
) -> None:
    own = subscription(service)
    async with AsyncExitStack() as stack:  # closed in reverse: consumers, server, removals, database
        security = Security.of(settings, service.full_name)
        await security.start()
        publishers = _publishers(own, settings, has_identity=security.certificates is not None)
        stored = _stored(own)
        database = await open_storage(settings.database_url, settings.data_dir, stored)
        stack.push_async_callback(database.close)
        await stack.enter_async_context(leading(tasks, database))
        inbox = Inbox(own.consumer)
        recorder = Recorder(database, inbox, handlers, publishers)
        user = publishers.own if publishers is not None else ""
        removals = Removals(tasks, database, settings.amqp_url, own, user=user)
        stack.push_async_callback(removals.drained)
        server = Server(str(settings.listen_address), settings, security)
        server.add(_NOTIFICATION_LOG, NotificationLog(database, inbox))
        server.add(_DEAD_LETTER_SERVICE, DeadLetterService(database, recorder, removals))
        await server.start()
        stack.push_async_callback(server.stop, Grace(settings.grace_seconds))
        # After the server: an address in use ends the process before a delivery is taken.
        consumers = _consumers(own, settings, tasks, recorder, database)
        for consumer in consumers:
            stack.push_async_callback(consumer.close)

        async def works() -> bool:
            return await database.probe() and security.works and all(consumer.works for consumer in consumers)

        await stack.enter_async_context(every(tasks, "health", HEALTH_SECONDS, lambda: server.report(works)))
        forget = partial(purge, database, requests.purge, Retention(settings.request_retention_hours))
        await stack.enter_async_context(every(tasks, "purge", PURGE_SECONDS, forget))
        await stack.enter_async_context(every(tasks, "identity", RELOAD_SECONDS, security.reload))
        look = partial(recorder.measures.look, database)
        await stack.enter_async_context(sampled(tasks, look, *(consumer.measure for consumer in consumers)))
        _log.info("serving on %s", settings.listen_address)
        security.warn()
        await stop.wait()
        _log.info("stopping: finishing the deliveries under way")


def _publishers(own: Subscription, settings: NotificationSettings, has_identity: bool) -> Publishers | None:
    """The publishers that are believed, None where whoever may publish is. Raises InvalidSetting.

    Where services share a user, each event would be a dead letter: that is better known at the start.
    """
    chosen = settings.publisher_users
    if chosen == ANY or (chosen == AUTO and not has_identity):
        return None
    for url in settings.amqp_url:
        if url.user != own.consumer:
            raise InvalidSetting(
                f"the user {url.user!r} at {url} is not {own.consumer}: to check who has published an event, each"
                " service needs a user of its name (docs/operations.md); where they share one, set"
                f" {PREFIX}PUBLISHER_USERS={ANY}"
            )
    return Publishers(own.consumer, own.replay_exchange)


def _consumers(
    own: Subscription,
    settings: NotificationSettings,
    tasks: asyncio.TaskGroup,
    recorder: Recorder,
    database: Storage,
) -> tuple[Consumer, Consumer]:
    """The consumer of the events, and that of the dead letters, each with a connection of its own."""
    leadership = database.leadership
    events = Consumer(tasks, settings.amqp_url, own.queue, settings.prefetch, recorder.take, leadership=leadership)
    dead_letters = Consumer(
        tasks,
        settings.amqp_url,
        own.dead_letter_queue,
        _DEAD_LETTERS_AT_A_TIME,
        partial(_take_over, database, recorder.measures),
        cautious=False,  # they are kept as bytes and never decoded: none can kill this process
        leadership=leadership,
    )
    return events, dead_letters


def _stored(own: Subscription) -> Stored:
    return Stored(f"{own.consumer}.db", schema(own.consumer))


async def _take_over(database: Storage, measures: Measures, deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
    """Keeps dead letters, so that they may go from their queue."""
    await database.write(DEAD_LETTERS.keep, deliveries)
    measures.dead_lettered(deliveries)
    return [Disposition.ACK] * len(deliveries)


def _by_event_type(own: Subscription, handlers: Mapping[type[Message], Handler]) -> Mapping[str, Handler]:
    """The handlers by the full names of their events. Raises ValueError unless they are those of the subscription."""
    by_type = {event.DESCRIPTOR.full_name: handler for event, handler in handlers.items()}
    if by_type.keys() != own.handlers.keys():
        raise ValueError(f"{own.consumer} needs one handler for each of {', '.join(own.handlers)}")
    return by_type
