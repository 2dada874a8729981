"""The Product Service in numbers: sagas, and stock (metrics/table.py)."""

import math
from collections import Counter
from collections.abc import Iterable
from threading import Event

from ordersys.product_service.saga import Input, Kind, Result, input_of
from ordersys.product_service.store.audit import imbalance
from ordersys.product_service.store.figures import NOTHING, figures
from ordersys.runtime.base.ids import now, uuid7_time
from ordersys.runtime.metrics.instruments import Children, are_on, counter, gauge
from ordersys.runtime.metrics.instruments import Counter as Counted
from ordersys.runtime.metrics.table import (
    SAGAS_OLDEST_SECONDS,
    SAGAS_PENDING,
    SAGAS_SETTLED,
    STOCK_IMBALANCE_UNITS,
    STOCK_UNITS,
    SWEEP_SETTLED,
)
from ordersys.runtime.storage.interface import Storage

_RESULTS = {Input.MADE: "completed", Input.REFUSED: "compensated", Input.UNKNOWN: "in_doubt"}
_NOT_KNOWN = math.nan
_SETTLED = (Input.MADE, Input.REFUSED)


class SagaMeasures:
    """Sagas, by what becomes of them."""

    def __init__(self) -> None:
        keys = [(kind, input_) for kind in Kind for input_ in _RESULTS] if are_on() else []
        self._answers = Children(_counter, keys)
        self._recovered = Children(lambda input_: counter(SWEEP_SETTLED, result=_RESULTS[input_]), _SETTLED)

    def answered(self, kind: Kind, results: Iterable[Result]) -> None:
        """Counts the answers of the Order Service to sagas of one kind."""
        if are_on():
            for input_, number in Counter(map(input_of, results)).items():
                self._answers[kind, input_].inc(number)

    def recovered(self, results: Iterable[Result]) -> None:
        """Counts the sagas that recovery has brought to their end."""
        for result in results:
            if (input_ := input_of(result)) in _SETTLED:
                self._recovered[input_].inc()


class StoreMeasures:
    """The content of the database."""

    def __init__(self, database: Storage) -> None:
        self._database = database
        self._pending = Children(lambda kind: gauge(SAGAS_PENDING, kind=kind.value), Kind)
        self._oldest = gauge(SAGAS_OLDEST_SECONDS)
        self._available, self._held = (gauge(STOCK_UNITS, state=state) for state in ("available", "held"))
        self._imbalance = gauge(STOCK_IMBALANCE_UNITS)
        self._imbalance.set(_NOT_KNOWN)

    async def look(self) -> None:
        """Shows pending sagas and stock. Raises Unavailable."""
        seen = await self._database.read(figures) if self._database.leadership.held else NOTHING
        for kind, pending in self._pending.items():
            pending.set(seen.pending.get(kind.value, 0))
        self._oldest.set(max(0, now() - uuid7_time(seen.oldest_saga)) / 1_000_000 if seen.oldest_saga else 0)
        self._available.set(seen.available)
        self._held.set(seen.held)

    async def audit(self) -> None:
        """Shows whether the stock is even. Raises Unavailable."""
        ended = Event()
        try:
            units = await self._database.read(imbalance, ended) if self._database.leadership.held else 0
        finally:
            ended.set()  # cancelled, it keeps no database from being closed
        self._imbalance.set(_NOT_KNOWN if units is None else units)


def _counter(key: tuple[Kind, Input]) -> Counted:
    kind, input_ = key
    return counter(SAGAS_SETTLED, kind=kind.value, result=_RESULTS[input_])
