"""The change saga: reserve before, release after.

What an update needs more is reserved before the Order Service is asked; what it needs less is released only when
the Order Service has accepted it. Each request is pinned to the version that was read, so that a late answer can't
undo a later change, and a refusal of it stays one.

| state | input | one commit | next |
|---|---|---|---|
| – | the order's placement is pending | (the placement is brought to its end first) | – |
| – | another change of the order is pending | (that one is brought to its end first) | – |
| – | enough stock for what it needs more | reserve that; remember request and change | pending |
| – | too little | remember the refusal | done |
| pending | made: now, or before, as the order shows | complete: release the surplus; remember the answer | done |
| pending | a final refusal, and the order does not show it | compensate: release, leave the request_id unused | – |
| pending | anything else: in doubt | nothing; asked again under the same id | pending |
"""

import asyncio
import logging
from typing import TypeVar

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import CancelOrderResponse, UpdateOrderResponse
from ordersys.contract.errors import Refused, reason_of, version_mismatch
from ordersys.product_service import evidence
from ordersys.product_service.order_client import OrderServiceClient, OutcomeUnknown, in_doubt
from ordersys.product_service.place_order import PlaceOrderSaga
from ordersys.product_service.saga_runner import SagaRunner, Turns, recover
from ordersys.product_service.store import change_rows, changes, endings
from ordersys.product_service.store.change_rows import Pending
from ordersys.product_service.store.changes import Asked, Busy, Request, Unplaced
from ordersys.product_service.store.endings import Accepted
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.idempotency import Outcome
from ordersys.runtime.storage.database import Database

_log = logging.getLogger(__name__)
# How often a change is begun anew when the order was changed meanwhile by somebody who asks the Order Service himself.
_TRIES = 100
Response = TypeVar("Response", UpdateOrderResponse, CancelOrderResponse)


class ChangeOrderSaga:
    """Updates and cancels orders."""

    def __init__(
        self, database: Database, orders: OrderServiceClient, sagas: SagaRunner, placement: PlaceOrderSaga
    ) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas
        self._placement = placement
        self._turns = Turns()
        self._recovered = ""

    async def make(self, request: Request, traceparent: str, response: type[Response]) -> Response:
        """The order changed, now or before. Raises Refused."""
        return await self._sagas.detached(self._make(request, traceparent, response))

    async def recover(self) -> None:
        """Asks for the pending changes again, as far as the Order Service answers."""
        self._recovered = await recover(self._database, change_rows.pending, self._recovered, self._settle_each)

    async def _settle_each(self, pending: list[Pending]) -> list[Order | BaseException]:
        settling = (self._sagas.background(self._sagas.once(p.saga_id, self._settle, p)) for p in pending)
        return await asyncio.gather(*settling, return_exceptions=True)

    async def _make(self, request: Request, traceparent: str, response: type[Response]) -> Response:
        if known := await self._known(request):
            return known.unpack(response)
        async with self._turns.turn(request.order_id):
            return await self._make_in_turn(request, traceparent, response)

    async def _known(self, request: Request) -> Outcome | None:
        known = await self._database.read(changes.find, request)
        return known.outcome if known else None

    async def _make_in_turn(self, request: Request, traceparent: str, response: type[Response]) -> Response:
        """Reads again when the order changed between reading and asking."""
        refused: Refused | None = None
        for _ in range(_TRIES):
            if known := await self._known(request):
                return known.unpack(response)
            try:
                begun = await self._begin(request, traceparent)
                if isinstance(begun, Outcome):
                    return begun.unpack(response)
                if isinstance(begun, Pending):
                    return response(order=await self._sagas.once(begun.saga_id, self._settle, begun))
                await self._end(begun)
            except Refused as error:
                refused = error
                if not _worth_reading_again(request, error):
                    raise
        raise refused or in_doubt()

    async def _begin(self, request: Request, traceparent: str) -> Pending | Busy | Unplaced | Outcome:
        order = await self._orders.get(request.order_id)
        if request.HasField("expected_version") and request.expected_version != order.version:
            raise version_mismatch(order.id, order.version)
        return await self._database.write(changes.begin, Asked(request, order, traceparent))

    async def _end(self, other: Busy | Unplaced) -> None:
        """Brings what has to end first to its end. Raises OutcomeUnknown while that is in doubt."""
        if isinstance(other, Unplaced):
            await self._placement.complete(other.pending)
            return
        try:
            await self._sagas.once(other.pending.saga_id, self._settle, other.pending)
        except OutcomeUnknown:
            raise
        except Refused as refused:
            _log.debug("the change before was refused: %s", refused)

    async def _settle(self, pending: Pending) -> Order:
        failpoint("change.reserved")
        try:
            order = await self._orders.update(pending.hop, pending.traceparent)
        except OutcomeUnknown:
            raise
        except Refused:
            failpoint("change.refused")
            made = await self._made_before(pending) if pending.resumed else None
            if made is None:
                await self._database.write(endings.compensate, pending)
                failpoint("change.compensated")
                raise
            order = made
        failpoint("change.made")
        await self._database.write(endings.accept, Accepted(pending, order))
        failpoint("change.accepted")
        return order

    async def _made_before(self, pending: Pending) -> Order | None:
        """The order where it shows the change, which is refused now: an earlier try may have been made and forgotten.

        Only asked of a change that is taken up again: the first try is within the time that request_ids are remembered,
        and what the order shows may be somebody else's equal change then.
        """
        order = await self._orders.find(pending.order_id)
        return order if order is not None and evidence.shows(pending.hop, order) else None


def _worth_reading_again(request: Request, refused: Refused) -> bool:
    mismatch = reason_of(refused.status) == ErrorReason.Name(ErrorReason.VERSION_MISMATCH)
    return mismatch and not request.HasField("expected_version")
