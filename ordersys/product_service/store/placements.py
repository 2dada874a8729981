"""Operations that begin placements: reserve what is wanted, or remember why not."""

from functools import partial
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, bindparam, select

from ordersys.api.order.v1.order_events_pb2 import OrderRejected, Shortage
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.contract import normalisation, topology
from ordersys.contract.errors import StatusError, out_of_stock, result_or_error
from ordersys.contract.events import EventMessage
from ordersys.contract.times import timestamp
from ordersys.product_service.saga import TRANSITIONS, Input, Saga, State, Step
from ordersys.product_service.store.tables import REQUESTS
from ordersys.product_service.store.transaction import Transaction
from ordersys.product_service.traces import trace_of
from ordersys.runtime.base.ids import now, uuid7
from ordersys.runtime.idempotency import Outcome, refusal, success
from ordersys.runtime.storage.errors import RaceLost
from ordersys.runtime.storage.statements import Statement
from ordersys.runtime.storage.traces import step
from ordersys.runtime.tracing.spans import outliving


class NewPlacement(NamedTuple):
    """An order a client wants, and the trace it is part of."""

    request: PlaceOrderRequest
    traceparent: str
    call: str = ""
    """The context of the span of the call that asks for it."""


class Unanswered(NamedTuple):
    """A request that is open though it has no saga; its order exists.

    Databases of schema version 1 may have it, when the order was changed before its placement was completed.
    """

    request_id: str
    order_id: str
    creation: CreateOrderRequest | None
    """The order that was asked for, None where that is not known."""


class Answered(NamedTuple):
    """The response to an unanswered request."""

    request_id: str
    response: bytes


_KEPT_CREATION = Statement(
    select(REQUESTS.table.c.code, REQUESTS.table.c.body).where(REQUESTS.table.c.request_id == bindparam("id"))
)
Begun: TypeAlias = Saga | Unanswered | Outcome


@step("reserve", lambda asked, begun: [trace_of(asked, begun)])
def begin(connection: Connection, placements: list[NewPlacement]) -> list[Begun | StatusError]:
    """An operation: for each request reserves what it wants, or remembers its refusal, or answers as before."""
    transaction = Transaction(
        connection,
        request_ids=[placement.request.request_id for placement in placements],
        product_ids=[item.product_id for placement in placements for item in placement.request.items],
    )
    results = [result_or_error(partial(_begin, transaction), placement) for placement in placements]
    transaction.write()
    return results


def answer(connection: Connection, answered: list[Answered]) -> list[None]:
    """An operation: unanswered requests have their answer."""
    ledger = REQUESTS.ledger(connection, (), now())
    for request_id, response in answered:
        ledger.finish(request_id, success(response))
    ledger.write()
    return [None] * len(answered)


def _begin(transaction: Transaction, placement: NewPlacement) -> Begun:
    """One request. Raises StatusError (REQUEST_ID_REUSED, PRODUCT_NOT_FOUND)."""
    request = placement.request
    fingerprint = normalisation.fingerprint(request)
    if known := transaction.ledger.recall(request.request_id, fingerprint):
        return known.outcome or begun_before(transaction, request.request_id, known.subject)
    # Loses nothing: by the contract a product stands in a request once.
    wanted = {item.product_id: item.quantity for item in request.items}
    transaction.inventory.check(wanted)
    order_id = uuid7()  # also where there will be no order: OrderRejected is about one
    shortages = transaction.inventory.shortages(wanted)
    if TRANSITIONS[State.NEW, Input.SHORT if shortages else Input.ENOUGH].step is Step.REJECT:
        event = _rejected(placement, order_id, shortages, transaction.time)
        outcome = refusal(out_of_stock(shortages))
        return transaction.reject(request.request_id, fingerprint, order_id, outcome, event)
    creation = _creation(transaction, placement, order_id)
    saga = Saga(request.request_id, creation, wanted, placement.traceparent, call=placement.call)
    return transaction.begin(saga, fingerprint)


def begun_before(transaction: Transaction, request_id: str, order_id: str) -> Saga | Unanswered:
    """The saga of an open request; that which is pending may be a change of the order. Raises RaceLost."""
    saga = transaction.pending(order_id)
    if saga is not None and saga.request_id == request_id:
        return saga
    kept = _KEPT_CREATION.rows(transaction.connection, id=request_id)
    if not kept or kept[0][0] is not None:
        # Another process has settled the saga since the request was read.
        raise RaceLost(f"request {request_id} is not open any more")
    body = kept[0][1]
    return Unanswered(request_id, order_id, CreateOrderRequest.FromString(body) if body else None)


def _creation(transaction: Transaction, placement: NewPlacement, order_id: str) -> CreateOrderRequest:
    """The request to the Order Service, with the order's id as request_id: one order, one request."""
    request = placement.request
    creation = CreateOrderRequest(
        request_id=order_id,
        order_id=order_id,
        customer_id=request.customer_id,
        traceparent=outliving(placement.traceparent, order_id),  # of the saga's span
    )
    for item in request.items:
        price = transaction.inventory.price(item.product_id)
        creation.items.add(product_id=item.product_id, quantity=item.quantity, unit_price=price)
    return creation


def _rejected(placement: NewPlacement, order_id: str, shortages: list[Shortage], time: int) -> EventMessage:
    event = OrderRejected(
        order_id=order_id,
        customer_id=placement.request.customer_id,
        shortages=shortages,
        reject_time=timestamp(time),
    )
    event_id = f"{order_id}.0"  # events of an order that exists begin with version 1
    return EventMessage(
        event_id=event_id,
        type=event.DESCRIPTOR.full_name,
        source=topology.publication(event.DESCRIPTOR).publisher,
        subject=order_id,
        time=time,
        traceparent=outliving(placement.traceparent, event_id),
        body=event.SerializeToString(),
    )
