"""The outbox in numbers: what waits, and what became of what was sent (metrics/table.py)."""

from collections import Counter
from collections.abc import Sequence

from ordersys.contract import topology
from ordersys.contract.topology import Publication
from ordersys.runtime.base.ids import now
from ordersys.runtime.metrics.instruments import Children, are_on, counter, gauge, histogram
from ordersys.runtime.metrics.instruments import Counter as Counted
from ordersys.runtime.metrics.table import BATCH_ITEMS, OUTBOX_EVENTS, OUTBOX_OLDEST_SECONDS, SENT_MESSAGES
from ordersys.runtime.outbox import Backlog, Outbox, Waiting
from ordersys.runtime.rabbitmq.confirms import Fate, PublishResult
from ordersys.runtime.storage.interface import Storage

# Whatever has another fate was not sent.
_ERROR_TYPES = {
    Fate.CONFIRMED: "",
    Fate.NACKED: "nacked",
    Fate.RETURNED: "returned",
    Fate.OPEN: "unconfirmed",
}
_NOTHING = Backlog(0, 0, 0, None)


class Measures:
    """The measures of one outbox."""

    def __init__(self, database: Storage, outbox: Outbox, service: str) -> None:
        """`service` is the full name of the one whose events these are: of each the first trouble is seen."""
        events = topology.events().values() if are_on() else ()
        own = {to for event in events if (to := topology.publication(event)).publisher == service}
        self._database = database
        self._outbox = outbox
        self._window = histogram(BATCH_ITEMS, batch="window")
        self._sent = Children(_counter, [(to, fate) for to in own for fate in _ERROR_TYPES])
        self._new, self._late, self._parked = (gauge(OUTBOX_EVENTS, state=s) for s in ("new", "late", "parked"))
        self._oldest = gauge(OUTBOX_OLDEST_SECONDS)

    def published(self, events: Sequence[Waiting], outcomes: Sequence[PublishResult]) -> None:
        """Counts the events of a window by their fates."""
        if not are_on():
            return
        self._window.observe(len(events))
        fates = Counter((event.to, outcome.fate) for event, outcome in zip(events, outcomes, strict=True))
        for (to, fate), number in fates.items():
            if fate in _ERROR_TYPES:
                self._sent[to, fate].inc(number)

    async def look(self, floor: int) -> None:
        """Shows what waits behind the sequence `floor`. Raises Unavailable."""
        leads = self._database.leadership.held
        backlog = await self._database.read(self._outbox.backlog, floor) if leads else _NOTHING
        self._new.set(backlog.new)
        self._late.set(backlog.late - backlog.parked)
        self._parked.set(backlog.parked)
        self._oldest.set(0 if backlog.oldest_time is None else max(0, now() - backlog.oldest_time) / 1_000_000)


def _counter(sent: tuple[Publication, Fate]) -> Counted:
    to, fate = sent
    destination = f"{to.exchange}:{to.routing_key}"
    return counter(SENT_MESSAGES, messaging_destination_name=destination, error_type=_ERROR_TYPES[fate])
