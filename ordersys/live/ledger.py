"""The ledger of what subscribers have recorded: each event with those who heard it, each order with what it holds.

It is told records in the order in which it reads them, and has no clock and no connection of its own. It is bounded:
of what lies further back than its limits only sums are left.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.contract.topology import Subscription
from ordersys.live.records import Record, units

MOST_EVENTS = 10_000
"""So many events are remembered, some 3 KB each: to see who has recorded them, and how often."""
MOST_ORDERS = 20_000
_SHOWN_EVENTS = 100
_SECONDS = 120
"""The past of the rates, in seconds."""


@dataclass
class Heard:
    """An event, and when each subscriber recorded it (milliseconds since 1970)."""

    record: Record
    since: float
    """When the first record of it was read, on the clock of whoever tells."""
    is_judged: bool
    place: int
    """Among all events, from 1 on, by when the first record of each was read."""
    by: dict[str, int] = field(default_factory=dict)


class Known(NamedTuple):
    """An order as the events tell it."""

    version: int
    holds: Mapping[str, int]
    assumed: Mapping[str, int] = MappingProxyType({})
    """The units it was assumed to have held before the first event of it that was told."""


class Ledger:
    """The records of all subscribers."""

    def __init__(self, subscribed: Sequence[Subscription]) -> None:
        self._takers: dict[str, frozenset[str]] = {}
        """Those who take an event, by its full name."""
        for subscription in subscribed:
            for kind in subscription.handlers:
                self._takers[kind] = self._takers.get(kind, frozenset()) | {subscription.consumer}
        self.source = max(subscribed, key=lambda s: len(s.handlers)).consumer if subscribed else ""
        """The subscriber that hears most: orders and their stock are told by its records."""
        self._events: OrderedDict[str, Heard] = OrderedDict()
        self._places = 0
        self._open: dict[str, Heard] = {}
        self._by_version: dict[tuple[str, int], Heard] = {}
        self._horizon = 0
        """The time of the latest event of which not all records are known, in milliseconds since 1970."""
        self._orders: OrderedDict[str, Known] = OrderedDict()
        self.ordered: Counter[str] = Counter()
        """Units that orders hold more than when the first event was told, by product: less, where it is negative."""
        self.is_whole = True
        """False once an order changed of which nobody knows what it held before: `ordered` needs a new beginning."""
        self.twice: deque[str] = deque(maxlen=50)
        """A sentence for each record that is there twice."""
        self.recorded: Counter[str] = Counter()
        """Records read, by subscriber."""
        self._passed: dict[tuple[str, str], float] = {}
        """Of the events that two subscribers have recorded, when the latest one was first read."""
        self._seconds: dict[tuple[str, str], Counter[int]] = {}

    def takers(self, kind: str) -> frozenset[str]:
        """The subscribers that take an event, by its full name."""
        return self._takers.get(kind, frozenset())

    def tell(self, consumer: str, record: Record, now: float, is_judged: bool = True) -> None:
        """Enters a record that `consumer` has made. `now` are seconds of any clock that does not go back.

        Not judged is one of which it can't be known what the other subscribers have recorded.
        """
        if not is_judged:
            self._horizon = max(self._horizon, record.happened)
        heard = self._events.get(record.event_id)
        if heard is None:
            # One that somebody recorded before it was forgotten, or before his log is read, looks as if nobody had.
            is_judged = is_judged and (not self._horizon or record.happened > self._horizon)
            self._places += 1
            heard = self._open[record.event_id] = self._events[record.event_id] = Heard(
                record, now, is_judged, self._places
            )
            self._by_version[record.order_id, record.version] = heard
            self._forget_events()
        elif consumer in heard.by:
            self.twice.append(f"event {record.event_id} was recorded twice by {consumer}")
            return
        heard.by[consumer] = record.recorded
        for other in heard.by.keys() - {consumer}:
            latest = max(self._passed.get((consumer, other), 0.0), heard.since)
            self._passed[consumer, other] = self._passed[other, consumer] = latest
        if self.takers(record.kind) <= heard.by.keys():
            self._open.pop(record.event_id, None)
        self.recorded[consumer] += 1
        if consumer == self.source and record.order is not None:
            self._enter(record.order)

    def count(self, consumer: str, kind: str, second: int) -> None:
        """Counts a record for the rates of that second."""
        seconds = self._seconds.setdefault((consumer, kind), Counter())
        seconds[second] += 1
        if len(seconds) > _SECONDS:
            del seconds[min(seconds)]

    def rate(self, consumer: str, kinds: Iterable[str], second: int, window: int = 5) -> float:
        """Records a second, of the `window` whole seconds before `second`."""
        span = range(second - window, second)
        counts = [self._seconds[consumer, kind] for kind in kinds if (consumer, kind) in self._seconds]
        return sum(count[each] for count in counts for each in span) / window

    def history(self, consumer: str, second: int, length: int = 60) -> list[int]:
        """Records in each of the `length` whole seconds before `second`, the oldest first."""
        counts = [seconds for (owner, _), seconds in self._seconds.items() if owner == consumer]
        return [sum(count[each] for count in counts) for each in range(second - length, second)]

    def waiting(self) -> Iterable[Heard]:
        """The events that somebody has recorded and somebody who takes them has not, the oldest first."""
        return (heard for heard in self._open.values() if heard.is_judged)

    def missing(self, heard: Heard) -> frozenset[str]:
        """Those who take an event and have not recorded it."""
        return self.takers(heard.record.kind) - heard.by.keys()

    def passed(self, heard: Heard, consumer: str) -> float:
        """The seconds by which `consumer` is past an event: so much later came one that it has recorded.

        Both have to be recorded by one other subscriber. Queues keep their order but for redeliveries, so what that one
        recorded later is behind it in this queue, too; and the page's own clock counts, since an event may have been
        put off for long, and the clocks of services differ.
        """
        return max((self._passed.get((consumer, other), 0.0) - heard.since for other in heard.by), default=0.0)

    def newest(self) -> list[Heard]:
        """The events heard last, the newest first."""
        last = [heard for _, heard in zip(range(_SHOWN_EVENTS), reversed(self._events.values()), strict=False)]
        return sorted(last, key=lambda heard: -max(heard.by.values()))

    def version(self, order_id: str) -> int:
        """The last version that is known of an order; 0 for one that is not known."""
        known = self._orders.get(order_id)
        return known.version if known else 0

    def place(self, order_id: str) -> int:
        """The place of the creation of an order among all events; 0 where it is not remembered."""
        heard = self._by_version.get((order_id, 1))
        return 0 if heard is None else heard.place

    def heard_of(self, order: Order) -> dict[str, bool]:
        """Of each subscriber that has to hear of this version of an order whether it has, as far as is remembered."""
        heard = self._by_version.get((order.id, order.version))
        return {} if heard is None else {who: who in heard.by for who in sorted(self.takers(heard.record.kind))}

    def _enter(self, order: Order) -> None:
        """Takes over the newest version of an order; its stock moves by the difference."""
        known = self._orders.get(order.id)
        if known is not None and known.version >= order.version:
            if order.version == 1:  # recorded late: so there was nothing before, and what was assumed was wrong
                self.ordered.update(known.assumed)
                self._orders[order.id] = known._replace(assumed={})
            return
        assumed = self._assumed(order) if known is None else known.assumed
        holds = units(order)
        self.ordered.update(holds)
        self.ordered.subtract(assumed if known is None else known.holds)
        self._orders[order.id] = Known(order.version, holds, assumed)
        while len(self._orders) > MOST_ORDERS:
            self._orders.popitem(last=False)

    def _assumed(self, order: Order) -> Mapping[str, int]:
        """The units that an order held before, of which no earlier event is known: seeded ones have none at all."""
        if order.version == 1:
            return {}
        if order.state == OrderState.ORDER_STATE_PLACED:  # so its items were changed; nobody knows what they were
            self.is_whole = False
        return {item.product_id: item.quantity for item in order.items}

    def _forget_events(self) -> None:
        while len(self._events) > MOST_EVENTS:
            event_id, heard = self._events.popitem(last=False)
            self._open.pop(event_id, None)
            self._horizon = max(self._horizon, heard.record.happened)
            key = heard.record.order_id, heard.record.version
            if self._by_version.get(key) is heard:
                del self._by_version[key]
