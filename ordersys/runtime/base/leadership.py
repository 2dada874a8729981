"""Leadership: of the processes that share a database one relays, recovers, purges and consumes.

Nothing rests on it but economy and order: two that believe in it at once repeat each other's work, which is harmless,
since everything is found by its id. A process that has its database for itself leads it for ever.
"""

import asyncio
import time
from typing import Any

from ordersys.runtime.base.futures import wait_first


class Leadership:
    """The part of this process in it; whoever decides that calls `renew` and `lose`."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        """True where other processes may use the database, too."""
        self._until = 0.0
        self._gained = asyncio.Event()

    @property
    def held(self) -> bool:
        """True while this process leads."""
        return not self.shared or time.monotonic() < self._until

    def renew(self, until: float) -> None:
        """It leads until then, by `time.monotonic`."""
        self._until = until
        self._gained.set()

    def lose(self) -> None:
        """It leads no more."""
        self._until = 0.0
        self._gained.clear()

    async def wait(self, *ends: "asyncio.Future[Any]") -> bool:
        """Returns when it leads, or one of `ends` is done; whether it leads."""
        while not self.held and not any(end.done() for end in ends):
            self._gained.clear()
            gained = asyncio.ensure_future(self._gained.wait())
            try:
                await wait_first(gained, *ends)
            finally:
                gained.cancel()
        return self.held
