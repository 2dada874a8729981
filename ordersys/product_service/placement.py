"""The placement saga: reserve and remember, create the order, confirm; or take back what was reserved.

Between the commits everything may die: what is pending is repeated, by its client or by the sweep, and the
Order Service knows each order by its id.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import TypeVar

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest, PlaceOrderResponse
from ordersys.contract.errors import Refused
from ordersys.product_service.orders import Orders, OutcomeOpen
from ordersys.product_service.saga import Sagas
from ordersys.product_service.store import placements as store
from ordersys.product_service.store.placements import Asked, Confirmed, Pending
from ordersys.runtime.crash import crash_point
from ordersys.runtime.database import Database, refusing
from ordersys.runtime.idempotency import Outcome
from ordersys.runtime.relay import Relay

R = TypeVar("R")
_log = logging.getLogger(__name__)
SWEPT_AT_A_TIME = 500


class Placement:
    """Places orders."""

    def __init__(self, database: Database, orders: Orders, relay: Relay, sagas: Sagas) -> None:
        self._database = database
        self._orders = orders
        self._relay = relay
        self._sagas = sagas

    async def place(self, requests: Iterable[PlaceOrderRequest], traceparent: str) -> list[Order | Refused]:
        """What became of each, in order: its order, placed now or before, or why there is none.

        Raises Refused (TOO_MANY_CALLS) when none was looked at.
        """
        return await self._sagas.detached(self._place([Asked(request, traceparent) for request in requests]))

    async def sweep(self) -> None:
        """Brings every placement without an outcome to its end, as far as the Order Service answers."""
        pending = await self._database.read(store.pending, SWEPT_AT_A_TIME)
        ended = await self._sagas.each_once(self._settle, {p.order_id: p for p in pending})
        for result in ended.values():
            if isinstance(result, Exception) and not isinstance(result, OutcomeOpen):
                _log.warning("a placement found without an outcome ended: %s", result)

    async def _place(self, asked: list[Asked]) -> list[Order | Refused]:
        """All begin at once, and go on at once: they share the commits and the calls."""
        begun = await _each(self._begin(one) for one in asked)
        if any(isinstance(one, Outcome) for one in begun):
            self._relay.wake()
        pending = {one.order_id: one for one in begun if isinstance(one, Pending)}
        if pending:
            crash_point("placement.reserved")
        settled = await self._sagas.each_once(self._settle, pending)
        return [_answer(settled[one.order_id] if isinstance(one, Pending) else one) for one in begun]

    def _begin(self, asked: Asked) -> "asyncio.Future[Pending | Outcome]":
        return self._database.write(store.begin, asked)

    async def _settle(self, pending: list[Pending]) -> list[Order | Exception]:
        created = await _each(self._orders.create(one.creation) for one in pending)
        if any(isinstance(result, Order) for result in created):
            crash_point("placement.created")
        for one, result in zip(pending, created, strict=True):
            if isinstance(result, Order):
                self._confirm(Confirmed(one, result))
        refused = [index for index, result in enumerate(created) if _is_definite(result)]
        taken_back = await _each(self._database.write(store.take_back, pending[index]) for index in refused)
        for index, failed in zip(refused, taken_back, strict=True):
            created[index] = failed or created[index]
        return created

    def _confirm(self, confirmed: Confirmed) -> None:
        """Not waited for: the order exists, and should this commit be lost, a repeat gets the same order."""
        self._database.write(store.confirm, confirmed, urgent=False).add_done_callback(_check)


async def _each(futures: Iterable["asyncio.Future[R]"]) -> list[R | Exception]:
    """What comes of each. All are handed in before the first is waited for; those of one batch end at once."""
    results: list[R | Exception] = []
    for future in list(futures):
        try:
            results.append(await future)
        except Exception as error:  # noqa: BLE001 - the result of its item
            results.append(error)
    return results


def _answer(ended: Order | Outcome | Exception) -> Order | Refused:
    """What a client is told; what nobody foresaw is raised."""
    if isinstance(ended, Outcome):
        return refusing(_order, ended)
    if isinstance(ended, Order | Refused):
        return ended
    raise ended


def _order(outcome: Outcome) -> Order:
    return outcome.unpack(PlaceOrderResponse).order


def _is_definite(result: Order | Exception) -> bool:
    return isinstance(result, Refused) and not isinstance(result, OutcomeOpen)


def _check(confirmed: "asyncio.Future[None]") -> None:
    if not confirmed.cancelled() and (error := confirmed.exception()):
        _log.warning("not confirmed yet, the sweep will: %s", error)
