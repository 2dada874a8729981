"""Operations that begin changes of orders: reserve what is needed more, remember what is asked."""

import logging
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import OrderItems
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as OrderUpdate
from ordersys.api.product.v1.product_service_pb2 import CancelOrderRequest, ItemQuantity, UpdateOrderRequest
from ordersys.contract import normalisation
from ordersys.contract.errors import StatusError, out_of_stock, result_or_error, version_mismatch
from ordersys.product_service.saga import TRANSITIONS, Input, Saga, State, Step
from ordersys.product_service.stock import Quantities, more
from ordersys.product_service.store.tables import REQUESTS
from ordersys.product_service.store.transaction import Transaction
from ordersys.product_service.traces import trace_of
from ordersys.runtime.base.ids import uuid7
from ordersys.runtime.idempotency import Outcome, Remembered, recall, refusal
from ordersys.runtime.storage.errors import RaceLost
from ordersys.runtime.storage.traces import step

_log = logging.getLogger(__name__)
_HOLDING_STATES = {state for state in OrderState.values() if state != OrderState.ORDER_STATE_CANCELLED}

Request: TypeAlias = UpdateOrderRequest | CancelOrderRequest


class NewChange(NamedTuple):
    """A change a client wants of an order, which was as `order` when it was read."""

    request: Request
    order: Order
    traceparent: str
    call: str = ""
    """The context of the span of the call that asks for it."""


class OtherPending(NamedTuple):
    """Another saga of the same order is under way, its placement or a change; it must be settled first."""

    saga: Saga


Begun: TypeAlias = Saga | OtherPending | Outcome


def find(connection: Connection, request: Request) -> Remembered | None:
    """The stored request equal to `request`, None when there is none. Raises StatusError (REQUEST_ID_REUSED)."""
    known = REQUESTS.find(connection, [request.request_id])
    return recall(known, request.request_id, normalisation.fingerprint(request))


@step("reserve", lambda asked, begun: [trace_of(asked, begun)])
def begin(connection: Connection, changes: list[NewChange]) -> list[Begun | StatusError]:
    """An operation: for each request reserves what it needs more, or answers as before, or says who is first."""
    transaction = Transaction(
        connection,
        request_ids=[change.request.request_id for change in changes],
        product_ids=[product_id for change in changes for product_id in _wanted(change.request)],
        order_ids=[change.order.id for change in changes],
        holding_ids=[change.order.id for change in changes],
    )
    results = [result_or_error(partial(_begin, transaction), change) for change in changes]
    transaction.write()
    return results


def _begin(transaction: Transaction, change: NewChange) -> Begun:
    """One request. Raises StatusError (REQUEST_ID_REUSED, VERSION_MISMATCH, PRODUCT_NOT_FOUND), RaceLost."""
    request, order = change.request, change.order
    fingerprint = normalisation.fingerprint(request)
    if (known := transaction.ledger.recall(request.request_id, fingerprint)) and known.outcome:
        return known.outcome
    pending = transaction.pending(order.id)
    if pending and pending.request_id == request.request_id:
        return pending
    if known:  # begun by another process since the sagas were read
        raise RaceLost(f"request {request.request_id} was not open before")
    # Not before: the order is at a later version where this very request was made and its reply lost.
    if request.HasField("expected_version") and request.expected_version != order.version:
        raise version_mismatch(order.id, order.version)
    if pending:
        return OtherPending(pending)
    transaction.inventory.check(_wanted(request))
    needed = _needed(transaction, change)
    shortages = transaction.inventory.shortages(needed)
    if TRANSITIONS[State.NEW, Input.SHORT if shortages else Input.ENOUGH].step is Step.REJECT:
        return transaction.reject(request.request_id, fingerprint, order.id, refusal(out_of_stock(shortages)))
    _warn_of_another_owner(transaction, order)
    update = _order_update(transaction, change)
    saga = Saga(request.request_id, update, needed, change.traceparent, call=change.call)
    return transaction.begin(saga, fingerprint)


def _needed(transaction: Transaction, change: NewChange) -> Quantities:
    """The units to reserve beyond those reserved: none where the Order Service is going to refuse.

    Want of stock would hide the true reason otherwise, and a refusal for want of it is kept (see idempotency).
    """
    if change.order.state != OrderState.ORDER_STATE_PLACED:
        return {}
    return more(_wanted(change.request), transaction.reservation(change.order.id))


def _warn_of_another_owner(transaction: Transaction, order: Order) -> None:
    """An order that holds no stock here is right where it was created with the Order Service itself.

    With two Product Services on one Order Service it is a mistake: the other one would hold its stock for ever.
    """
    if not transaction.reservation(order.id) and order.state in _HOLDING_STATES:
        _log.warning("order %s, which holds no stock in this database, is changed", order.id)


def _order_update(transaction: Transaction, change: NewChange) -> OrderUpdate:
    """The request to the Order Service, pinned to the version read, so that a refusal stays one for ever."""
    request, order = change.request, change.order
    update = OrderUpdate(request_id=uuid7(), order_id=order.id, expected_version=order.version)
    if isinstance(request, CancelOrderRequest):
        update.state = OrderState.ORDER_STATE_CANCELLED
    elif request.WhichOneof("change") == "state":
        update.state = request.state
    else:
        update.items.CopyFrom(_priced(transaction, request.items.items, order))
    return update


def _priced(transaction: Transaction, items: Iterable[ItemQuantity], order: Order) -> OrderItems:
    """An item that stays in the order keeps the price it was ordered at."""
    prices = {item.product_id: item.unit_price for item in order.items}
    priced = OrderItems()
    for item in items:
        price = prices.get(item.product_id) or transaction.inventory.price(item.product_id)
        priced.items.add(product_id=item.product_id, quantity=item.quantity, unit_price=price)
    return priced


def _wanted(request: Request) -> dict[str, int]:
    """The units the order shall hold afterwards, where its items change."""
    if isinstance(request, CancelOrderRequest) or request.WhichOneof("change") == "state":
        return {}
    return {item.product_id: item.quantity for item in request.items.items}
