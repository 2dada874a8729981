"""Operations that begin changes of orders: reserve what is needed more, remember what is asked."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import OrderItems
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as Hop
from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    ItemQuantity,
    UpdateOrderRequest,
)
from ordersys.contract.errors import Refused, out_of_stock, refusing
from ordersys.contract.normalisation import fingerprint
from ordersys.product_service.stock import Quantities, more
from ordersys.product_service.store import placements
from ordersys.product_service.store.change_rows import Pending, holdings, row, under_way
from ordersys.product_service.store.inventory import Inventory
from ordersys.product_service.store.tables import CHANGES, REQUESTS
from ordersys.runtime.base.ids import now, uuid7
from ordersys.runtime.idempotency import Outcome, Remembered, recall, refusal
from ordersys.runtime.storage.statements import inserting

_INSERT = inserting(CHANGES)
_log = logging.getLogger(__name__)
_HOLDING_STATES = {state for state in OrderState.values() if state != OrderState.ORDER_STATE_CANCELLED}

Request = UpdateOrderRequest | CancelOrderRequest


class Asked(NamedTuple):
    """A change a client wants of an order, which was as `order` when it was read."""

    request: Request
    order: Order
    traceparent: str


class Busy(NamedTuple):
    """Another change of the same order is under way; it must end first."""

    pending: Pending


class Unplaced(NamedTuple):
    """The placement of the order is without an outcome here; it must end first.

    Otherwise the end of the change would end the placement's reservation, and leave its request open for ever.
    """

    pending: placements.Pending


def find(connection: Connection, request: Request) -> Remembered | None:
    """The stored request equal to `request`, None when there is none. Raises Refused (REQUEST_ID_REUSED)."""
    known = REQUESTS.find(connection, [request.request_id])
    return recall(known, request.request_id, fingerprint(request))


def begin(connection: Connection, asked: list[Asked]) -> list[Pending | Busy | Unplaced | Outcome | Refused]:
    """An operation: for each request reserves what it needs more, or answers as before, or says who is first."""
    batch = _Batch(connection, asked)
    results = [refusing(batch.begin, change) for change in asked]
    batch.write()
    return results


class _Batch:
    """The changes one transaction begins: read at once, decided one by one, written at once."""

    def __init__(self, connection: Connection, asked: list[Asked]) -> None:
        self._connection = connection
        time = now()
        order_ids = [a.order.id for a in asked]
        self._ledger = REQUESTS.ledger(connection, [a.request.request_id for a in asked], time)
        self._under_way = under_way(connection, order_ids)
        self._unplaced = placements.pending_of(connection, order_ids)
        self._holdings = holdings(connection, order_ids)
        self._shelf = Inventory(connection, [p for a in asked for p in _wanted(a.request)], time)
        self._begun: list[Pending] = []

    def begin(self, asked: Asked) -> Pending | Busy | Unplaced | Outcome:
        """Begins one request; how far it is. Raises Refused (REQUEST_ID_REUSED, PRODUCT_NOT_FOUND)."""
        request, order_id = asked.request, asked.order.id
        mark = fingerprint(request)
        known = self._ledger.recall(request.request_id, mark)
        if known and known.outcome:
            return known.outcome
        if order_id in self._under_way:
            first = self._under_way[order_id]
            return first if known else Busy(first)
        if order_id in self._unplaced:
            return Unplaced(self._unplaced[order_id])
        self._shelf.check(_wanted(request))
        needed = self._needed(asked)
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
        _INSERT.run(self._connection, [row(pending) for pending in self._begun])

    def _needed(self, asked: Asked) -> Quantities:
        """The units to reserve beyond those reserved: none where the Order Service is going to refuse."""
        if asked.order.state != OrderState.ORDER_STATE_PLACED:
            return {}
        return more(_wanted(asked.request), self._holdings.get(asked.order.id, {}))

    def _note(self, asked: Asked, needed: Quantities) -> Pending:
        cancels = isinstance(asked.request, CancelOrderRequest)
        begun = Pending(asked.request.request_id, cancels, self._hop(asked), needed, asked.traceparent)
        if asked.order.id not in self._holdings and asked.order.state in _HOLDING_STATES:
            # Right for an order that was created with the Order Service itself. With two Product Services on one
            # Order Service it is a mistake: the other one would hold the order's stock for ever.
            _log.warning("order %s, which holds no stock in this database, is changed", asked.order.id)
        self._under_way[begun.order_id] = begun
        self._begun.append(begun)
        return begun

    def _hop(self, asked: Asked) -> Hop:
        """The request to the Order Service, pinned to the version read, so that a refusal stays one for ever."""
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


def _wanted(request: Request) -> dict[str, int]:
    """The units the order shall hold afterwards, where its items change."""
    if isinstance(request, CancelOrderRequest) or request.WhichOneof("change") == "state":
        return {}
    return {item.product_id: item.quantity for item in request.items.items}
