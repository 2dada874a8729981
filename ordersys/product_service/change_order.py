"""Updates and cancels orders: reserve before, release after.

What a change needs more is reserved before the Order Service is asked; what it needs less is released only when the
Order Service has made it. Each request is pinned to the version that was read, so that a late answer can't undo a later
change, and a refusal of it stays one.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import cast

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest as OrderUpdate
from ordersys.contract.access import Caller, check_owner
from ordersys.contract.errors import StatusError, reason_of
from ordersys.product_service.order_client import OrderServiceClient
from ordersys.product_service.saga import Result, Saga, in_doubt
from ordersys.product_service.saga_engine import Description, SagaEngine
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.store import changes as store
from ordersys.product_service.store.changes import Begun, NewChange, Request
from ordersys.product_service.traces import span_of
from ordersys.product_service.turns import Turns
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.idempotency import Outcome
from ordersys.runtime.rpc.traces import own_span
from ordersys.runtime.storage.interface import Storage

# How often a change is begun anew when the order was changed meanwhile by somebody who asks the Order Service himself.
_TRIES = 100


async def _call(orders: OrderServiceClient, sagas: Sequence[Saga]) -> list[Result]:
    failpoint("change.begun")
    results = await asyncio.gather(*(_update(orders, saga) for saga in sagas))
    failpoint("change.called")
    return results


async def _update(orders: OrderServiceClient, saga: Saga) -> Result:
    try:
        return await orders.update(cast(OrderUpdate, saga.order_request), span_of(saga))
    except StatusError as refused:
        return refused


CHANGE_ORDER = Description(
    _call,
    shares_calls=False,
    # The next change of the order would find this one pending, and ask for it once more.
    answers_first=False,
    # The first try is within the time that request_ids are remembered: what the order shows then may be somebody
    # else's equal change.
    first_try_is_looked_up=False,
)


class ChangeOrderSaga:
    """Updates and cancels orders."""

    def __init__(self, database: Storage, orders: OrderServiceClient, engine: SagaEngine, sagas: SagaRunner) -> None:
        self._database = database
        self._orders = orders
        self._engine = engine
        self._sagas = sagas
        self._turns = Turns()

    async def change(self, request: Request, caller: Caller, traceparent: str) -> bytes:
        """The response with the order changed, now or before, encoded. Raises StatusError."""
        asked = self._engine.ask(request.request_id, partial(self._change, request, caller, traceparent))
        return await self._sagas.detached(asked)

    async def _change(self, request: Request, caller: Caller, traceparent: str) -> bytes:
        if known := await self._known(request):  # a repeat of what is done waits for no turn
            return known.response()
        await self._check_owner(request.order_id, caller)
        async with self._turns.turn(request.order_id):
            return await self._change_in_turn(request, traceparent)

    async def _check_owner(self, order_id: str, caller: Caller) -> None:
        """Before version, state or stock say that there is such an order, and before its owner's turns make it wait."""
        if caller.only_for is not None:
            order = await self._orders.get(order_id, own_span())  # once: an owner stays
            check_owner(caller, order.id, order.customer_id)

    async def _known(self, request: Request) -> Outcome | None:
        known = await self._database.read(store.find, request)
        return known.outcome if known else None

    async def _change_in_turn(self, request: Request, traceparent: str) -> bytes:
        """Reads again when the order changed between reading and asking."""
        refused: StatusError | None = None
        for _ in range(_TRIES):
            if known := await self._known(request):  # while it waited, another call with its request_id may have ended
                return known.response()
            try:
                begun = await self._begin(request, traceparent)
                if isinstance(begun, Outcome):
                    return begun.response()
                if isinstance(begun, Saga):
                    return await self._engine.settle_one(begun)
                await self._engine.settle_other(begun.saga)
            except StatusError as error:
                refused = error
                if not _is_worth_reading_again(request, error):
                    raise
        raise refused or in_doubt()

    async def _begin(self, request: Request, traceparent: str) -> Begun:
        # Read first: what it holds already, its prices, and the version the request is pinned to.
        order = await self._orders.get(request.order_id, own_span())
        return await self._database.write(store.begin, NewChange(request, order, traceparent, own_span()))


def _is_worth_reading_again(request: Request, refused: StatusError) -> bool:
    mismatch = reason_of(refused.status) == ErrorReason.Name(ErrorReason.VERSION_MISMATCH)
    return mismatch and not request.HasField("expected_version")
