"""An event tap: receives every event published, on each exchange of the contract, by queues of its own."""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pika.exceptions import ChannelClosedByBroker

from ordersys.contract.events import Delivery, Event, Undecodable, decode
from ordersys.contract.topology import Exchange, event_exchanges
from tests.contract.harness import contact

T = TypeVar("T")
_SHOWN_MESSAGES = 3


class Received(NamedTuple):
    """A message as it came from an exchange."""

    exchange: str
    routing_key: str
    properties: Any
    body: bytes
    event: Event | None
    """The event in it, None when it is none of the contract."""
    obstacle: str
    """Why it is none, empty when it is one."""


class EventTap:
    """Receives from now on, in a thread of its own, until it is closed. Raises NotReachable.

    Waits up to so many seconds for the exchanges, which the services declare, and declares what is missing then.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._received: list[Received] = []
        self._changed = threading.Condition()
        self._connection = contact.connected_to_broker(url)
        until = time.monotonic() + patience
        names = [exchange.name for exchange in event_exchanges()]
        self.undeclared = frozenset(name for name in names if not self._is_there(name, until))
        """The exchanges that no service had declared."""
        self._channel = self._connection.channel()
        for exchange in event_exchanges():
            self._listen(exchange)
        self._thread = threading.Thread(target=self._run, name="event-tap")
        self._thread.start()

    def received(self, order_id: str, exchange: str | None = None) -> list[Received]:
        """The messages about an order, in order of arrival; from one exchange or from all."""
        with self._changed:
            about_order = [h for h in self._received if h.event and h.event.order_id == order_id]
        return [h for h in about_order if exchange in (None, h.exchange)]

    def everything(self) -> list[Received]:
        """All that came."""
        with self._changed:
            return list(self._received)

    def wait(self, look: Callable[[], T | None], seconds: float, awaited: str = "") -> T:
        """The first true answer of `look`, asked whenever something came; fails when there is none in time.

        `awaited` says what is waited for.
        """
        until, before = time.monotonic() + seconds, len(self.everything())
        while not (answer := look()):
            with self._changed:
                self._changed.wait(timeout=0.05)
            if time.monotonic() > until:
                heard = self._heard_since(before)
                raise AssertionError(f"not heard within {seconds:.0f} s{_of(awaited)}{self._no_events()}\n{heard}")
        return answer

    def _heard_since(self, before: int) -> str:
        """The messages heard in the meantime: how many, and the last ones."""
        heard = self.everything()[before:]
        if not heard:
            return "heard in that time: nothing"
        last = ", ".join(
            f"{h.event.message.DESCRIPTOR.name} {h.event.order_id} version {h.event.version} on {h.exchange}"
            if h.event
            else f"no event on {h.exchange}"
            for h in heard[-_SHOWN_MESSAGES:]
        )
        return f"heard in that time: {len(heard)} messages, at last {last}"

    def _no_events(self) -> str:
        """The reasons why messages that came are no events of the contract, each once."""
        obstacles = dict.fromkeys(received.obstacle for received in self.everything() if received.obstacle)
        return f"; heard, and no event: {'; '.join(obstacles)}" if obstacles else ""

    def close(self) -> None:
        """Stops listening; the queues go with the connection."""
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join()
        self._connection.close()

    def _is_there(self, exchange: str, until: float) -> bool:
        """True once an exchange is there; false when it is not in time."""
        while True:
            channel = self._connection.channel()
            try:
                channel.exchange_declare(exchange, passive=True)
            except ChannelClosedByBroker:  # not found
                if time.monotonic() > until:
                    return False
                self._connection.sleep(0.02)
            else:
                channel.close()
                return True

    def _listen(self, exchange: Exchange) -> None:
        self._channel.exchange_declare(exchange.name, exchange.type, durable=True)
        queue = self._channel.queue_declare("", exclusive=True).method.queue
        self._channel.queue_bind(queue, exchange.name, "#")
        self._channel.basic_consume(queue, lambda _, *message: self._take(exchange.name, *message), auto_ack=True)

    def _take(self, exchange: str, method: Any, properties: Any, body: bytes) -> None:
        received = Received(exchange, method.routing_key, properties, body, *_event(properties, body))
        with self._changed:
            self._received.append(received)
            self._changed.notify_all()

    def _run(self) -> None:
        self._channel.start_consuming()


def _of(awaited: str) -> str:
    return f": {awaited}" if awaited else ""


def _event(properties: Any, body: bytes) -> tuple[Event | None, str]:
    """The event, or why there is none."""
    p = properties
    try:
        return decode(Delivery(p.message_id, p.type, p.content_type, body)), ""
    except Undecodable as error:
        return None, str(error)
