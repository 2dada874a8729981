"""The change saga: reserve before, release after.

What an update needs more is reserved before the Order Service is asked; what it needs less is released only when
the Order Service has accepted it. Each question is pinned to the version that was read, so that a refusal is
one for ever and a late answer can't undo a later change.
"""

import asyncio
import logging
from typing import TypeVar

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import CancelOrderResponse, UpdateOrderResponse
from ordersys.contract.errors import Refused, reason_of, version_mismatch
from ordersys.product_service.orders import Orders, OutcomeOpen
from ordersys.product_service.placement import SWEPT_AT_A_TIME
from ordersys.product_service.saga import Sagas
from ordersys.product_service.store import change_rows, changes, endings
from ordersys.product_service.store.change_rows import Pending
from ordersys.product_service.store.changes import Asked, Busy, Request
from ordersys.product_service.store.endings import Accepted
from ordersys.runtime.crash import crash_point
from ordersys.runtime.database import Database
from ordersys.runtime.idempotency import Outcome

_log = logging.getLogger(__name__)
_TRIES = 100
Response = TypeVar("Response", UpdateOrderResponse, CancelOrderResponse)


class Changes:
    """Updates and cancels orders."""

    def __init__(self, database: Database, orders: Orders, sagas: Sagas) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas

    async def make(self, request: Request, traceparent: str, response: type[Response]) -> Response:
        """The order changed, now or before. Raises Refused."""
        return await self._sagas.detached(self._make(request, traceparent, response))

    async def sweep(self) -> None:
        """Brings every change without an outcome to its end, as far as the Order Service answers."""
        pending = await self._database.read(change_rows.pending, SWEPT_AT_A_TIME)
        tries = [self._sagas.once(p.saga_id, self._settle, p) for p in pending]
        for result in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, OutcomeOpen):
                _log.warning("a change found without an outcome ended: %s", result)

    async def _make(self, request: Request, traceparent: str, response: type[Response]) -> Response:
        """Waits its turn, and reads again when the order changed between reading and asking."""
        refused: Refused | None = None
        for _ in range(_TRIES):
            known = await self._database.read(changes.find, request)
            if known and known.outcome:
                return known.outcome.unpack(response)
            try:
                begun = await self._begin(request, traceparent)
                if isinstance(begun, Outcome):
                    return begun.unpack(response)
                if isinstance(begun, Busy):
                    await self._wait_for(begun.pending)
                    continue
                return response(order=await self._sagas.once(begun.saga_id, self._settle, begun))
            except Refused as error:
                refused = error
                if not _worth_reading_again(request, error):
                    raise
        raise refused or RuntimeError("never its turn")

    async def _begin(self, request: Request, traceparent: str) -> Pending | Busy | Outcome:
        order = await self._orders.get(request.order_id)
        if request.HasField("expected_version") and request.expected_version != order.version:
            raise version_mismatch(order.id, order.version)
        return await self._database.write(changes.begin, Asked(request, order, traceparent))

    async def _wait_for(self, other: Pending) -> None:
        try:
            await self._sagas.once(other.saga_id, self._settle, other)
        except OutcomeOpen:
            raise
        except Refused as refused:
            _log.debug("the change before was refused: %s", refused)

    async def _settle(self, pending: Pending) -> Order:
        crash_point("change.reserved")
        try:
            order = await self._orders.update(pending.hop, pending.traceparent)
        except OutcomeOpen:
            raise
        except Refused:
            crash_point("change.refused")
            await self._database.write(endings.take_back, pending)
            crash_point("change.taken_back")
            raise
        crash_point("change.made")
        await self._database.write(endings.accept, Accepted(pending, order))
        crash_point("change.accepted")
        return order


def _worth_reading_again(request: Request, refused: Refused) -> bool:
    mismatch = reason_of(refused.status) == ErrorReason.Name(ErrorReason.VERSION_MISMATCH)
    return mismatch and not request.HasField("expected_version")
