"""Operations on placements: begin (reserve and remember), complete, compensate."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, bindparam, delete, select, update

from ordersys.api.order.v1.order_events_pb2 import OrderRejected, Shortage
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.contract import topology
from ordersys.contract.errors import Refused, out_of_stock, refusing
from ordersys.contract.events import EventMessage
from ordersys.contract.normalisation import fingerprint
from ordersys.contract.times import timestamp
from ordersys.product_service.stock import Quantities
from ordersys.product_service.store.inventory import Inventory
from ordersys.product_service.store.tables import OUTBOX, PLACEMENTS, REQUESTS
from ordersys.runtime.base.ids import now, uuid7
from ordersys.runtime.idempotency import Outcome, refusal, success
from ordersys.runtime.storage.statements import Row, Statement, inserting

INSERT = inserting(PLACEMENTS)
_ID = PLACEMENTS.c.order_id == bindparam("id")
_OPEN = select(PLACEMENTS.c.request_id, PLACEMENTS.c.creation).where(PLACEMENTS.c.pending)
# By order_id, which is a UUID of version 7: the oldest first.
_PENDING = Statement(
    _OPEN.where(PLACEMENTS.c.order_id > bindparam("after")).order_by(PLACEMENTS.c.order_id).limit(bindparam("most"))
)
_PENDING_OF = Statement(_OPEN.where(PLACEMENTS.c.order_id.in_(bindparam("ids", expanding=True))))
_ONE = Statement(_OPEN.where(_ID))
_COMPLETE = Statement(
    update(PLACEMENTS).where(_ID).values(pending=bindparam("new_pending"), creation=bindparam("new_creation"))
)
_STILL_PENDING = Statement(
    select(PLACEMENTS.c.order_id, PLACEMENTS.c.holding).where(
        PLACEMENTS.c.order_id.in_(bindparam("ids", expanding=True)), PLACEMENTS.c.pending
    )
)
DELETE = Statement(delete(PLACEMENTS).where(_ID))


class Asked(NamedTuple):
    """An order a client wants, and the trace it is part of."""

    request: PlaceOrderRequest
    traceparent: str


class Pending(NamedTuple):
    """A placement whose stock is held and whose order may not exist yet."""

    request_id: str
    creation: CreateOrderRequest

    @property
    def order_id(self) -> str:
        """The order it is about."""
        return self.creation.order_id

    @property
    def saga_id(self) -> str:
        """Names the placement: the order's id, chosen for it alone."""
        return self.order_id


class Unanswered(NamedTuple):
    """A request that is open though its placement is gone; its order exists.

    Releases before 0.2 left it so, when the order was cancelled before its placement was completed.
    """

    request_id: str
    order_id: str


class Completed(NamedTuple):
    """A placement whose order exists."""

    pending: Pending
    response: bytes
    """A PlaceOrderResponse."""


Begun: TypeAlias = Pending | Unanswered | Outcome


def begin(connection: Connection, asked: list[Asked]) -> list[Begun | Refused]:
    """An operation: for each request reserves what it wants, or remembers its refusal, or answers as before."""
    batch = _Batch(connection, asked)
    results = [refusing(batch.begin, placement) for placement in asked]
    batch.write()
    return results


def complete(connection: Connection, completed: list[Completed]) -> list[None]:
    """An operation: the orders exist, their placements are done."""
    _COMPLETE.put(connection, [(False, None, pending.order_id) for pending, _ in completed])
    ledger = REQUESTS.ledger(connection, (), now())
    for pending, response in completed:
        ledger.finish(pending.request_id, success(response))
    ledger.write()
    return [None] * len(completed)


def compensate(connection: Connection, refused: list[Pending]) -> list[None]:
    """An operation: the orders will never exist; what is still held for them is released, their ids unused."""
    rows = _STILL_PENDING.rows(connection, ids=[p.order_id for p in refused])
    holdings = {order_id: quantities(holding) for order_id, holding in rows}
    time = now()
    shelf = Inventory(connection, [product_id for holding in holdings.values() for product_id in holding], time)
    ledger = REQUESTS.ledger(connection, (), time)
    for pending in {p.order_id: p for p in refused if p.order_id in holdings}.values():
        shelf.release(holdings[pending.order_id])
        ledger.forget(pending.request_id)
    DELETE.run(connection, [{"id": order_id} for order_id in holdings])
    ledger.write()
    shelf.write()
    return [None] * len(refused)


def pending(connection: Connection, after: str, most: int) -> list[Pending]:
    """Up to `most` placements without an outcome behind the order `after`, the oldest first."""
    return [_pending(row) for row in _PENDING.rows(connection, after=after, most=most)]


def pending_of(connection: Connection, order_ids: list[str]) -> dict[str, Pending]:
    """The placements of these orders that are without an outcome, by order."""
    found = [_pending(row) for row in _PENDING_OF.rows(connection, ids=order_ids)]
    return {placement.order_id: placement for placement in found}


def quantities(stored: str) -> dict[str, int]:
    """Units by product id, from a column."""
    return dict(json.loads(stored))


def stored(quantities: Quantities) -> str:
    """Units by product id, for a column."""
    return json.dumps(quantities)


class _Batch:
    """The placements of one transaction: read at once, decided one by one, written at once."""

    def __init__(self, connection: Connection, asked: list[Asked]) -> None:
        self._connection = connection
        self._time = now()
        self._ledger = REQUESTS.ledger(connection, [a.request.request_id for a in asked], self._time)
        wanted = [item.product_id for a in asked for item in a.request.items]
        self._shelf = Inventory(connection, wanted, self._time)
        self._pending: dict[str, Pending] = {}
        self._events: list[EventMessage] = []

    def begin(self, asked: Asked) -> Pending | Unanswered | Outcome:
        """Begins one request; how far it is. Raises Refused (REQUEST_ID_REUSED, PRODUCT_NOT_FOUND)."""
        request = asked.request
        mark = fingerprint(request)
        if known := self._ledger.recall(request.request_id, mark):
            return known.outcome or self._known(request.request_id, known.subject)
        wanted = {item.product_id: item.quantity for item in request.items}
        self._shelf.check(wanted)
        order_id = uuid7()
        if short := self._shelf.shortages(wanted):
            return self._refuse(asked, mark, order_id, short)
        self._shelf.reserve(wanted)
        self._ledger.open(request.request_id, mark, order_id)
        self._pending[order_id] = Pending(request.request_id, self._creation(asked, order_id, wanted))
        return self._pending[order_id]

    def write(self) -> None:
        """Writes all that was decided."""
        self._ledger.write()
        self._shelf.write()
        INSERT.put(self._connection, [_row(pending) for pending in self._pending.values()])
        OUTBOX.append(self._connection, self._events)

    def _known(self, request_id: str, order_id: str) -> Pending | Unanswered:
        """The open placement of a repeated request."""
        if order_id in self._pending:
            return self._pending[order_id]
        rows = _ONE.rows(self._connection, id=order_id)
        return _pending(rows[0]) if rows else Unanswered(request_id, order_id)

    def _refuse(self, asked: Asked, mark: bytes, order_id: str, short: list[Shortage]) -> Outcome:
        outcome = refusal(out_of_stock(short))
        self._ledger.close(asked.request.request_id, mark, order_id, outcome)
        self._events.append(self._rejected(asked, order_id, short))
        return outcome

    def _creation(self, asked: Asked, order_id: str, wanted: Quantities) -> CreateOrderRequest:
        """The request to the Order Service, with the order's id as request_id: one order, one request."""
        creation = CreateOrderRequest(
            request_id=order_id,
            order_id=order_id,
            customer_id=asked.request.customer_id,
            traceparent=asked.traceparent,
        )
        for product_id, quantity in wanted.items():
            creation.items.add(product_id=product_id, quantity=quantity, unit_price=self._shelf.price(product_id))
        return creation

    def _rejected(self, asked: Asked, order_id: str, short: list[Shortage]) -> EventMessage:
        event = OrderRejected(
            order_id=order_id,
            customer_id=asked.request.customer_id,
            shortages=short,
            reject_time=timestamp(self._time),
        )
        return EventMessage(
            event_id=f"{order_id}.0",
            type=event.DESCRIPTOR.full_name,
            source=topology.publication(event.DESCRIPTOR).publisher,
            subject=order_id,
            time=self._time,
            traceparent=asked.traceparent,
            body=event.SerializeToString(),
        )


def _row(pending: Pending) -> Sequence[Any]:
    """In the order of the table's columns."""
    creation = pending.creation
    holding = stored({item.product_id: item.quantity for item in creation.items})
    return creation.order_id, pending.request_id, True, creation.SerializeToString(), holding


def _pending(row: Row) -> Pending:
    request_id, creation = row
    return Pending(request_id, CreateOrderRequest.FromString(creation))
