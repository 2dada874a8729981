"""Publishes through whatever session to RabbitMQ is open; waits while there is none."""

import asyncio
from collections.abc import Sequence

from ordersys.contract.events import EventMessage
from ordersys.runtime.broker import Session
from ordersys.runtime.messages import of_event
from ordersys.runtime.reconnect import keep_open
from ordersys.runtime.tasks import endless


class Publisher:
    """A connection for publishing only: an alarm of the broker blocks it, and nothing else."""

    def __init__(self, tasks: asyncio.TaskGroup, url: str, name: str) -> None:
        self._task = endless(tasks, "publisher", keep_open(url, f"{name} publisher", self._use))
        self._ready: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    async def publish(self, events: Sequence[EventMessage]) -> list[bool]:
        """For each event, in order, whether the broker has it for sure. One call at a time."""
        session = await asyncio.shield(self._ready)
        return await session.publish([of_event(event) for event in events])

    async def close(self) -> None:
        """Closes the connection; what is not confirmed counts as unpublished."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _use(self, session: Session) -> None:
        self._ready.set_result(session)
        try:
            await asyncio.wait([session.closed])
        finally:
            self._ready = asyncio.get_running_loop().create_future()
