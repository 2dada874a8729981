"""Changes under way, and what orders hold, as they are stored."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as Hop
from ordersys.product_service.stock import Quantities
from ordersys.product_service.store.placements import quantities, stored
from ordersys.product_service.store.tables import CHANGES, PLACEMENTS
from ordersys.runtime.storage.statements import Row, Statement

_HOLDINGS = Statement(
    select(PLACEMENTS.c.order_id, PLACEMENTS.c.holding).where(
        PLACEMENTS.c.order_id.in_(bindparam("ids", expanding=True))
    )
)
_ALL = select(CHANGES.c.request_id, CHANGES.c.cancels, CHANGES.c.hop, CHANGES.c.reserved, CHANGES.c.traceparent)
_SOME = Statement(
    _ALL.where(CHANGES.c.order_id > bindparam("after")).order_by(CHANGES.c.order_id).limit(bindparam("most"))
)
_SELECT = Statement(_ALL.where(CHANGES.c.order_id.in_(bindparam("ids", expanding=True))))


class Pending(NamedTuple):
    """A change under way: `reserved` is held for it until the Order Service has said what becomes of it."""

    request_id: str
    cancels: bool
    hop: Hop
    reserved: Quantities
    traceparent: str
    resumed: bool = False
    """Whether it is taken up again: an earlier try of it may have been made, and forgotten since."""

    @property
    def order_id(self) -> str:
        """The order it is about."""
        return self.hop.order_id

    @property
    def saga_id(self) -> str:
        """Names this change: another one of the same order may be under way as soon as this one is ended."""
        return self.hop.request_id


def pending(connection: Connection, after: str, most: int) -> list[Pending]:
    """Up to `most` changes without an outcome, of the orders behind `after`, by order."""
    return [_pending(found) for found in _SOME.rows(connection, after=after, most=most)]


def under_way(connection: Connection, order_ids: list[str]) -> dict[str, Pending]:
    """The change under way of each of these orders that has one."""
    found = [_pending(row) for row in _SELECT.rows(connection, ids=order_ids)]
    return {pending.order_id: pending for pending in found}


def holdings(connection: Connection, order_ids: list[str]) -> dict[str, dict[str, int]]:
    """The units reserved by each of these orders; those without any are left out."""
    rows = _HOLDINGS.rows(connection, ids=order_ids)
    return {order_id: quantities(holding) for order_id, holding in rows}


def row(pending: Pending) -> dict[str, Any]:
    """The row of a change under way."""
    return {
        "order_id": pending.order_id,
        "request_id": pending.request_id,
        "cancels": pending.cancels,
        "hop": pending.hop.SerializeToString(),
        "reserved": stored(pending.reserved),
        "traceparent": pending.traceparent,
    }


def _pending(row: Row) -> Pending:
    request_id, cancels, hop, reserved, traceparent = row
    return Pending(request_id, bool(cancels), Hop.FromString(hop), quantities(reserved), traceparent, True)
