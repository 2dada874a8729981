"""Figures of the database, for metrics: how many sagas are pending, how much stock there is."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from ordersys.product_service.store.tables import PRODUCTS, SAGAS
from ordersys.runtime.storage.statements import Statement

_MOST_COUNTED = 10_000  # sagas: every second, and in milliseconds
_SOME = select(SAGAS.c.kind, SAGAS.c.saga_id).order_by(SAGAS.c.order_id).limit(bindparam("most")).subquery()
_PENDING = Statement(select(_SOME.c.kind, func.count(), func.min(_SOME.c.saga_id)).group_by(_SOME.c.kind))
_STOCK = Statement(select(func.sum(PRODUCTS.c.available), func.sum(PRODUCTS.c.held)))


class Figures(NamedTuple):
    """Pending sagas by kind, up to 10,000, and the id of the oldest; units of all products."""

    pending: Mapping[str, int]
    oldest_saga: str | None
    available: int
    held: int


NOTHING = Figures({}, None, 0, 0)


def figures(connection: Connection) -> Figures:
    """The figures now. Takes some milliseconds for ten thousand products."""
    sagas = _PENDING.rows(connection, most=_MOST_COUNTED)
    ((available, held),) = _STOCK.rows(connection)
    oldest = min((saga_id for _, _, saga_id in sagas), default=None)
    return Figures({kind: number for kind, number, _ in sagas}, oldest, int(available or 0), int(held or 0))
