"""Which events of a window the broker has for sure: publisher confirms and returns, matched to what was sent.

Confirms come in any order, with `multiple`, and may contradict each other; a return comes before its ack
(RabbitMQ: Consumer Acknowledgements and Publisher Confirms). Doubt counts as unpublished.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from ordersys.runtime.waiting import resolve

# A broker that asks a lost node for each event answers as well: one every few seconds.
_STEPS, _LEAST_STEP = 20, 10


class Window:
    """The events published together, with delivery tags from `first_tag` on."""

    def __init__(self, first_tag: int, event_ids: Sequence[str | None]) -> None:
        self._first = first_tag
        self._ids = event_ids
        # Ordered by tag, so that `multiple` takes from the front.
        self._open = dict.fromkeys(range(first_tag, first_tag + len(event_ids)))
        self._doubtful: set[int] = set()
        self.refused = False
        """Whether the broker has refused any."""

    @property
    def settled(self) -> bool:
        """Whether the broker has answered for every event."""
        return not self._open

    @property
    def answered(self) -> int:
        """For how many events the broker has answered."""
        return len(self._ids) - len(self._open)

    @property
    def steps(self) -> int:
        """How far it is: in twentieths, or tens of events where these are larger. One that trickles gets nowhere."""
        return self.answered // max(_LEAST_STEP, len(self._ids) // _STEPS)

    def ack(self, tag: int, multiple: bool) -> None:
        """The broker has the event with `tag`, or all up to it."""
        self._settle(tag, multiple)

    def nack(self, tag: int, multiple: bool) -> None:
        """The broker does not have it, or all up to it."""
        self.refused = True
        self._doubtful.update(self._settle(tag, multiple), [tag])

    def returned(self, event_id: str | None) -> None:
        """No queue took the event."""
        self._doubtful.update(self._first + i for i, sent in enumerate(self._ids) if sent == event_id)

    def outcome(self) -> list[bool]:
        """For each event, in order, whether the broker has it for sure."""
        unsure = self._doubtful.union(self._open)
        return [self._first + index not in unsure for index in range(len(self._ids))]

    def _settle(self, tag: int, multiple: bool) -> list[int]:
        tags = [tag]
        if multiple:
            tags = []
            for lowest in self._open:
                if lowest > tag:
                    break
                tags.append(lowest)
        for settled in tags:
            self._open.pop(settled, None)
        return tags


class Confirms:
    """Windows, one after the other, on one AMQP channel: its delivery tags count from 1."""

    def __init__(self) -> None:
        self._next_tag = 1
        self.begin(())

    def begin(self, event_ids: Sequence[str | None]) -> Window:
        """The window of the events that are published next; `settled` is done when it is."""
        self._window = Window(self._next_tag, event_ids)
        self._next_tag += len(event_ids)
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self._window

    def take(self, frame: Any) -> None:
        """A Basic.Ack or a Basic.Nack of the broker."""
        settle = self._window.ack if frame.method.NAME == "Basic.Ack" else self._window.nack
        settle(frame.method.delivery_tag, frame.method.multiple)
        if self._window.settled:
            resolve(self.settled, None)

    def returned(self, event_id: str | None) -> None:
        """A Basic.Return of the broker."""
        self._window.returned(event_id)
