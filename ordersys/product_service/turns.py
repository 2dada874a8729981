"""Turns: the changes of one order go one at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ordersys.product_service.saga import OutcomeUnknown


class Turns:
    """Lets the changes of one order go one at a time, in the order they came.

    Without it a crowd of changes would read the order, all but one of them lose the race for its version and read
    again: a quadratic number of calls. Where one is left in doubt those waiting behind it are as well: the Order
    Service is away, and each would wait for it as long again.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, order_id: str) -> AsyncIterator[None]:
        """Waits until it is the caller's turn. Raises OutcomeUnknown when a change before it was left in doubt."""
        await self._come(order_id)
        try:
            yield
        except OutcomeUnknown as error:
            self._give_up(order_id, error)
            raise
        finally:
            self._go(order_id)

    async def _come(self, order_id: str) -> None:
        if order_id not in self._waiting:
            self._waiting[order_id] = deque()  # being there is the turn itself
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[order_id].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._go(order_id)  # it was this one's turn already
            raise

    def _go(self, order_id: str) -> None:
        """Gives the turn to the next one that still waits."""
        waiting = self._waiting[order_id]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[order_id]

    def _give_up(self, order_id: str, error: OutcomeUnknown) -> None:
        waiting = self._waiting[order_id]
        for turn in waiting:
            if not turn.done():
                # One of its own for each: an exception that many raise collects the tracebacks of all.
                turn.set_exception(OutcomeUnknown(error.status))
        waiting.clear()
