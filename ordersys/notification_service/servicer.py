"""The RPCs of one notification service: what it has recorded, and what it could not take."""

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
from ordersys.contract import pagination
from ordersys.contract.normalisation import normalise
from ordersys.notification_service.dead_letters import to_dead_letter
from ordersys.notification_service.inbox import DEAD_LETTERS, Inbox
from ordersys.notification_service.recorder import Recorder
from ordersys.notification_service.removals import Removals
from ordersys.runtime.rpc.admission import Context
from ordersys.runtime.storage.interface import Storage


class NotificationLog(NotificationLogServicer):
    """ordersys.api.notification.v1.NotificationLog."""

    def __init__(self, database: Storage, inbox: Inbox) -> None:
        self._database = database
        self._inbox = inbox

    async def ListNotifications(self, request: ListNotificationsRequest, context: Context) -> ListNotificationsResponse:
        normalise(request)
        after = pagination.last_key(request, int) or 0
        # One row more than asked for: by it the page knows that there is another.
        rows = await self._database.read(self._inbox.page, request, after, pagination.size(request) + 1)
        notifications, more = pagination.fill(request, [(row.sequence, row) for row in rows])
        return ListNotificationsResponse(notifications=notifications, next_page_token=more)


class DeadLetterService(DeadLetterServiceServicer):
    """ordersys.api.notification.v1.DeadLetterService."""

    def __init__(self, database: Storage, recorder: Recorder, removals: Removals) -> None:
        self._database = database
        self._recorder = recorder
        self._removals = removals

    async def ListDeadLetters(self, request: ListDeadLettersRequest, context: Context) -> ListDeadLettersResponse:
        after = pagination.last_key(request, int) or 0
        page = await self._database.read(DEAD_LETTERS.page, after, pagination.size(request))
        obstacles = await self._recorder.obstacles([kept.delivery for kept in page.letters])
        rows = [
            (kept.sequence, to_dead_letter(kept, obstacle))
            for kept, obstacle in zip(page.letters, obstacles, strict=True)
        ]
        letters, more = pagination.fill(request, rows)
        if page.more and not more:
            more = pagination.token(request, str(rows[-1][0]))
        return ListDeadLettersResponse(dead_letters=letters, next_page_token=more)

    async def ReplayDeadLetters(self, request: ReplayDeadLettersRequest, context: Context) -> ReplayDeadLettersResponse:
        normalise(request)
        return (await self._removals.replay(request)).unpack(ReplayDeadLettersResponse)

    async def DiscardDeadLetters(
        self, request: DiscardDeadLettersRequest, context: Context
    ) -> DiscardDeadLettersResponse:
        normalise(request)
        return (await self._removals.discard(request)).unpack(DiscardDeadLettersResponse)
