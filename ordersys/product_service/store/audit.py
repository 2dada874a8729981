"""An audit of the stock: do products hold what their orders and pending sagas hold, all together?

Each order is looked at, a slice of them at a time with a pause behind it, and all slices show one state of the
database: so the sum is exact though orders are placed meanwhile. That state is kept for some seconds at most, since
neither database can tidy up behind it until then: where there are too many orders for that, nothing is found out.
"""

import time
from threading import Event
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Table, Text, bindparam, cast, func, select, true

from ordersys.product_service.store.tables import PRODUCTS, RESERVATIONS, SAGAS
from ordersys.runtime.storage.statements import Statement, is_of_one_writer, snapshot

_SLICE = 1_000  # orders: some 3 ms
_MOST_SECONDS = 4.0  # a read of PostgreSQL that takes 5 s counts as stuck (postgresql_database.py)
_HELD = Statement(select(func.sum(PRODUCTS.c.held)))


class _Units:
    """The units in a column of JSON, over slices of a table by order: for SQLite, or for PostgreSQL."""

    def __init__(self, table: Table, column: str) -> None:
        self._in_file = _slices(table, column, shared=False)
        self._shared = _slices(table, column, shared=True)

    def total(self, connection: Connection, until: float, ended: Event) -> int | None:
        """All of them, None where that takes longer than `until`, in seconds of the monotonic clock, or has ended."""
        statement = self._in_file if is_of_one_writer(connection) else self._shared
        total, last = 0, ""
        while time.monotonic() < until and not ended.is_set():
            began = time.monotonic()
            ((last_seen, units),) = statement.rows(connection, after=last, most=_SLICE)
            if last_seen is None:
                return total
            total, last = total + int(units or 0), last_seen
            _rest(time.monotonic() - began)  # as long again for whoever serves clients
        return None


def _rest(seconds: float) -> None:
    time.sleep(seconds)


def _slices(table: Table, column: str, shared: bool) -> Statement:
    rows = select(table.c.order_id, table.c[column].label("units")).where(table.c.order_id > bindparam("after"))
    some = rows.order_by(table.c.order_id).limit(bindparam("most")).cte("slice")
    units: Any = cast(some.c.units, JSON) if shared else some.c.units
    each = (func.json_each_text(units) if shared else func.json_each(units)).table_valued("key", "value")
    number = cast(cast(each.c.value, Text), BigInteger)
    inner = select(func.sum(number)).select_from(some.join(each, true()))
    return Statement(select(func.max(some.c.order_id), inner.scalar_subquery()))


_RESERVED = _Units(RESERVATIONS, "units")
_BY_SAGAS = _Units(SAGAS, "reserved")


def imbalance(connection: Connection, ended: Event) -> int | None:
    """The units products hold beyond those that orders and sagas do; None where there are too many orders to say.

    Whoever has no more use for it sets `ended`. Takes 6 µs an order, half of it asleep, and 4 s at most.
    """
    until = time.monotonic() + _MOST_SECONDS
    with snapshot(connection):
        ((held,),) = _HELD.rows(connection)
        parts = [units.total(connection, until, ended) for units in (_RESERVED, _BY_SAGAS)]
    return None if None in parts else int(held or 0) - sum(part or 0 for part in parts)
