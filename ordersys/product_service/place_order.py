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
that what is found under it can't be somebody's equal order by chance (of a change it could: see change_order.py).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.contract.errors import Refused, reason_of, refusing
from ordersys.contract.splicing import around
from ordersys.product_service import evidence
from ordersys.product_service.groups import Groups
from ordersys.product_service.order_client import OrderServiceClient, OutcomeUnknown, in_doubt
from ordersys.product_service.saga_runner import SagaRunner, recover
from ordersys.product_service.store import placements as store
from ordersys.product_service.store.placements import Asked, Begun, Completed, Pending, Unanswered
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.idempotency import Outcome
from ordersys.runtime.storage.database import Database

_log = logging.getLogger(__name__)
_TAKEN = ErrorReason.Name(ErrorReason.ORDER_ALREADY_EXISTS)


class PlaceOrderSaga:
    """Places orders."""

    def __init__(self, database: Database, orders: OrderServiceClient, sagas: SagaRunner) -> None:
        self._database = database
        self._orders = orders
        self._sagas = sagas
        self._groups: Groups[Asked, bytes] = Groups(self._place, sagas)
        self._recovered = ""

    async def place(self, requests: Iterable[PlaceOrderRequest], traceparent: str) -> list[bytes | Refused]:
        """The outcome of each, in order: its PlaceOrderResponse, encoded, now or before; or why there is no order.

        Raises Refused (TOO_MANY_CALLS) when none was looked at.
        """
        return await self._groups.join([Asked(request, traceparent) for request in requests])

    async def complete(self, pending: Pending) -> None:
        """Brings a placement to its end, before its order is changed. Raises OutcomeUnknown while it is in doubt."""
        ended = await self._sagas.each_once(self._settle, {pending.order_id: pending})
        if isinstance(ended[pending.order_id], OutcomeUnknown):
            raise in_doubt()

    async def recover(self) -> None:
        """Asks for the pending placements again, the oldest first, as far as the Order Service answers."""
        self._recovered = await recover(self._database, store.pending, self._recovered, self._settle_each)

    async def _settle_each(self, pending: list[Pending]) -> list[bytes | Exception]:
        settling = self._sagas.each_once(self._settle, {one.order_id: one for one in pending})
        ended = await self._sagas.background(settling)
        return [ended[one.order_id] for one in pending]

    async def _place(self, asked: list[Asked]) -> list[bytes | Exception]:
        """One group: reserved in one commit, asked for in one call, completed with the next commit."""
        begun = await self._database.write_each(store.begin, asked)
        pending = {one.order_id: one for one in begun if isinstance(one, Pending)}
        if pending:
            failpoint("placement.reserved")
        settled = await self._sagas.each_once(self._settle, pending)
        unanswered = [one for one in begun if isinstance(one, Unanswered)]
        answers = await asyncio.gather(*map(self._answered, unanswered))
        settled |= {one.order_id: answer for one, answer in zip(unanswered, answers, strict=True)}
        return [_ended(one, settled) for one in begun]

    async def _settle(self, pending: list[Pending]) -> list[bytes | Exception]:
        created = await self._orders.create([one.creation for one in pending])
        if any(isinstance(result, bytes) for result in created):
            failpoint("placement.created")
        refused = [index for index, result in enumerate(created) if _is_final(result)]
        # All at once: where each takes long because the Order Service is away, nobody waits for all of them in turn.
        found = await asyncio.gather(*(self._looked_up(pending[index].creation, created[index]) for index in refused))
        for index, result in zip(refused, found, strict=True):
            created[index] = result
        self._complete(
            [Completed(p, made) for p, made in zip(pending, created, strict=True) if isinstance(made, bytes)]
        )
        if refused := [index for index, result in enumerate(created) if _is_final(result)]:
            released = await self._database.write_each(store.compensate, [pending[index] for index in refused])
            for index, failed in zip(refused, released, strict=True):
                created[index] = failed or created[index]
        return created

    async def _answered(self, unanswered: Unanswered) -> bytes | Exception:
        """The order of a request whose placement a release before 0.2 dropped unfinished, as it was created."""
        try:
            order = await self._orders.find(unanswered.order_id)
        except OutcomeUnknown as error:
            return error
        if order is None:
            return in_doubt()
        creation = CreateOrderRequest(order_id=order.id, customer_id=order.customer_id, items=order.items)
        response = _response(evidence.first_version(creation, order))
        self._complete([Completed(Pending(unanswered.request_id, creation), response)])
        return response

    async def _looked_up(self, creation: CreateOrderRequest, refused: bytes | Exception) -> bytes | Exception:
        """The order of a refused creation where there is one, else the refusal, or doubt.

        An earlier try may have created it, and the Order Service may have forgotten its request_id since: then it
        refuses the repeat as it would refuse a stranger's. An order under an id chosen here, of that customer, is ours.
        """
        try:
            order = await self._orders.find(creation.order_id)
        except OutcomeUnknown as error:
            return error
        if order is not None:
            is_own = evidence.is_own(creation, order)
            return _response(evidence.first_version(creation, order)) if is_own else refused
        taken = isinstance(refused, Refused) and reason_of(refused.status) == _TAKEN
        return in_doubt() if taken else refused  # there and not there: doubt

    def _complete(self, completed: list[Completed]) -> None:
        """Not waited for: the orders exist, and should this commit be lost, a repeat gets the same order."""
        if completed:
            self._database.write_each(store.complete, completed, urgent=False).add_done_callback(_look_at)


def _ended(begun: Begun | Exception, settled: Mapping[str, bytes | Exception]) -> bytes | Exception:
    """The answer to the client of one placement."""
    if isinstance(begun, Pending | Unanswered):
        return settled[begun.order_id]
    return refusing(Outcome.response, begun) if isinstance(begun, Outcome) else begun


def _response(order: Order) -> bytes:
    return around(order.SerializeToString())


def _is_final(result: bytes | Exception) -> bool:
    return isinstance(result, Refused) and not isinstance(result, OutcomeUnknown)


def _look_at(completion: "asyncio.Future[list[Exception | None]]") -> None:
    """Logs the failure of a completion, which nobody waits for."""
    for error in () if completion.cancelled() else filter(None, completion.result()):
        _log.warning("not completed yet, recovery will: %s", error)
