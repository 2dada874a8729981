"""Orders, requests and outbox in one database; each operation one transaction for many calls."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    bindparam,
    select,
    update,
)

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import (
    CreateOrderRequest,
    CreateOrderResponse,
    CreateOrderResult,
    ListOrdersRequest,
    UpdateOrderRequest,
    UpdateOrderResponse,
)
from ordersys.contract import topology
from ordersys.contract.errors import StatusError, order_already_exists, order_not_found, result_or_error
from ordersys.contract.events import EventMessage
from ordersys.contract.normalisation import fingerprint
from ordersys.contract.splicing import around, hold_first
from ordersys.contract.times import microseconds
from ordersys.order_service import lifecycle
from ordersys.runtime.base.ids import now
from ordersys.runtime.idempotency import Ledger, Requests, success
from ordersys.runtime.outbox import Outbox, upgrade
from ordersys.runtime.storage.schema import Schema
from ordersys.runtime.storage.statements import Row, Statement, inserting
from ordersys.runtime.storage.traces import step
from ordersys.runtime.tracing.spans import outliving

SCHEMA = Schema("order-service", (upgrade,))
REQUESTS = Requests(SCHEMA.metadata)
OUTBOX = Outbox(SCHEMA.metadata)
ORDERS = Table(
    "orders",
    SCHEMA.metadata,
    # Rises with each order: the key of the pages.
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("order_id", String(36), nullable=False, unique=True),
    Column("customer_id", String(64), nullable=False),
    Column("state", SmallInteger, nullable=False),
    # The order, encoded once: replies, outcomes and events are made of these bytes
    # (docs/performance.md, "What was worth it").
    Column("body", LargeBinary, nullable=False),
    # A page of ListOrders is a range of one of these, whatever it is filtered by and however many orders there are.
    Index("orders_by_customer", "customer_id", "sequence"),
    Index("orders_by_state", "state", "sequence"),
    # No number is given twice: page tokens stand behind one (https://www.sqlite.org/autoinc.html).
    sqlite_autoincrement=True,
)

# Built once: to build a statement takes longer than to run it (docs/performance.md, "What was worth it").
_SELECT = Statement(
    select(ORDERS.c.order_id, ORDERS.c.body).where(ORDERS.c.order_id.in_(bindparam("ids", expanding=True)))
)
_SELECT_LOCKED = Statement(
    select(ORDERS.c.order_id, ORDERS.c.body).where(ORDERS.c.order_id.in_(bindparam("ids", expanding=True))),
    locked_by=ORDERS.c.order_id,
)
_INSERT = inserting(ORDERS)
_UPDATE = Statement(
    update(ORDERS)
    .where(ORDERS.c.order_id == bindparam("id"))
    .values(state=bindparam("new_state"), body=bindparam("new_body"))
)


class Creation(NamedTuple):
    """An order asked for, and the trace it is part of."""

    request: CreateOrderRequest
    traceparent: str


class Change(NamedTuple):
    """A change asked for, and the trace it is part of."""

    request: UpdateOrderRequest
    traceparent: str


# All that becomes of an order is a message that holds its bytes in field 1: it is encoded once.
hold_first("order", CreateOrderResponse, CreateOrderResult, UpdateOrderResponse, OrderCreated, OrderUpdated)


class Encoded(NamedTuple):
    """An order, and its bytes."""

    order: Order
    body: bytes


@step("create", lambda creations, _: [creation.traceparent for creation in creations])
def create(connection: Connection, calls: list[list[Creation]]) -> list[list[bytes | StatusError]]:
    """An operation: creates each order of each call, or answers as before, or refuses it; a CreateOrderResponse."""
    batch = _Batch(connection, [creation.request for call in calls for creation in call], _SELECT)
    results = [[result_or_error(batch.create, creation) for creation in call] for call in calls]
    batch.write()
    return results


@step("change", lambda change, _: [change.traceparent])
def change(connection: Connection, changes: list[Change]) -> list[bytes | StatusError]:
    """An operation: makes each change, or answers as before, or refuses it; an UpdateOrderResponse."""
    # Locked: its version, and the place of its event in the outbox, follow from what it is now.
    batch = _Batch(connection, [change.request for change in changes], _SELECT_LOCKED)
    results = [result_or_error(batch.change, change) for change in changes]
    batch.write()
    return results


def seed(connection: Connection, orders: Iterable[Order]) -> None:
    """Fills a new database with orders that are there from the start: no events tell of them."""
    _INSERT.put(connection, [_row(_encoded(order)) for order in orders])


def purge(connection: Connection, times: list[int]) -> list[int]:
    """An operation: forgets some finished requests from before each time; how many."""
    return [REQUESTS.purge(connection, before) for before in times]


def get(connection: Connection, order_id: str) -> Order:
    """One order. Raises StatusError (ORDER_NOT_FOUND)."""
    orders = _decoded(_SELECT.rows(connection, ids=[order_id]))
    if order_id not in orders:
        raise order_not_found(order_id)
    return orders[order_id].order


def page(connection: Connection, query: ListOrdersRequest, before: int | None, size: int) -> Sequence[Any]:
    """Up to `size` rows (sequence, body) that `query` asks for, the newest first, after the row `before`."""
    rows = select(ORDERS.c.sequence, ORDERS.c.body).order_by(ORDERS.c.sequence.desc()).limit(size)
    if query.customer_id:
        rows = rows.where(ORDERS.c.customer_id == query.customer_id)
    if query.state:
        rows = rows.where(ORDERS.c.state == query.state)
    if before is not None:
        rows = rows.where(ORDERS.c.sequence < before)
    return connection.execute(rows).all()


class _Batch:
    """The orders and requests one transaction is about: read at once, decided one by one, written at once."""

    def __init__(self, connection: Connection, requests: Sequence[Any], orders: Statement) -> None:
        """`orders` selects the orders by their ids."""
        self._connection = connection
        self._time = now()
        # Before the requests, where others commit in between: an order that is seen has its request seen as well. The
        # other way round a repeat would be told ORDER_ALREADY_EXISTS, and its stock be released.
        # Both are asked before the first answer is waited for: one round trip.
        rows = orders.ask(connection, ids=[r.order_id for r in requests])
        ledger = REQUESTS.ask(connection, [r.request_id for r in requests], self._time)
        self._orders: dict[str, Encoded] = _decoded(rows())
        self._ledger: Ledger = ledger()
        self._created: list[str] = []
        self._changed: set[str] = set()
        self._events: list[EventMessage] = []

    def create(self, creation: Creation) -> bytes:
        """A CreateOrderResponse: the order created, now or before. Raises StatusError."""
        request, digest = creation.request, fingerprint(creation.request)
        if (known := self._ledger.recall(request.request_id, digest)) and known.outcome:
            return known.outcome.response()
        # By another request: a repeat of this one was recalled. An earlier one of this very transaction counts as well.
        if request.order_id in self._orders:
            raise order_already_exists(request.order_id)
        created = _encoded(lifecycle.place(request, self._time))
        self._orders[created.order.id] = created
        self._created.append(created.order.id)
        response = around(created.body)
        self._ledger.record(request.request_id, digest, created.order.id, success(response))
        self._events.append(_event(OrderCreated, created.order, response, creation.traceparent))
        return response

    def change(self, change: Change) -> bytes:
        """An UpdateOrderResponse: the order changed, now or before. Raises StatusError."""
        request, digest = change.request, fingerprint(change.request)
        if (known := self._ledger.recall(request.request_id, digest)) and known.outcome:
            return known.outcome.response()
        before = self._orders.get(request.order_id)
        if before is None:
            raise order_not_found(request.order_id)
        order = lifecycle.change(before.order, request, self._time)
        # What changes nothing is a success without an event: nobody has to hear of it.
        after = _encoded(order) if order.version != before.order.version else before
        response = around(after.body)
        self._ledger.record(request.request_id, digest, order.id, success(response))
        if after is not before:
            self._orders[order.id] = after
            self._changed.add(order.id)
            body = response + _what_changed(before.order, order)
            self._events.append(_event(OrderUpdated, order, body, change.traceparent))
        return response

    def write(self) -> None:
        """Writes all that was decided."""
        self._ledger.write()
        _INSERT.put(self._connection, [_row(self._orders[order_id]) for order_id in self._created])
        _UPDATE.put(self._connection, [_new_values(self._orders[order_id]) for order_id in sorted(self._changed)])
        OUTBOX.append(self._connection, self._events)


def _decoded(rows: Iterable[Row]) -> dict[str, Encoded]:
    return {order_id: Encoded(Order.FromString(body), body) for order_id, body in rows}


def _encoded(order: Order) -> Encoded:
    return Encoded(order, order.SerializeToString())


def _row(encoded: Encoded) -> Sequence[Any]:
    """In the order of the table's columns."""
    order, body = encoded
    return order.id, order.customer_id, order.state, body


def _new_values(encoded: Encoded) -> Sequence[Any]:
    order, body = encoded
    return order.state, body, order.id


def _what_changed(before: Order, order: Order) -> bytes:
    """An OrderUpdated without its order."""
    fields = lifecycle.changed_fields(before, order)
    return OrderUpdated(previous_state=before.state, changed_fields=fields).SerializeToString()


def _event(kind: type[Message], order: Order, body: bytes, traceparent: str) -> EventMessage:
    # The same however often it is published: by it each inbox knows a repeat (order_events.proto).
    event_id = f"{order.id}.{order.version}"
    return EventMessage(
        event_id=event_id,
        type=kind.DESCRIPTOR.full_name,
        source=topology.publication(kind.DESCRIPTOR).publisher,
        subject=order.id,
        time=microseconds(order.update_time),
        traceparent=outliving(traceparent, event_id),
        body=body,
    )
