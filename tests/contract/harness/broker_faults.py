"""Faults between a service and the broker: rules for the AMQP proxy."""

import threading
from collections.abc import Callable

from ordersys.contract.events import Event, Undecodable, decode
from tests.contract.harness.amqp_frames import Delivery
from tests.contract.harness.amqp_proxy import Rule, Verdict


class BrokerFault(Rule):
    """Publications of the event that fits meet the same fate: each, or so many and no more.

    Sets `met` when one did, and `over` when all of those did.
    """

    def __init__(self, fits: Callable[[Event], bool], verdict: Verdict, times: int | None = None) -> None:
        self._fits = fits
        self._verdict = verdict
        self._left = times
        self.met = threading.Event()
        self.over = threading.Event()

    def published(self, publication: Delivery) -> Verdict:
        event = understood(publication)
        if event is None or self._left == 0 or not self._fits(event):
            return Verdict.PASS
        self.met.set()
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.over.set()
        return self._verdict


class LostConfirms(Rule):
    """The broker has an event, and its publisher never hears so.

    Sets `met` when it was published, and `lost` when a confirm after it was lost.
    """

    def __init__(self, order_id: str) -> None:
        self._order_id = order_id
        self.met = threading.Event()
        self.lost = threading.Event()

    def published(self, publication: Delivery) -> Verdict:
        event = understood(publication)
        if event is not None and event.order_id == self._order_id:
            self.met.set()
        return Verdict.PASS

    def confirmed(self) -> Verdict:
        if not self.met.is_set():
            return Verdict.PASS
        self.lost.set()
        return Verdict.LOSE


class LostAcks(Rule):
    """Acknowledgements of a subscriber are lost: its deliveries come again."""

    def __init__(self, queue: str, order_id: str) -> None:
        self._queue = queue
        self._order_id = order_id
        self.met = threading.Event()

    def acknowledged(self, queue: str, deliveries: list[Delivery]) -> Verdict:
        if queue != self._queue or not any(_is_about(delivery, self._order_id) for delivery in deliveries):
            return Verdict.PASS
        self.met.set()
        return Verdict.LOSE


class Watch(Rule):
    """Looks while an event of an order is on its way; `seen` has what each look saw."""

    def __init__(self, order_id: str, look: Callable[[Event], bool], queue: str = "") -> None:
        self._order_id = order_id
        self._look = look
        self._queue = queue
        self.seen: list[bool] = []

    def published(self, publication: Delivery) -> Verdict:
        if not self._queue:
            self._see([publication])
        return Verdict.PASS

    def acknowledged(self, queue: str, deliveries: list[Delivery]) -> Verdict:
        if queue == self._queue:
            self._see(deliveries)
        return Verdict.PASS

    def _see(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            event = understood(delivery)
            if event is not None and event.order_id == self._order_id:
                self.seen.append(self._look(event))


def understood(delivery: Delivery) -> Event | None:
    """The event in a delivery, None when it is none."""
    try:
        return decode(delivery)
    except Undecodable:
        return None


def _is_about(delivery: Delivery, order_id: str) -> bool:
    event = understood(delivery)
    return event is not None and event.order_id == order_id
