"""`python -m tests.integration.throwing SERVICE [TASK]` runs a service of ours, and throws into one of its tasks.

Without a task it says which there are: one line of JSON, once they run.
"""

import asyncio
import json
import runpy
import sys
from collections.abc import Coroutine
from typing import Any

from ordersys.runtime.base import tasks as supervised

_SOON_SECONDS = 0.2
ERROR = "nobody foresaw this"


def _list_of(seen: "list[asyncio.Task[None]]") -> None:
    print(json.dumps({"tasks": [task.get_name() for task in seen]}), flush=True)


def _throw_into(task: "asyncio.Future[Any]") -> None:
    """Raises where the task waits: what it waits for fails, down to what is no task itself.

    In the loop's own turn no task runs, so that each waits for something, or is about to go on: then a little later.
    """
    waits_for = getattr(task, "_fut_waiter", None)
    if isinstance(waits_for, asyncio.Task):
        _throw_into(waits_for)
    elif waits_for is None or waits_for.done():
        asyncio.get_running_loop().call_later(_SOON_SECONDS / 10, _throw_into, task)
    else:
        waits_for.set_exception(RuntimeError(ERROR))


def main(service: str, victim: str | None) -> None:
    """Runs it."""
    seen: list[asyncio.Task[None]] = []
    start = supervised.endless

    def endless(tasks: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = start(tasks, name, work)
        loop = asyncio.get_running_loop()
        if not seen and victim is None:
            loop.call_later(_SOON_SECONDS, _list_of, seen)
        if name == victim:
            loop.call_later(_SOON_SECONDS, _throw_into, task)
        seen.append(task)
        return task

    supervised.endless = endless
    runpy.run_module(f"ordersys.{service}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    chosen = sys.argv[1:]
    del sys.argv[1:]
    main(chosen[0], chosen[1] if chosen[1:] else None)
