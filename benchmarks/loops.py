"""Event loops: that of the services, and those a baseline can run on.

A baseline on another loop than ours says little about us, so that the goals hold both on the same.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ordersys.runtime.settings import ProductSettings, described

try:
    import uvloop
except ImportError:
    _FACTORIES: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    _FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

_VARIABLE = "ORDERSYS_EVENT_LOOP"
ALL = tuple(_FACTORIES)
"""Those that are installed."""


def of_services(environment: Mapping[str, str] = os.environ) -> str:
    """The loop that services of ours choose in this environment."""
    if _VARIABLE not in {setting.variable for setting in described(ProductSettings)}:
        return "asyncio"
    return environment.get(_VARIABLE, "").strip() or ALL[-1]


def run(name: str, main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` on the loop of that name."""
    with asyncio.Runner(loop_factory=_FACTORIES[name]) as runner:
        runner.run(main)
