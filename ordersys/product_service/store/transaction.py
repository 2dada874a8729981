"""The one way the Product Service changes its database: read once for many calls, decide each, write once.

An operation serves up to 256 calls in one commit. It reads the rows all of them are about with one query a table,
decides call by call in memory, in the order they came, and writes what changed with one statement a table: calls that
come together see each other's effects, none pays a round trip of its own, and the refusal of one fails no other.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.events import EventMessage
from ordersys.product_service.saga import Kind, OrderRequest, Saga, State, reserved_after
from ordersys.product_service.stock import Quantities, more, plus
from ordersys.product_service.store.inventory import LOCKED, UNLOCKED, Inventory
from ordersys.product_service.store.tables import OUTBOX, REQUESTS, RESERVATIONS, SAGAS, quantities, stored
from ordersys.runtime.base.ids import now
from ordersys.runtime.idempotency import Outcome, success
from ordersys.runtime.storage.statements import Row, Statement, inserting, is_repeated

SELECT_SAGA = select(SAGAS.c.kind, SAGAS.c.request_id, SAGAS.c.order_request, SAGAS.c.reserved, SAGAS.c.traceparent)
_SAGA_OF = Statement(SELECT_SAGA.where(SAGAS.c.order_id == bindparam("id")))
_SAGA_IDS_OF = Statement(
    select(SAGAS.c.order_id, SAGAS.c.saga_id).where(SAGAS.c.order_id.in_(bindparam("ids", expanding=True))),
    locked_by=SAGAS.c.order_id,
)
_INSERT_SAGA = inserting(SAGAS)
_DELETE_SAGA = Statement(delete(SAGAS).where(SAGAS.c.order_id == bindparam("id")))
_RESERVATIONS_OF = Statement(
    select(RESERVATIONS.c.order_id, RESERVATIONS.c.units).where(
        RESERVATIONS.c.order_id.in_(bindparam("ids", expanding=True))
    ),
    locked_by=RESERVATIONS.c.order_id,
)
_INSERT_RESERVATION = inserting(RESERVATIONS)
_UPDATE_RESERVATION = Statement(
    update(RESERVATIONS).where(RESERVATIONS.c.order_id == bindparam("id")).values(units=bindparam("new_units"))
)
_DELETE_RESERVATION = Statement(delete(RESERVATIONS).where(RESERVATIONS.c.order_id == bindparam("id")))
_ORDER_REQUESTS: dict[str, type[OrderRequest]] = {
    Kind.PLACE_ORDER: CreateOrderRequest,
    Kind.CHANGE_ORDER: UpdateOrderRequest,
}


class Transaction:
    """The requests, products and orders one commit is about. `write` is the last thing that is done with it.

    Runs in the writer's thread, and blocks it for as long as SQLite needs. `ledger` has the requests, `inventory` the
    products, `time` is that of the commit, in microseconds since 1970.
    """

    def __init__(  # noqa: PLR0913 - what it is about, table by table
        self,
        connection: Connection,
        *,
        request_ids: Sequence[str] = (),
        product_ids: Iterable[str] = (),
        order_ids: Sequence[str] = (),
        holding_ids: Sequence[str] = (),
        products: Statement | None = None,
    ) -> None:
        """`order_ids`: the orders whose saga matters; `holding_ids`: those that may hold something already.

        `products` reads the products. Without it they are read unlocked, unless that was tried before.
        """
        self.connection = connection
        self.time = now()
        # In this order, and within a table in that of the keys: where processes share a database they lock what they
        # read. The requests last: whoever else is at the same one has been waited for by then, where both want the same
        # products, and its outcome is seen. All are asked before the first answer is waited for: one round trip.
        self._order_ids = frozenset(order_ids)
        saga_ids = _SAGA_IDS_OF.ask(connection, ids=list(order_ids))
        reservations = _RESERVATIONS_OF.ask(connection, ids=list(holding_ids))
        if products is None:
            products = LOCKED if is_repeated(connection) else UNLOCKED
        self.inventory = Inventory(connection, (), self.time, products)
        stock = self.inventory.ask(product_ids)
        ledger = REQUESTS.ask(connection, request_ids, self.time)
        self._saga_ids: dict[str, str] = dict(saga_ids())
        self._reserved = {order_id: quantities(units) for order_id, units in reservations()}
        stock()
        self.ledger = ledger()
        self._begun: dict[str, Saga] = {}
        self._ended: list[str] = []
        self._reservations: dict[str, Quantities] = {}
        self._released: list[Quantities] = []
        self._events: list[EventMessage] = []  # appended in order: their place in the outbox is that in the commit

    def pending(self, order_id: str) -> Saga | None:
        """The saga under way of an order, None when there is none. Read by itself: it is seldom there."""
        if order_id in self._begun:
            return self._begun[order_id]
        if order_id in self._order_ids and order_id not in self._saga_ids:
            return None
        rows = _SAGA_OF.rows(self.connection, id=order_id)
        return saga_of(rows[0]) if rows else None

    def state(self, saga: Saga) -> State:
        """The state of `saga`, of one of `order_ids`; another saga of its order does not make it pending."""
        return State.PENDING if self._saga_ids.get(saga.order_id) == saga.saga_id else State.ENDED

    def reservation(self, order_id: str) -> Quantities:
        """The units one of `holding_ids` holds, without those of its saga; empty when it holds none."""
        return self._reserved.get(order_id, {})

    def begin(self, saga: Saga, fingerprint: bytes) -> Saga:
        """Step.BEGIN. There must be enough stock."""
        self.inventory.reserve(saga.reserved)
        self.ledger.open(saga.request_id, fingerprint, saga.order_id)
        self._begun[saga.order_id] = saga
        return saga

    def reject(
        self, request_id: str, fingerprint: bytes, order_id: str, outcome: Outcome, *events: EventMessage
    ) -> Outcome:
        """Step.REJECT."""
        self.ledger.record(request_id, fingerprint, order_id, outcome)
        self._events += events
        return outcome

    def complete(self, saga: Saga, response: bytes) -> None:
        """Step.COMPLETE: the order holds what it needs from now on, the rest is released."""
        order_id = self._end(saga)
        reservation = self.reservation(order_id)
        held = plus(reservation, saga.reserved) if reservation else saga.reserved
        kept = reserved_after(saga.order_request, held)
        if kept != held:  # of a placement they are one object: no counting on the hot path
            self._released.append(more(held, kept))
        self._reservations[order_id] = kept
        self.ledger.finish(saga.request_id, success(response))

    def compensate(self, saga: Saga) -> None:
        """Step.COMPENSATE."""
        self._end(saga)
        self._released.append(saga.reserved)
        self.ledger.forget(saga.request_id)

    def write(self) -> None:
        """Writes all that was decided."""
        self._release()
        self.inventory.write()
        _DELETE_SAGA.put(self.connection, [(order_id,) for order_id in sorted(self._ended)])
        _INSERT_SAGA.put(self.connection, sorted(map(_row, self._begun.values())))
        self._write_reservations()
        # Behind the products: two that come with one request wait for each other there, where they are locked, too.
        self.ledger.write()
        OUTBOX.append(self.connection, self._events)

    def _end(self, saga: Saga) -> str:
        """Notes that the saga is over; its order's id."""
        order_id = saga.order_id
        del self._saga_ids[order_id]
        self._ended.append(order_id)
        return order_id

    def _release(self) -> None:
        """Releases what the decisions gave back. Its products are read now, when they are known."""
        self.inventory.load({product_id for units in self._released for product_id in units})
        for units in self._released:
            self.inventory.release(units)

    def _write_reservations(self) -> None:
        """An order that holds nothing has no row."""
        kept = [(order_id, stored(units)) for order_id, units in self._reservations.items() if units]
        known = self._reserved
        _INSERT_RESERVATION.put(self.connection, [row for row in kept if row[0] not in known])
        _UPDATE_RESERVATION.put(self.connection, [(units, order) for order, units in kept if order in known])
        gone = [(order_id,) for order_id, units in self._reservations.items() if not units and order_id in known]
        _DELETE_RESERVATION.put(self.connection, gone)


def saga_of(row: Row) -> Saga:
    """The saga of a row that SELECT_SAGA has found."""
    kind, request_id, order_request, reserved, traceparent = row
    return Saga(request_id, _ORDER_REQUESTS[kind].FromString(order_request), quantities(reserved), traceparent, True)


def _row(saga: Saga) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    request = saga.order_request.SerializeToString()
    return (
        saga.order_id,
        saga.saga_id,
        saga.kind.value,
        saga.request_id,
        request,
        stored(saga.reserved),
        saga.traceparent,
    )
