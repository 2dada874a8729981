"""Waiting for one of several futures, or until a process has to be done; answering a future at most once."""

import asyncio
from typing import Any


async def wait_first(*futures: "asyncio.Future[Any]", seconds: float | None = None) -> None:
    """Returns when one of `futures` is done, or that many seconds are over."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def resolve_once(future: "asyncio.Future[Any]", result: Any) -> None:
    """Sets the result of a future that has none yet."""
    if not future.done():
        future.set_result(result)


class Grace:
    """The time a process may take to stop: one for all of it, that begins when it is first asked how much is left."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def left(self) -> float:
        """The seconds that are left, 0 when none are."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._seconds
        return max(self._until - now, 0.0)
