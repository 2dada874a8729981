"""Publisher confirms and returns, matched to the events of a window.

Confirms come in any order, with `multiple`, and may contradict each other; a return comes before its ack
(RabbitMQ: Consumer Acknowledgements and Publisher Confirms). Doubt counts as unpublished.
"""

import asyncio
from enum import Enum
from typing import Any, NamedTuple

from ordersys.runtime.base.futures import resolve_once

# A broker that asks a lost node for each event answers as well: one every few seconds.
_STEPS, _LEAST_STEP = 20, 10


class Fate(Enum):
    """The fate of an event that was to be published."""

    CONFIRMED = "the broker has it"
    NACKED = "a queue did not take it: it is full, or can't be reached for now; others may have it"
    RETURNED = "no queue is bound for it"
    OPEN = "nobody knows"
    IMPOSSIBLE = "it can't be sent as it is"
    HELD = "an earlier event of its order can't be sent"


class PublishResult(NamedTuple):
    """The outcome of one event. `reason` says why an event can't be sent, or may be why the channel was closed."""

    fate: Fate
    reason: str = ""


CONFIRMED = PublishResult(Fate.CONFIRMED)


class Window:
    """The events published together, with delivery tags from `first_tag` on."""

    def __init__(self, first_tag: int) -> None:
        self._first = first_tag
        self._ids: list[str | None] = []
        # Ordered by tag, so that `multiple` takes from the front.
        self._unconfirmed: dict[int, None] = {}
        self._nacked: set[int] = set()
        self._returned: set[str | None] = set()
        self._complete = False

    def __len__(self) -> int:
        """The number of events sent."""
        return len(self._ids)

    @property
    def settled(self) -> bool:
        """True when everything is sent and the broker has answered for every event."""
        return self._complete and not self._unconfirmed

    @property
    def confirmed(self) -> bool:
        """True when the broker has every event for sure."""
        return self.settled and not (self._nacked or self._returned)

    @property
    def answered(self) -> int:
        """The number of events the broker has answered for."""
        return len(self._ids) - len(self._unconfirmed)

    @property
    def progress(self) -> int:
        """Progress in steps of max(10 events, 5 % of the window): one confirm every few seconds is none."""
        return self.answered // max(_LEAST_STEP, len(self._ids) // _STEPS)

    def sent(self, event_id: str | None) -> None:
        """One more event is on its way: it has the next tag."""
        self._unconfirmed[self._first + len(self._ids)] = None
        self._ids.append(event_id)

    def complete(self) -> None:
        """Everything is on its way."""
        self._complete = True

    def ack(self, tag: int, multiple: bool) -> None:
        """The broker has the event with `tag`, or all up to it."""
        self._settle(tag, multiple)

    def nack(self, tag: int, multiple: bool) -> None:
        """The broker does not have it, or all up to it."""
        # `tag` as well where it was settled before: an ack and a nack contradict each other, and doubt counts as
        # unpublished.
        self._nacked.update(self._settle(tag, multiple), [tag])

    def returned(self, event_id: str | None) -> None:
        """No queue took the event."""
        self._returned.add(event_id)

    def fates(self) -> list[Fate]:
        """The fate of each event sent, in order."""
        return [self._fate(tag, event_id) for tag, event_id in enumerate(self._ids, self._first)]

    def _fate(self, tag: int, event_id: str | None) -> Fate:
        if tag in self._nacked:
            return Fate.NACKED
        if event_id in self._returned:
            return Fate.RETURNED
        return Fate.OPEN if tag in self._unconfirmed else Fate.CONFIRMED

    def _settle(self, tag: int, multiple: bool) -> list[int]:
        tags = [tag]
        if multiple:
            tags = []
            for lowest in self._unconfirmed:
                if lowest > tag:
                    break
                tags.append(lowest)
        for settled in tags:
            self._unconfirmed.pop(settled, None)
        return tags


class Confirms:
    """Windows, one after the other, on one AMQP channel: its delivery tags count from 1."""

    def __init__(self) -> None:
        self._next_tag = 1
        self._window = Window(self._next_tag)
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> Window:
        """The window of the events that are published next; `settled` is done when it is."""
        self._next_tag += len(self._window)
        self._window = Window(self._next_tag)
        self.settled = asyncio.get_running_loop().create_future()
        return self._window

    def complete(self) -> None:
        """Everything of the window is on its way."""
        self._window.complete()
        self._check()

    def take(self, frame: Any) -> None:
        """A Basic.Ack or a Basic.Nack of the broker."""
        settle = self._window.ack if frame.method.NAME == "Basic.Ack" else self._window.nack
        settle(frame.method.delivery_tag, frame.method.multiple)
        self._check()

    def returned(self, event_id: str | None) -> None:
        """A Basic.Return of the broker."""
        self._window.returned(event_id)

    def _check(self) -> None:
        if self._window.settled:
            resolve_once(self.settled, None)
