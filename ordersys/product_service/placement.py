"""The placement saga: reserve and remember, create the order, confirm; or take back what was reserved.

Between the commits everything may die: what is pending is repeated, by its client or by the sweep, and the
Order Service knows each order by its id.
"""

import asyncio
import logging

from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest, PlaceOrderResponse
from ordersys.contract.errors import Refused
from ordersys.product_service.orders import Orders, OutcomeOpen
from ordersys.product_service.saga import Sagas
from ordersys.product_service.store import placements as store
from ordersys.product_service.store.placements import Asked, Confirmed, Pending
from ordersys.runtime.crash import crash_point
from ordersys.runtime.database import Database
from ordersys.runtime.idempotency import Outcome
from ordersys.runtime.outbox import Relay

_log = logging.getLogger(__name__)
SWEPT_AT_A_TIME = 500


class Placement:
    """Places orders."""

    def __init__(self, database: Database, orders: Orders, relay: Relay, sagas: Sagas) -> None:
        self._database = database
        self._orders = orders
        self._relay = relay
        self._sagas = sagas

    async def place(self, request: PlaceOrderRequest, traceparent: str) -> PlaceOrderResponse:
        """The order placed, now or before. Raises Refused."""
        return await self._sagas.detached(self._place(Asked(request, traceparent)))

    async def sweep(self) -> None:
        """Brings every placement without an outcome to its end, as far as the Order Service answers."""
        pending = await self._database.read(store.pending, SWEPT_AT_A_TIME)
        tries = [self._sagas.once(p.order_id, self._settle, p) for p in pending]
        for result in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, OutcomeOpen):
                _log.warning("a placement found without an outcome ended: %s", result)

    async def _place(self, asked: Asked) -> PlaceOrderResponse:
        begun: Pending | Outcome = await self._database.write(store.begin, asked)
        if isinstance(begun, Outcome):
            self._relay.wake()
            return begun.unpack(PlaceOrderResponse)
        crash_point("placement.reserved")
        return await self._sagas.once(begun.order_id, self._settle, begun)

    async def _settle(self, pending: Pending) -> PlaceOrderResponse:
        try:
            order = await self._orders.create(pending.creation)
        except OutcomeOpen:
            raise
        except Refused:
            await self._database.write(store.take_back, pending)
            raise
        crash_point("placement.created")
        # Not awaited: the order exists, and should this commit be lost, a repeat gets the same order.
        confirmed = self._database.write(store.confirm, Confirmed(pending, order), urgent=False)
        confirmed.add_done_callback(_check)
        return PlaceOrderResponse(order=order)


def _check(confirmed: "asyncio.Future[None]") -> None:
    if not confirmed.cancelled() and (error := confirmed.exception()):
        _log.warning("not confirmed yet, the sweep will: %s", error)
