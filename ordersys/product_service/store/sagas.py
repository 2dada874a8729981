"""Operations on sagas of either kind: find those that are pending, settle those whose result is known."""

from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam

from ordersys.contract.errors import StatusError
from ordersys.product_service.saga import TRANSITIONS, Kind, Result, Saga, Step, input_of
from ordersys.product_service.store.tables import REQUESTS, SAGAS
from ordersys.product_service.store.transaction import SELECT_SAGA, Transaction, saga_of
from ordersys.product_service.traces import span_of
from ordersys.runtime.storage.statements import Statement
from ordersys.runtime.storage.traces import step

_PENDING = Statement(
    SELECT_SAGA.where(SAGAS.c.order_id > bindparam("after")).order_by(SAGAS.c.order_id).limit(bindparam("limit"))
)
_USE = Statement(
    SELECT_SAGA.select_from(
        REQUESTS.table.outerjoin(
            SAGAS,
            and_(SAGAS.c.order_id == REQUESTS.table.c.subject, SAGAS.c.request_id == REQUESTS.table.c.request_id),
        )
    ).where(REQUESTS.table.c.request_id == bindparam("id"))
)


class Use(NamedTuple):
    """The use a request_id is in."""

    saga: Saga | None
    """The saga that is pending under it, and may yet leave it unused; None where it is used for good."""


class Settled(NamedTuple):
    """A saga and its result, which is not in doubt."""

    saga: Saga
    result: Result


def pending(connection: Connection, after: str, limit: int) -> list[Saga]:
    """Up to `limit` sagas under way of the orders behind `after`; an order's id begins with its time."""
    return [saga_of(row) for row in _PENDING.rows(connection, after=after, limit=limit)]


def use_of(connection: Connection, request_id: str) -> Use | None:
    """The use of a request_id, None while it is unused."""
    rows = _USE.rows(connection, id=request_id)
    if not rows:
        return None
    return Use(saga_of(rows[0]) if rows[0][0] is not None else None)


@step("confirm", lambda settled, _: [span_of(settled.saga)])
def settle(connection: Connection, settled: list[Settled]) -> list[None]:
    """An operation: each saga is completed or compensated, unless it has ended before."""
    transaction = Transaction(
        connection,
        order_ids=[saga.order_id for saga, _ in settled],
        holding_ids=[saga.order_id for saga, _ in settled if saga.kind is Kind.CHANGE_ORDER],
    )
    for saga, result in settled:
        match TRANSITIONS[transaction.state(saga), input_of(result)].step, result:
            case Step.COMPLETE, bytes(response):
                transaction.complete(saga, response)
            case Step.COMPENSATE, StatusError():
                transaction.compensate(saga)
            case _:
                pass
    transaction.write()
    return [None] * len(settled)
