"""The reconciliation of a running system, again and again: orders, events, records and stock. Pure, but for its memory.

A system at work is never even at one instant: an event is on its way, stock is held for an order that is being created.
So what may be on its way is `moving`, and turns to `uneven` only when it has lasted for GRACE_SECONDS although those
that it waits for were well all the time, and their queue empty. What nothing on its way can put right, an event without
its order or units that an audit counts, only has to last; a record that is there twice, or stock below zero, is
`uneven` at once. docs/live.md has the condition of each, and how long it stands.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.live.ledger import Heard, Ledger

GRACE_SECONDS = 10.0
_REST_SECONDS = 2.0
"""For so long nothing has to have happened for stock and orders to be compared, each read since it did."""
EVEN, MOVING, UNEVEN, UNKNOWN = "even", "moving", "uneven", "unknown"
_SEVERITY = (EVEN, MOVING, UNKNOWN, UNEVEN)


class Check(NamedTuple):
    """The verdict on one subject, in a word and in a sentence."""

    subject: str
    verdict: str
    sentence: str


class Stock(NamedTuple):
    """The units of a product."""

    available: int
    held: int


@dataclass(frozen=True)
class Seen:
    """The state of everything at a moment, as far as it could be read: None for what could not.

    `now` and `began` are seconds of one clock; `well` has since when each of the services has answered SERVING, its
    queue empty as far as anybody knows, `broker` since when it could be reached (0 where nobody can tell), and outboxes
    be emptied.
    """

    now: float
    well: Mapping[str, float]
    broker: float | None
    orders: Sequence[Order] | None
    """The newest page."""
    is_all: bool
    """True where that page has every order there is."""
    stock: Mapping[str, Stock] | None
    audited: float | None
    """Units that are held for nobody, by an audit of all orders; None where there is none."""
    began_milliseconds: int
    """When the page began to look, in milliseconds since 1970. Of older orders it may know nothing: orders that a
    service was seeded with were never published, and what was long ago is not read."""
    settled: float | None = 0.0
    """Since when no saga has been in doubt, for which units are held without an order; None while one is."""
    dead_letters: int = 0
    behind: Sequence[str] = ()
    """Subscribers whose log has not been read to its end: what it has more may say otherwise."""
    read: float = math.inf
    """When the last reading of the stock began, and of the log that tells of orders: the earlier one of both."""


@dataclass
class Reconciler:
    """The memory between two reconciliations: since when something has not been even."""

    ledger: Ledger
    services: Sequence[str]
    """All that have to be well for stock to be at rest."""
    _since: dict[str, float] = field(default_factory=dict)
    _moved: float = 0.0
    _fingerprint: object = None
    _baseline: Mapping[str, int] | None = None
    _last_even: float | None = None

    def checks(self, seen: Seen) -> tuple[Check, ...]:
        """The verdicts."""
        if seen.behind:
            return self._without_logs(seen)
        fingerprint = (sum(self.ledger.recorded.values()), seen.stock, _versions(seen.orders))
        if fingerprint != self._fingerprint:
            self._fingerprint, self._moved = fingerprint, seen.now
        troubles = dict(self._unpublished(seen)), dict(self._unstored(seen)), dict(self._unheard())
        stock = dict(self._imbalance(seen)) if seen.stock is not None else {}
        self._remember({key for kind in (*troubles, stock, _audit(seen)) for key in kind}, seen.now)
        unpublished, unstored, unheard = troubles
        return (
            self._orders(seen, unpublished, unstored),
            self._events(seen, unheard),
            self._records(),
            self._stock(seen, stock, bool(unpublished or unstored or unheard)),
        )

    def _without_logs(self, seen: Seen) -> tuple[Check, ...]:
        """Not known, but for what more records can't put right. Grace begins anew."""
        self._remember(_audit(seen), seen.now)
        sentence = f"the log of {', '.join(sorted(seen.behind))} is not read to its end yet"
        records, impossible = self._records(), self._impossible(seen)
        return (
            Check("orders", UNKNOWN, sentence),
            Check("events", UNKNOWN, sentence),
            records if records.verdict == UNEVEN else Check("records", UNKNOWN, sentence),
            Check("stock", UNEVEN, _first(impossible)) if impossible else Check("stock", UNKNOWN, sentence),
        )

    def _orders(self, seen: Seen, unpublished: Mapping[str, str], unstored: Mapping[str, str]) -> Check:
        """Each order of the newest page is known by its event, and each order that events tell of is stored."""
        if seen.orders is None:
            return Check("orders", UNKNOWN, "the Order Service does not answer")
        lost = [*self._lasting(seen, unpublished, self._way_is_free(seen)), *self._lasting(seen, unstored, True)]
        if lost:
            return Check("orders", UNEVEN, _first(lost))
        if unpublished or unstored:
            return Check("orders", MOVING, f"{len(unpublished) + len(unstored)} with their event still on the way")
        which = "all" if seen.is_all else "the newest"
        return Check("orders", EVEN, f"{which} {len(seen.orders)} are known by their events, at their version")

    def _events(self, seen: Seen, unheard: Mapping[str, str]) -> Check:
        """Each event was recorded by every subscriber that takes it."""
        waiting = {
            heard.record.event_id: [who for who in self.ledger.missing(heard) if not self._had_time(seen, heard, who)]
            for heard in self.ledger.waiting()
        }
        lost = [sentence for event_id, sentence in unheard.items() if not waiting[event_id]]
        if lost:
            return Check("events", UNEVEN, _first(lost))
        if unheard:
            late = sorted({who for missing in waiting.values() for who in missing})
            return Check("events", MOVING, f"{len(unheard)} on the way to {', '.join(late)}")
        aside = f"; {seen.dead_letters} dead letters are aside, below" if seen.dead_letters else ""
        return Check("events", EVEN, f"each was recorded by every subscriber that takes it{aside}")

    def _records(self) -> Check:
        """No event was recorded twice by one subscriber."""
        if self.ledger.twice:
            return Check("records", UNEVEN, _first(list(self.ledger.twice)))
        total = sum(self.ledger.recorded.values())
        return Check("records", EVEN, f"none of the {total:,} that were read is there twice")

    def _stock(self, seen: Seen, imbalance: Mapping[str, str], others_move: bool) -> Check:
        """The stock holds as many units more, or less, as the orders do, since the first moment at rest."""
        if seen.stock is None:
            return Check("stock", UNKNOWN, "the Product Service does not answer")
        if impossible := self._impossible(seen):
            return Check("stock", UNEVEN, _first(impossible))
        # Else one of both is of before an order, and the other of after it.
        is_of_one_time = seen.read >= self._moved and seen.now - self._moved >= _REST_SECONDS
        rests = not others_move and is_of_one_time and self._all_settled(seen) is not None
        if rests and not (self._is_comparable and imbalance):
            self._begin_anew(seen.stock)
            self._last_even = seen.now
        if not self._is_comparable:
            return Check("stock", UNKNOWN, "compared from the first moment on at which nothing happens")
        if rests and (lasting := self._lasting(seen, imbalance, True)):
            settled = self._all_settled(seen)
            if settled is not None and seen.now - settled >= GRACE_SECONDS:
                return Check("stock", UNEVEN, _first(lasting))
        if imbalance or not rests:
            ago = "" if self._last_even is None else f"; even {seen.now - self._last_even:.0f} s ago"
            return Check("stock", MOVING, f"compared when nothing happens{ago}")
        held = sum(units.held for units in seen.stock.values())
        agrees = "; an audit of all orders agrees" if seen.audited == 0 else ""
        return Check("stock", EVEN, f"{held:,} units are held, and move as the orders do{agrees}")

    def _impossible(self, seen: Seen) -> Sequence[str]:
        """Troubles of the stock alone, whatever is on its way."""
        below = [f"{product} is below zero" for product, units in (seen.stock or {}).items() if min(units) < 0]
        return below or self._lasting(seen, _audit(seen), True)

    @property
    def _is_comparable(self) -> bool:
        return self.ledger.is_whole and self._baseline is not None

    def _begin_anew(self, stock: Mapping[str, Stock]) -> None:
        """Takes the stock at rest for even where what was before is not known: from then on it is compared."""
        if not self._is_comparable:
            self._baseline = {product: units.held - self.ledger.ordered[product] for product, units in stock.items()}
            self.ledger.is_whole = True

    def _imbalance(self, seen: Seen) -> Iterator[tuple[str, str]]:
        for product, units in (seen.stock or {}).items():
            ordered = (self._baseline or {}).get(product, 0) + self.ledger.ordered[product]
            if units.held != ordered:
                yield f"stock {product}", f"of {product} {units.held:,} are held, and orders hold {ordered:,}"

    def _unpublished(self, seen: Seen) -> Iterator[tuple[str, str]]:
        for order in seen.orders or ():
            known = self.ledger.version(order.id)
            is_older = order.create_time.ToMilliseconds() < seen.began_milliseconds
            if known < order.version and not (known == 0 and is_older):
                key = f"{order.id} {order.version}"
                yield key, f"version {order.version} of order {order.id} is stored, and no event told of it"

    def _unstored(self, seen: Seen) -> Iterator[tuple[str, str]]:
        """Among orders that are newer than the oldest of the page: these would have to be on it.

        They are newer by both, the time of their creation and the place of its event among all: clocks of processes
        differ, and an event may have been put off.
        """
        if seen.orders is None:
            return
        stored = {order.id for order in seen.orders}
        oldest = place = 0
        if seen.orders and not seen.is_all:
            oldest = min(order.create_time.ToMicroseconds() for order in seen.orders)
            place = self.ledger.place(seen.orders[-1].id)
        for heard in self.ledger.newest():
            order = heard.record.order
            if order is None or order.id in stored or order.create_time.ToMicroseconds() <= oldest:
                continue
            if (self.ledger.place(order.id) or heard.place) > place:
                yield f"stored {order.id}", f"an event tells of order {order.id}, which is not stored"

    def _unheard(self) -> Iterator[tuple[str, str]]:
        for heard in self.ledger.waiting():
            missing = ", ".join(sorted(self.ledger.missing(heard)))
            name = heard.record.kind.rpartition(".")[2]
            sentence = f"{name} of order {heard.record.order_id}, version {heard.record.version}, was not recorded by"
            yield heard.record.event_id, f"{sentence} {missing}"

    def _had_time(self, seen: Seen, heard: Heard, consumer: str) -> bool:
        """True where a subscriber would have recorded it by now: it is well, or has recorded much later ones.

        By the second this is known also of one whose queue is never empty.
        """
        well = seen.well.get(consumer)
        was_passed = self.ledger.passed(heard, consumer) >= GRACE_SECONDS
        return was_passed or (well is not None and seen.now - max(well, heard.since) >= GRACE_SECONDS)

    def _way_is_free(self, seen: Seen) -> bool:
        """True where an event would have left its outbox and reached the subscriber that tells of orders."""
        well = seen.well.get(self.ledger.source)
        is_free = seen.broker is not None and well is not None
        return is_free and seen.now - max(well or 0, seen.broker or 0) >= GRACE_SECONDS

    def _all_settled(self, seen: Seen) -> float | None:
        """Since when all services have been well, and no saga in doubt; None while they are not."""
        times = [seen.settled, *(seen.well.get(service) for service in self.services)]
        return None if None in times else max((time for time in times if time is not None), default=0.0)

    def _lasting(self, seen: Seen, troubles: Mapping[str, str], is_free: bool) -> list[str]:
        return [text for key, text in troubles.items() if is_free and seen.now - self._since[key] >= GRACE_SECONDS]

    def _remember(self, keys: Iterable[str], now: float) -> None:
        self._since = {key: self._since.get(key, now) for key in keys}


def overall(checks: Sequence[Check]) -> str:
    """The worst of the verdicts."""
    return max((check.verdict for check in checks), key=_SEVERITY.index, default=UNKNOWN)


def _versions(orders: Sequence[Order] | None) -> object:
    return None if orders is None else [(order.id, order.version) for order in orders]


def _audit(seen: Seen) -> Mapping[str, str]:
    if not seen.audited:
        return {}
    return {"audit": f"an audit of all orders counts {seen.audited:+,.0f} units that are held for nobody"}


def _first(sentences: Sequence[str]) -> str:
    more = len(sentences) - 1
    return f"{sentences[0]} (and {more} more of this kind)" if more else sentences[0]
