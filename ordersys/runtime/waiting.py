"""Waiting for one of several futures, and answering one at most once."""

import asyncio
from typing import Any


async def first(*futures: "asyncio.Future[Any]", seconds: float | None = None) -> None:
    """Returns when one of `futures` is done, or that many seconds are over."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def resolve(future: "asyncio.Future[Any]", result: Any) -> None:
    """Sets the result of a future that has none yet."""
    if not future.done():
        future.set_result(result)
