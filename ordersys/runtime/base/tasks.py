"""Tasks that must not end before they are told to: they live in the one task group of the process.

Whatever nobody foresaw in one of them ends the group, and with it the process: a supervisor starts it again, and
nobody is left with a service that says SERVING and does nothing.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class TaskEnded(Exception):
    """A task that must not end has ended; the log has said which, and why."""


def endless(tasks: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Starts `work` as a task of `tasks`; whoever started it ends it by cancelling it.

    Should it raise, or return, one line of the log names it, with the traceback, and the group ends with TaskEnded.
    """
    return tasks.create_task(_watched(name, work), name=name)


async def _watched(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:
        _log.critical("task %r failed, the process ends", name, exc_info=error)
        # A group hands on what its tasks raise: by this class it is known as one that the log has told of.
        raise TaskEnded(name) from error
    _log.critical("task %r returned though it must not, the process ends", name)
    raise TaskEnded(name)
