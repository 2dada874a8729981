"""Operations on changes of orders: begin (reserve what is needed more), accept (release what is not), take back."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import OrderItems
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as Hop
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    CancelOrderResponse,
    ItemQuantity,
    UpdateOrderRequest,
    UpdateOrderResponse,
)
from ordersys.contract.errors import Refused, out_of_stock
from ordersys.contract.requests import fingerprint
from ordersys.product_service.stock import Quantities, more, plus
from ordersys.product_service.store.placements import INSERT as INSERT_PLACEMENT
from ordersys.product_service.store.placements import quantities, stored
from ordersys.product_service.store.shelf import Shelf
from ordersys.product_service.store.tables import CHANGES, PLACEMENTS, REQUESTS
from ordersys.runtime.database import refusing
from ordersys.runtime.idempotency import Outcome, Remembered, recall, refusal, success
from ordersys.runtime.identity import now, uuid7

_HOLDINGS = select(PLACEMENTS.c.order_id, PLACEMENTS.c.holding).where(
    PLACEMENTS.c.order_id.in_(bindparam("ids", expanding=True))
)
_SELECT = select(CHANGES).where(CHANGES.c.order_id.in_(bindparam("ids", expanding=True)))
_INSERT = insert(CHANGES)
_DELETE = delete(CHANGES).where(CHANGES.c.order_id.in_(bindparam("ids", expanding=True)))
_HOLD = (
    update(PLACEMENTS)
    .where(PLACEMENTS.c.order_id == bindparam("id"))
    .values(holding=bindparam("new_holding"))
)
_DROP = delete(PLACEMENTS).where(PLACEMENTS.c.order_id.in_(bindparam("ids", expanding=True)))

Request = UpdateOrderRequest | CancelOrderRequest


class Asked(NamedTuple):
    """A change a client wants of an order, which was as `order` when it was read."""

    request: Request
    order: Order
    traceparent: str


class Pending(NamedTuple):
    """A change under way: `reserved` is held for it until the Order Service has said what becomes of it."""

    request_id: str
    cancels: bool
    hop: Hop
    reserved: Quantities
    traceparent: str

    @property
    def order_id(self) -> str:
        """The order it is about."""
        return self.hop.order_id


class Busy(NamedTuple):
    """Another change of the same order is under way; it must end first."""

    pending: Pending


class Accepted(NamedTuple):
    """A change the Order Service has made."""

    pending: Pending
    order: Order


def find(connection: Connection, request: Request) -> Remembered | None:
    """What is known of `request`. Raises Refused (REQUEST_ID_REUSED)."""
    known = REQUESTS.find(connection, [request.request_id])
    return recall(known, request.request_id, fingerprint(request))


def begin(connection: Connection, asked: list[Asked]) -> list[Pending | Busy | Outcome | Refused]:
    """An operation: for each request reserves what it needs more, or answers as before, or says who is first."""
    batch = _Batch(connection, asked)
    results = [refusing(batch.begin, change) for change in asked]
    batch.write()
    return results


def accept(connection: Connection, accepted: list[Accepted]) -> list[None]:
    """An operation: the Order Service made the changes; what the orders need no more is released."""
    ending = _Ending(connection, [a.pending for a in accepted])
    for change in accepted:
        ending.accept(change)
    ending.write()
    return [None] * len(accepted)


def take_back(connection: Connection, refused: list[Pending]) -> list[None]:
    """An operation: the changes will never be made; what was reserved for them is released, their ids unused."""
    ending = _Ending(connection, refused)
    for pending in refused:
        ending.take_back(pending)
    ending.write()
    return [None] * len(refused)


def pending(connection: Connection, most: int) -> list[Pending]:
    """Changes without an outcome."""
    return [_pending(row) for row in connection.execute(select(CHANGES).limit(most))]


def response(pending: Pending, order: Order) -> UpdateOrderResponse | CancelOrderResponse:
    """What the client is answered when the change is made."""
    return CancelOrderResponse(order=order) if pending.cancels else UpdateOrderResponse(order=order)


class _Batch:
    """The changes one transaction begins: read at once, decided one by one, written at once."""

    def __init__(self, connection: Connection, asked: list[Asked]) -> None:
        self._connection = connection
        time = now()
        order_ids = [a.order.id for a in asked]
        self._ledger = REQUESTS.ledger(connection, [a.request.request_id for a in asked], time)
        self._under_way = _under_way(connection, order_ids)
        self._holdings = _holdings(connection, order_ids)
        self._shelf = Shelf(connection, [p for a in asked for p in _wanted(a.request)], time)
        self._begun: list[Pending] = []

    def begin(self, asked: Asked) -> Pending | Busy | Outcome:
        """What becomes of one request. Raises Refused (REQUEST_ID_REUSED, PRODUCT_NOT_FOUND)."""
        request, order_id = asked.request, asked.order.id
        mark = fingerprint(request)
        known = self._ledger.recall(request.request_id, mark)
        if known and known.outcome:
            return known.outcome
        if order_id in self._under_way:
            first = self._under_way[order_id]
            return first if known else Busy(first)
        self._shelf.check(_wanted(request))
        needed = more(_wanted(request), self._holdings.get(order_id, {}))
        if short := self._shelf.shortages(needed):
            outcome = refusal(out_of_stock(short))
            self._ledger.close(request.request_id, mark, order_id, outcome)
            return outcome
        self._shelf.reserve(needed)
        self._ledger.open(request.request_id, mark, order_id)
        return self._note(asked, needed)

    def write(self) -> None:
        """Writes all that was decided."""
        self._ledger.write()
        self._shelf.write()
        if self._begun:
            self._connection.execute(_INSERT, [_row(pending) for pending in self._begun])

    def _note(self, asked: Asked, needed: Quantities) -> Pending:
        cancels = isinstance(asked.request, CancelOrderRequest)
        begun = Pending(asked.request.request_id, cancels, self._hop(asked), needed, asked.traceparent)
        self._under_way[begun.order_id] = begun
        self._begun.append(begun)
        return begun

    def _hop(self, asked: Asked) -> Hop:
        """What the Order Service is asked: pinned to the version read, so that a refusal stays one for ever."""
        hop = Hop(request_id=uuid7(), order_id=asked.order.id, expected_version=asked.order.version)
        if isinstance(asked.request, CancelOrderRequest):
            hop.state = OrderState.ORDER_STATE_CANCELLED
        elif asked.request.WhichOneof("change") == "state":
            hop.state = asked.request.state
        else:
            hop.items.CopyFrom(self._priced(asked.request.items.items, asked.order))
        return hop

    def _priced(self, items: Iterable[ItemQuantity], order: Order) -> OrderItems:
        prices = {item.product_id: item.unit_price for item in order.items}
        priced = OrderItems()
        for item in items:
            price = prices.get(item.product_id) or self._shelf.price(item.product_id)
            priced.items.add(product_id=item.product_id, quantity=item.quantity, unit_price=price)
        return priced


class _Ending:
    """The changes one transaction ends, as far as they are still under way."""

    def __init__(self, connection: Connection, changes: list[Pending]) -> None:
        self._connection = connection
        order_ids = [change.order_id for change in changes]
        self._under_way = _under_way(connection, order_ids)
        self._holdings = _holdings(connection, order_ids)
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
        self._ledger.finish(pending.request_id, success(response(pending, order)))

    def take_back(self, pending: Pending) -> None:
        """Releases what was reserved for the change."""
        if self._end(pending):
            self._released.append(pending.reserved)
            self._ledger.forget(pending.request_id)

    def write(self) -> None:
        """Writes all that was decided."""
        shelf = Shelf(self._connection, [p for released in self._released for p in released], now())
        for released in self._released:
            shelf.release(released)
        shelf.write()
        self._write_holdings()
        self._connection.execute(_DELETE, {"ids": self._ended})
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
        if known:
            self._connection.execute(_HOLD, known)
        if new:
            self._connection.execute(INSERT_PLACEMENT, new)
        self._connection.execute(_DROP, {"ids": [o for o, h in self._new_holdings.items() if not h]})


def _wanted(request: Request) -> dict[str, int]:
    """The units the order shall hold afterwards, where its items change."""
    if isinstance(request, CancelOrderRequest) or request.WhichOneof("change") == "state":
        return {}
    return {item.product_id: item.quantity for item in request.items.items}


def _kept(hop: Hop, held: Quantities) -> Quantities:
    """What is left, when the change is made, of the units the order held."""
    if hop.WhichOneof("change") == "items":
        return {item.product_id: item.quantity for item in hop.items.items}
    return {} if hop.state == OrderState.ORDER_STATE_CANCELLED else held


def _under_way(connection: Connection, order_ids: list[str]) -> dict[str, Pending]:
    rows = connection.execute(_SELECT, {"ids": order_ids})
    return {row.order_id: _pending(row) for row in rows}


def _holdings(connection: Connection, order_ids: list[str]) -> dict[str, dict[str, int]]:
    rows = connection.execute(_HOLDINGS, {"ids": order_ids})
    return {order_id: quantities(holding) for order_id, holding in rows}


def _adopted(order_id: str, holding: Quantities) -> dict[str, Any]:
    """The row of an order that was not placed here and holds stock from now on."""
    return {
        "order_id": order_id,
        "request_id": order_id,
        "pending": False,
        "creation": None,
        "holding": stored(holding),
    }


def _row(pending: Pending) -> dict[str, Any]:
    return {
        "order_id": pending.order_id,
        "request_id": pending.request_id,
        "cancels": pending.cancels,
        "hop": pending.hop.SerializeToString(),
        "reserved": stored(pending.reserved),
        "traceparent": pending.traceparent,
    }


def _pending(row: Any) -> Pending:
    hop = Hop.FromString(row.hop)
    return Pending(row.request_id, row.cancels, hop, quantities(row.reserved), row.traceparent)
