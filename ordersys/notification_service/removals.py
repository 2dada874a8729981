"""Dead letters replayed and discarded: one request after the other, each to its end, whoever gives up its call."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DiscardDeadLettersRequest,
    DiscardDeadLettersResponse,
    ReplayDeadLettersRequest,
    ReplayDeadLettersResponse,
)
from ordersys.contract.errors import StatusError, status_error
from ordersys.contract.topology import Subscription
from ordersys.notification_service import requests
from ordersys.notification_service.inbox import DEAD_LETTERS
from ordersys.notification_service.requests import Done
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.dead_letters import Named, ReplayRoute, portions, put_back
from ordersys.runtime.idempotency import Outcome, success
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.urls import BrokerUrls
from ordersys.runtime.storage.errors import RaceLost
from ordersys.runtime.storage.interface import Storage

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT_SECONDS = 2.0  # for what is under way at SIGTERM; what is not done then, the client repeats
_MAX_UNDER_WAY = 100  # requests under way: each is small, and their callers may all have given up
Request: TypeAlias = ReplayDeadLettersRequest | DiscardDeadLettersRequest
_Gone = Callable[[Sequence[Named]], Awaitable[Collection[int]]]
"""Deals with dead letters: the sequences of those that may be removed."""


class Removals:
    """The requests that take dead letters out of the database of a subscriber."""

    def __init__(
        self, tasks: asyncio.TaskGroup, database: Storage, urls: BrokerUrls, own: Subscription, *, user: str = ""
    ) -> None:
        """`user` is that of this service where users are checked: a replay says by whom its event was published."""
        self._tasks = tasks
        self._database = database
        self._urls = urls
        self._consumer = own.consumer
        self._to = ReplayRoute(own.replay_exchange, own.queue, user)
        # Two replays of one dead letter at once would publish it twice.
        self._in_use = asyncio.Lock()
        self._under_way: set[asyncio.Task[Outcome | Exception]] = set()

    async def replay(self, request: ReplayDeadLettersRequest) -> Outcome:
        """The outcome of `request`, which is normalised: its own, or that of an equal one before it.

        Raises StatusError (BROKER_UNAVAILABLE, REQUEST_ID_REUSED, TOO_MANY_CALLS), StorageUnavailable.
        """

        def response(gone: Sequence[str]) -> Outcome:
            return success(ReplayDeadLettersResponse(dead_letter_ids=gone))

        return await self._detached(request, self._put_back, response)

    async def discard(self, request: DiscardDeadLettersRequest) -> Outcome:
        """As `replay`, but for the broker."""

        async def all_of_them(letters: Sequence[Named]) -> Collection[int]:
            return [letter.sequence for letter in letters]

        def response(gone: Sequence[str]) -> Outcome:
            return success(DiscardDeadLettersResponse(dead_letter_ids=gone))

        return await self._detached(request, all_of_them, response)

    async def drained(self) -> None:
        """Gives what nobody waits for any more a moment; else it is as if it had crashed: repeated, it is done."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_CLOSE_TIMEOUT_SECONDS)
        for task in self._under_way:
            task.cancel()

    async def _detached(self, request: Request, deal: _Gone, response: Callable[[Sequence[str]], Outcome]) -> Outcome:
        """Goes on when its caller is gone."""
        if len(self._under_way) >= _MAX_UNDER_WAY:
            raise status_error(ErrorReason.TOO_MANY_CALLS)
        task = self._tasks.create_task(self._once(request, deal, response))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # A client's deadline in the middle would leave copies in the queue and no record of the request.
        outcome = await asyncio.shield(task)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _once(
        self, request: Request, deal: _Gone, response: Callable[[Sequence[str]], Outcome]
    ) -> Outcome | Exception:
        """A task of the process must not fail: its caller, where there still is one, is told what it would raise."""
        try:
            async with self._in_use:
                while True:
                    outcome = await self._database.read(requests.outcome, request)
                    try:
                        return outcome or await self._take_out(request, deal, response)
                    except RaceLost as lost:  # what is left is fewer each time
                        _log.info("dead letters are looked for again: %s", lost)
        except StatusError as error:
            return error
        except BrokerUnavailable as error:
            _log.warning("dead letters: %s", error)
            return status_error(ErrorReason.BROKER_UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - raised again for the caller
            return error

    async def _take_out(self, request: Request, deal: _Gone, response: Callable[[Sequence[str]], Outcome]) -> Outcome:
        letters = await self._database.read(DEAD_LETTERS.named, set(request.dead_letter_ids))
        gone = await deal(letters)
        failpoint("dead_letters.dealt_with")
        there = {letter.letter_id for letter in letters}
        left = {letter.letter_id for letter in letters if letter.sequence not in gone}
        # One that is named twice counts once.
        answered = [letter_id for letter_id in dict.fromkeys(request.dead_letter_ids) if letter_id in there - left]
        done = Done(request, response(answered), gone)
        outcome = await self._database.write(requests.remember, done)
        failpoint("dead_letters.removed")
        return outcome

    async def _put_back(self, letters: Sequence[Named]) -> Collection[int]:
        gone: set[int] = set()
        for portion in portions(letters):
            sequences = [letter.sequence for letter in portion]
            copies = await self._database.read(DEAD_LETTERS.copies, sequences, self._to)
            if len(copies) < len(portion):
                raise RaceLost("another process has taken some of them out")
            reasons = await put_back(self._urls, f"{self._consumer} replay", copies)
            for letter, reason in zip(portion, reasons, strict=True):
                if reason:
                    _log.error("dead letter %s was not replayed: %s", letter.letter_id, reason)
                else:
                    gone.add(letter.sequence)
        return gone
