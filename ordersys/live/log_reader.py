"""The log of one notification service, read on from where it was read to.

A page begins behind a record, so that nothing is read twice and no more than is new. A long log is not read from its
beginning: its end is looked for, by some forty questions for one record each.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from ordersys.api.notification.v1.notification_log_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
    Notification,
)
from ordersys.contract import pagination
from ordersys.runtime.base.ids import TRACEPARENT, traceparent

WHOLE = 20_000
"""A log with records of higher numbers is read from near its end."""
_PAST = 2_000
_PAGES = 8
"""So many pages at a time: of a log that grows faster the page says that it is not read to its end."""
CHECKED_EVERY = 10
"""At each so many readings it is looked at whether the log is the one that was read before."""
_CALL_SECONDS = 3.0
UNTRACED = ((TRACEPARENT, traceparent()),)
"""The metadata of the page's own calls: each would else begin a trace, and they would drive out those of orders."""


class LogReader:
    """One reader. A service that refuses tokens of ours is read by its own, from the beginning."""

    def __init__(self, log: Any, order_id: str = "") -> None:
        """`log` is a stub of the NotificationLog of that service."""
        self._log = log
        self._request = ListNotificationsRequest(order_id=order_id, page_size=pagination.MAXIMUM_SIZE)
        self._makes_tokens = True
        self._passed = 0
        """Records at the beginning of the next page that were read already."""
        self._has_begun = bool(order_id)
        self._first = Notification()
        """The record that was read first."""
        self._readings = 0
        self.is_another = False
        """True once it turns out to be another log at the same address, of which nothing is known."""
        self.is_whole = True
        """True where it is read from its first record on."""
        self.is_behind = True
        """True while there is more to read at once."""

    async def read(self) -> AsyncIterator[Sequence[Notification]]:
        """The records since the last call, page by page, up to a limit. Raises AioRpcError."""
        if not self._has_begun:
            await self._begin()
        self._readings += 1
        if self._readings % CHECKED_EVERY == 0 and self._makes_tokens and self._first.sequence:
            self.is_another = await self._is_another()
        if self.is_another:
            return
        for _ in range(_PAGES):
            page = await self._page()
            notifications = page.notifications[self._passed :]
            self._passed = 0
            if notifications and not self._first.sequence:
                self._first = notifications[0]
            self.is_behind = bool(page.next_page_token)
            if page.next_page_token:
                self._request.page_token = page.next_page_token
            elif not self._makes_tokens:
                self._passed = len(page.notifications)
            elif page.notifications:
                self._request.page_token = self._behind(page.notifications[-1].sequence)
            yield notifications
            if not self.is_behind:
                return

    async def _page(self) -> ListNotificationsResponse:
        page: ListNotificationsResponse = await self._log.ListNotifications(
            self._request, timeout=_CALL_SECONDS, metadata=UNTRACED
        )
        return page

    async def _is_another(self) -> bool:
        """True where the record that was read first is none of the log: its service has another database."""
        request = ListNotificationsRequest(page_size=1, page_token=self._behind(self._first.sequence - 1))
        page = await self._log.ListNotifications(request, timeout=_CALL_SECONDS, metadata=UNTRACED)
        there = page.notifications[0] if page.notifications else Notification()
        # One with a greater number stands there where the first was removed: that alone makes it no other log.
        return there.sequence <= self._first.sequence and there.event_id != self._first.event_id

    async def _begin(self) -> None:
        """Finds where to begin."""
        try:
            start = max(await self._last() - _PAST, 0) if await self._has_more(WHOLE) else 0
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            self._makes_tokens, start = False, 0
        if start:
            self._request.page_token, self.is_whole = self._behind(start), False
        self._has_begun = True

    async def _last(self) -> int:
        """The number of a record that has no more than a few behind it: numbers rise, and may have gaps."""
        low, high = WHOLE, WHOLE * 2
        while await self._has_more(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._has_more(middle) else (low, middle)
        return high

    async def _has_more(self, number: int) -> bool:
        """True where there is a record of a higher number."""
        request = ListNotificationsRequest(page_size=1, page_token=self._behind(number))
        page = await self._log.ListNotifications(request, timeout=_CALL_SECONDS, metadata=UNTRACED)
        return bool(page.notifications)

    def _behind(self, number: int) -> str:
        filters = ListNotificationsRequest(order_id=self._request.order_id)
        return pagination.token(filters, str(number))
