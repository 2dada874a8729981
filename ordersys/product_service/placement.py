"""The placement saga: reserve and remember, create the order, complete; or compensate: release what was reserved.

Between the commits everything may die: what is pending is repeated, by its client or by recovery, and the Order
Service knows each order by its id.

| state | input | one commit | next |
|---|---|---|---|
| – | PlaceOrder, enough stock | reserve; remember request and placement | pending |
| – | PlaceOrder, too little stock | remember the rejection; OrderRejected into the outbox | done |
| pending | the order exists: created now or before | complete: remember the answer | done |
| pending | a final refusal, and no such order, or somebody else's | compensate: release, leave the id unused | – |
| pending | anything else: in doubt | nothing; asked again under the same ids | pending |

Before it compensates it reads the order, also at the first try: an order's id is chosen for one placement alone, so
that what is found under it can't be somebody's equal order by chance (of a change it could: see change.py).
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import TypeVar

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest, PlaceOrderResponse
from ordersys.contract.errors import Refused, reason_of
from ordersys.product_service import evidence
from ordersys.product_service.orders import Orders, OutcomeOpen, in_doubt
from ordersys.product_service.saga import Sagas, recover
from ordersys.product_service.store import placements as store
from ordersys.product_service.store.placements import Asked, Confirmed, Pending, Unanswered
from ordersys.runtime.crash import crash_point
from ordersys.runtime.database import Database, refusing
from ordersys.runtime.idempotency import Outcome

R = TypeVar("R")
_log = logging.getLogger(__name__)
_TAKEN = ErrorReason.Name(ErrorReason.ORDER_ALREADY_EXISTS)


class Placement:
    """Places orders."""

    def __init__(self, database: Database, orders: Orders, sagas: Sagas) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas
        self._recovered = ""

    async def place(self, requests: Iterable[PlaceOrderRequest], traceparent: str) -> list[Order | Refused]:
        """What became of each, in order: its order, placed now or before, or why there is none.

        Raises Refused (TOO_MANY_CALLS) when none was looked at.
        """
        return await self._sagas.detached(self._place([Asked(request, traceparent) for request in requests]))

    async def complete(self, pending: Pending) -> None:
        """Brings a placement to its end, before its order is changed. Raises OutcomeOpen while it is in doubt."""
        ended = await self._sagas.each_once(self._settle, {pending.order_id: pending})
        if isinstance(ended[pending.order_id], OutcomeOpen):
            raise in_doubt()

    async def recover(self) -> None:
        """Asks for the pending placements again, the oldest first, as far as the Order Service answers."""
        self._recovered = await recover(self._database, store.pending, self._recovered, self._settle_each)

    async def _settle_each(self, pending: list[Pending]) -> list[Order | Exception]:
        settling = self._sagas.each_once(self._settle, {one.order_id: one for one in pending})
        ended = await self._sagas.background(settling)
        return [ended[one.order_id] for one in pending]

    async def _place(self, asked: list[Asked]) -> list[Order | Refused]:
        """All begin at once, and go on at once: they share the commits and the calls."""
        begun = await _each(self._begin(one) for one in asked)
        pending = {one.order_id: one for one in begun if isinstance(one, Pending)}
        if pending:
            crash_point("placement.reserved")
        settled = await self._sagas.each_once(self._settle, pending)
        unanswered = [one for one in begun if isinstance(one, Unanswered)]
        settled |= {one.order_id: await self._answered(one) for one in unanswered}
        return [_answer(settled[one.order_id] if isinstance(one, Pending | Unanswered) else one) for one in begun]

    def _begin(self, asked: Asked) -> "asyncio.Future[Pending | Unanswered | Outcome]":
        return self._database.write(store.begin, asked)

    async def _settle(self, pending: list[Pending]) -> list[Order | Exception]:
        created = await _each(self._orders.create(one.creation) for one in pending)
        if any(isinstance(result, Order) for result in created):
            crash_point("placement.created")
        created = [
            await self._looked_up(one.creation, result) if _is_final(result) else result
            for one, result in zip(pending, created, strict=True)
        ]
        for one, result in zip(pending, created, strict=True):
            if isinstance(result, Order):
                self._confirm(Confirmed(one, result))
        refused = [index for index, result in enumerate(created) if _is_final(result)]
        released = await _each(self._database.write(store.compensate, pending[index]) for index in refused)
        for index, failed in zip(refused, released, strict=True):
            created[index] = failed or created[index]
        return created

    async def _answered(self, unanswered: Unanswered) -> Order | Exception:
        """The order of a request whose placement a release before 0.2 dropped unfinished, as it was created."""
        try:
            order = await self._orders.find(unanswered.order_id)
        except OutcomeOpen as error:
            return error
        if order is None:
            return in_doubt()
        creation = CreateOrderRequest(order_id=order.id, customer_id=order.customer_id, items=order.items)
        first = evidence.first_version(creation, order)
        self._confirm(Confirmed(Pending(unanswered.request_id, creation), first))
        return first

    async def _looked_up(self, creation: CreateOrderRequest, refused: Order | Exception) -> Order | Exception:
        """The order of a refused creation where there is one, else the refusal, or doubt.

        An earlier try may have created it, and the Order Service may have forgotten its request_id since: then it
        refuses the repeat as it would refuse a stranger's. An order under an id chosen here, of that customer, is ours.
        """
        try:
            order = await self._orders.find(creation.order_id)
        except OutcomeOpen as error:
            return error
        if order is not None:
            return evidence.first_version(creation, order) if evidence.is_own(creation, order) else refused
        taken = isinstance(refused, Refused) and reason_of(refused.status) == _TAKEN
        return in_doubt() if taken else refused  # there and not there: doubt

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


def _is_final(result: Order | Exception) -> bool:
    return isinstance(result, Refused) and not isinstance(result, OutcomeOpen)


def _check(confirmed: "asyncio.Future[None]") -> None:
    if not confirmed.cancelled() and (error := confirmed.exception()):
        _log.warning("not completed yet, recovery will: %s", error)
