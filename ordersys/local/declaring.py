"""Declares the topology of a private broker again and again: where services have identities, none of them may."""

import asyncio
import threading
from collections.abc import Sequence

from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.reconnecting import declare
from ordersys.runtime.rabbitmq.urls import BrokerUrls

_SECONDS = 5.0  # as often as services do, where they may
_LEAVE_SECONDS = 1.0


class Declaring:
    """A thread that declares what somebody may have deleted, as long as there is a broker. Ended by `close`."""

    def __init__(self, urls: BrokerUrls) -> None:
        """`urls` are those of the user that may declare."""
        self._urls = urls
        self._over = threading.Event()
        self._reason = ""
        self._thread = threading.Thread(target=self._run, name="declaring", daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str:
        """The refusal of the broker the last time, empty without one: that it is away at times is nothing to say."""
        return self._reason

    def close(self) -> None:
        """Ends it; a broker that is silent keeps the thread for a while, which nobody has to wait for."""
        self._over.set()
        self._thread.join(_LEAVE_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(_SECONDS):
            try:
                refused: Sequence[BrokerRefused] = asyncio.run(declare(self._urls))
            except BrokerRefused as error:
                refused = [error]
            except BrokerUnavailable:
                continue
            self._reason = "; ".join(map(str, refused))
