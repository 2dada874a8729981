"""The event loop of a process: uvloop where it is installed, else asyncio's own, or as set.

uvloop does the same in C, with less processor time (docs/performance.md, "What was worth it").
It is a dependency on the systems that it is published for; nothing else here knows of it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

UVLOOP: Callable[[], asyncio.AbstractEventLoop] | None = None
# Left out on systems without a build of it; it saves 7 % of an order (docs/performance.md, "What was worth it").
with suppress(ImportError):
    import uvloop

    UVLOOP = uvloop.new_event_loop

AUTO, CHOICES = "auto", ("auto", "uvloop", "asyncio")


def choice(text: str) -> str:
    """One of CHOICES that can be had here. Raises ValueError, which says what can."""
    wanted = text.lower()
    if wanted not in CHOICES:
        raise ValueError(f"one of {', '.join(CHOICES)}")
    if wanted == "uvloop" and UVLOOP is None:
        raise ValueError("auto or asyncio, or uvloop be installed (pip install uvloop)")
    return wanted


def factory(wanted: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop factory for asyncio.Runner: None for asyncio's own."""
    return None if wanted == "asyncio" else UVLOOP


def name(wanted: str) -> str:
    """The event loop that is meant by a choice here."""
    return "asyncio" if factory(wanted) is None else "uvloop"
