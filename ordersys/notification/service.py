"""The RPCs of one notification service: what it has recorded, and what it could not take."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DiscardDeadLettersRequest,
    DiscardDeadLettersResponse,
    ListDeadLettersRequest,
    ListDeadLettersResponse,
    ReplayDeadLettersRequest,
    ReplayDeadLettersResponse,
)
from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceServicer
from ordersys.api.notification.v1.notification_log_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
)
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogServicer
from ordersys.contract import pages
from ordersys.contract.errors import refuse
from ordersys.contract.requests import normalise
from ordersys.notification import requests
from ordersys.notification.letters import letter
from ordersys.notification.recorder import Recorder
from ordersys.notification.requests import Done
from ordersys.notification.store import Inbox
from ordersys.runtime.broker import BrokerUnavailable
from ordersys.runtime.database import Database
from ordersys.runtime.dead_letters import DeadLetterQueue
from ordersys.runtime.idempotency import success
from ordersys.runtime.server import Context

_log = logging.getLogger(__name__)
T = TypeVar("T")
M = TypeVar("M", bound=Message)


class NotificationLog(NotificationLogServicer):
    """ordersys.api.notification.v1.NotificationLog."""

    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._database = database
        self._inbox = inbox

    async def ListNotifications(self, request: ListNotificationsRequest, context: Context) -> ListNotificationsResponse:
        normalise(request)
        after = pages.last_key(request, int) or 0
        found = await self._database.read(self._inbox.page, request, after, pages.size(request) + 1)
        notifications, more = pages.fill(request, [(one.sequence, one) for one in found])
        return ListNotificationsResponse(notifications=notifications, next_page_token=more)


class DeadLetterService(DeadLetterServiceServicer):
    """ordersys.api.notification.v1.DeadLetterService. One call at a time: each holds the queue it looks through."""

    def __init__(self, database: Database, queue: DeadLetterQueue, recorder: Recorder) -> None:
        self._database = database
        self._queue = queue
        self._recorder = recorder
        self._in_use = asyncio.Lock()

    async def ListDeadLetters(self, request: ListDeadLettersRequest, context: Context) -> ListDeadLettersResponse:
        after = pages.last_key(request, int) or 0
        async with self._in_use:
            page = await _reached(self._queue.page(after, pages.size(request)))
        obstacles = await self._recorder.obstacles(page.deliveries)
        found = [letter(*pair) for pair in zip(page.deliveries, obstacles, strict=True)]
        more = pages.token(request, str(after + len(found))) if page.more else ""
        return ListDeadLettersResponse(dead_letters=found, next_page_token=more)

    async def ReplayDeadLetters(self, request: ReplayDeadLettersRequest, context: Context) -> ReplayDeadLettersResponse:
        return await self._once(request, self._queue.replay, ReplayDeadLettersResponse)

    async def DiscardDeadLetters(
        self, request: DiscardDeadLettersRequest, context: Context
    ) -> DiscardDeadLettersResponse:
        return await self._once(request, self._queue.discard, DiscardDeadLettersResponse)

    async def _once(self, request: Any, take_out: Callable[[Any], Awaitable[set[str]]], response_type: type[M]) -> M:
        """Does it, unless an equal request was done; one that came to no end is gone on with."""
        normalise(request)
        async with self._in_use:
            outcome = await self._database.read(requests.outcome, request)
            if outcome is None:
                gone = await _reached(take_out(frozenset(request.dead_letter_ids)))
                response: Any = response_type()
                response.dead_letter_ids.extend(one for one in request.dead_letter_ids if one in gone)
                outcome = await self._database.write(requests.remember, Done(request, success(response)))
        return outcome.unpack(response_type)


async def _reached(work: Awaitable[T]) -> T:
    """Raises Refused (BROKER_UNAVAILABLE) when the broker can't be reached."""
    try:
        return await work
    except BrokerUnavailable as error:
        _log.warning("dead letters: %s", error)
        raise refuse(ErrorReason.BROKER_UNAVAILABLE) from error
