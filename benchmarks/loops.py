"""Event loops: that of the services, and those a baseline can run on.

A baseline on another loop than ours says little about us, so that the goals hold both on the same.
"""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from typing import Any

from ordersys.runtime.base import event_loop

ALL = ("asyncio",) if event_loop.UVLOOP is None else ("asyncio", "uvloop")
"""The installed event loops."""


def of_services(environment: Mapping[str, str] = os.environ) -> str:
    """The event loop that our services choose in this environment."""
    return event_loop.name(environment.get("ORDERSYS_EVENT_LOOP", "").strip().lower() or event_loop.AUTO)


def run(name: str, main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` on the loop of that name."""
    with asyncio.Runner(loop_factory=event_loop.factory(name)) as runner:
        runner.run(main)
