"""Operations that end changes of orders: accept (release what is needed no more), compensate."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, update

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as Hop
from ordersys.api.product.v1.product_service_pb2 import CancelOrderResponse, UpdateOrderResponse
from ordersys.product_service.stock import Quantities, more, plus
from ordersys.product_service.store import placements
from ordersys.product_service.store.change_rows import Pending, holdings, under_way
from ordersys.product_service.store.inventory import Inventory
from ordersys.product_service.store.placements import stored
from ordersys.product_service.store.tables import CHANGES, PLACEMENTS, REQUESTS
from ordersys.runtime.base.ids import now
from ordersys.runtime.idempotency import success
from ordersys.runtime.storage.statements import Statement

_DELETE = Statement(delete(CHANGES).where(CHANGES.c.order_id == bindparam("id")))
_HOLD = Statement(
    update(PLACEMENTS).where(PLACEMENTS.c.order_id == bindparam("id")).values(holding=bindparam("new_holding"))
)


class Accepted(NamedTuple):
    """A change the Order Service has made."""

    pending: Pending
    order: Order


def accept(connection: Connection, accepted: list[Accepted]) -> list[None]:
    """An operation: the Order Service made the changes; what the orders need no more is released."""
    ending = _Ending(connection, [a.pending for a in accepted])
    for change in accepted:
        ending.accept(change)
    ending.write()
    return [None] * len(accepted)


def compensate(connection: Connection, refused: list[Pending]) -> list[None]:
    """An operation: the changes will never be made; what was reserved for them is released, their ids unused."""
    ending = _Ending(connection, refused)
    for pending in refused:
        ending.compensate(pending)
    ending.write()
    return [None] * len(refused)


class _Ending:
    """The changes one transaction ends, as far as they are still under way."""

    def __init__(self, connection: Connection, changes: list[Pending]) -> None:
        self._connection = connection
        order_ids = [change.order_id for change in changes]
        self._under_way = under_way(connection, order_ids)
        self._holdings = holdings(connection, order_ids)
        self._new_holdings: dict[str, Quantities] = {}
        self._released: list[Quantities] = []
        self._ended: list[str] = []
        self._ledger = REQUESTS.ledger(connection, (), now())

    def accept(self, accepted: Accepted) -> None:
        """Keeps what the order holds now and releases the rest."""
        pending, order = accepted
        if not self._end(pending):
            return
        held = plus(self._holdings.get(order.id, {}), pending.reserved)
        kept = _kept(pending.hop, held)
        self._released.append(more(held, kept))
        self._new_holdings[order.id] = kept
        self._ledger.finish(pending.request_id, success(_response(pending, order)))

    def compensate(self, pending: Pending) -> None:
        """Releases what was reserved for the change."""
        if self._end(pending):
            self._released.append(pending.reserved)
            self._ledger.forget(pending.request_id)

    def write(self) -> None:
        """Writes all that was decided."""
        shelf = Inventory(self._connection, [p for released in self._released for p in released], now())
        for released in self._released:
            shelf.release(released)
        shelf.write()
        self._write_holdings()
        _DELETE.run(self._connection, [{"id": order_id} for order_id in self._ended])
        self._ledger.write()

    def _end(self, pending: Pending) -> bool:
        """Whether this very change was still under way; a late answer ends nothing twice."""
        current = self._under_way.get(pending.order_id)
        if current is None or current.hop.request_id != pending.hop.request_id:
            return False
        del self._under_way[pending.order_id]
        self._ended.append(pending.order_id)
        return True

    def _write_holdings(self) -> None:
        kept = {order_id: holding for order_id, holding in self._new_holdings.items() if holding}
        known = [{"id": o, "new_holding": stored(h)} for o, h in kept.items() if o in self._holdings]
        new = [_adopted(o, h) for o, h in kept.items() if o not in self._holdings]
        _HOLD.run(self._connection, known)
        placements.INSERT.run(self._connection, new)
        placements.DELETE.run(self._connection, [{"id": o} for o, h in self._new_holdings.items() if not h])


def _response(pending: Pending, order: Order) -> UpdateOrderResponse | CancelOrderResponse:
    """The answer to the client when the change is made."""
    return CancelOrderResponse(order=order) if pending.cancels else UpdateOrderResponse(order=order)


def _kept(hop: Hop, held: Quantities) -> Quantities:
    """The units the order has reserved after the change."""
    if hop.WhichOneof("change") == "items":
        return {item.product_id: item.quantity for item in hop.items.items}
    return {} if hop.state == OrderState.ORDER_STATE_CANCELLED else held


def _adopted(order_id: str, holding: Quantities) -> dict[str, Any]:
    """The row of an order that was not placed here and holds stock from now on."""
    return {
        "order_id": order_id,
        "request_id": order_id,
        "pending": False,
        "creation": None,
        "holding": stored(holding),
    }
