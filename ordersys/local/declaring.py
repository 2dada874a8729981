"""Keeps the topology declared in a broker whose services may not declare it, as the one user that may."""

import asyncio
import logging
import threading

from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerRefused
from ordersys.runtime.rabbitmq.reconnecting import keep_open
from ordersys.runtime.rabbitmq.urls import BrokerUrls

_STOP_SECONDS = 5.0
# The services say in their logs that a broker is away. Here it would be in the midst of the launcher's own words.
logging.getLogger("ordersys").addHandler(logging.NullHandler())


class Declaring:
    """A thread that declares again every few seconds, as each service does where it may. Not running until `start`."""

    def __init__(self, urls: BrokerUrls) -> None:
        self._urls = urls
        self.refusal = ""
        """Why the broker does not take a declaration, which only a person can change; empty where it does."""
        self._thread = threading.Thread(target=self._run, name="declaring", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()

    def start(self) -> None:
        """Starts it; it waits for the broker as often as that is away."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it, and its connection. Blocks for some seconds at most."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    def _on_refusal(self, refusal: BrokerRefused | None) -> None:
        self.refusal = "" if refusal is None else str(refusal)

    async def _until_stopped(self) -> None:
        declaring = asyncio.create_task(keep_open(self._urls, "launcher", _until_closed, self._on_refusal))
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait((declaring, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (declaring, stopped):
            task.cancel()
        await asyncio.wait((declaring, stopped))
        if not declaring.cancelled():
            declaring.result()  # raises what nobody foresaw, which the thread shows


async def _until_closed(session: Session) -> None:
    await asyncio.wait([session.closed])
