"""Places orders: calls form groups; the sagas of a group are begun in one commit and asked for in one call."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.contract.errors import StatusError, result_or_error
from ordersys.contract.splicing import around
from ordersys.product_service.groups import Groups
from ordersys.product_service.order_client import OrderServiceClient
from ordersys.product_service.saga import OutcomeUnknown, Result, Saga, first_version, in_doubt
from ordersys.product_service.saga_engine import Description, SagaEngine
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.store import placements as store
from ordersys.product_service.store.placements import Answered, Begun, NewPlacement, Unanswered
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.idempotency import Outcome, RequestIdReused
from ordersys.runtime.rpc.status import foreseen
from ordersys.runtime.rpc.traces import own_span
from ordersys.runtime.storage.errors import CommitUnknown, StorageUnavailable
from ordersys.runtime.storage.interface import Storage


async def _call(orders: OrderServiceClient, sagas: Sequence[Saga]) -> list[Result]:
    failpoint("placement.begun")  # dies here: stock is reserved, and the Order Service knows nothing
    # Of this kind all are creations (Saga.kind).
    results = await orders.create([cast(CreateOrderRequest, saga.order_request) for saga in sagas])
    failpoint("placement.called")  # dies here: orders may exist, and their sagas are pending
    return results


PLACE_ORDER = Description(
    _call,
    shares_calls=True,
    answers_first=True,
    # An order's id is chosen for one placement alone: what is found under it is no stranger's.
    first_try_is_looked_up=True,
)


class PlaceOrderSaga:
    """Places orders."""

    def __init__(self, database: Storage, orders: OrderServiceClient, engine: SagaEngine, sagas: SagaRunner) -> None:
        self._database = database
        self._orders = orders
        self._engine = engine
        self._groups: Groups[NewPlacement, bytes | Saga] = Groups(self._place, sagas)

    async def place(self, requests: Iterable[PlaceOrderRequest], traceparent: str) -> list[bytes | StatusError]:
        """The outcome of each, in order: its PlaceOrderResponse, encoded, now or before; or why there is no order.

        Raises StatusError (TOO_MANY_CALLS) when none was looked at.
        """
        placements = [NewPlacement(request, traceparent, own_span()) for request in requests]
        placed: list[Any] = list(await self._groups.join(placements))
        late = [index for index, answer in enumerate(placed) if isinstance(answer, RequestIdReused | Saga)]
        answers = await asyncio.gather(*(self._later(placements[index], placed[index]) for index in late))
        for index, answer in zip(late, answers, strict=True):
            placed[index] = answer
        return placed

    async def _later(self, placement: NewPlacement, answer: RequestIdReused | Saga) -> bytes | StatusError:
        """The answer to one that its group does not wait for.

        It is under way for somebody else; or its request_id is that of another request, which may yet come to nothing.
        """
        try:
            if isinstance(answer, Saga):
                return await self._engine.settle_one(answer)
            return await self._engine.ask(placement.request.request_id, partial(self._place_alone, placement))
        except StatusError as refused:
            return refused
        except (StorageUnavailable, CommitUnknown) as error:  # of this one alone: others of its batch may be placed
            return cast(StatusError, foreseen(error))

    async def _place_alone(self, placement: NewPlacement) -> bytes:
        (placed,) = await self._groups.join([placement])
        if isinstance(placed, StatusError):
            raise placed
        return await self._engine.settle_one(placed) if isinstance(placed, Saga) else placed

    async def _place(self, placements: list[NewPlacement]) -> list[Result | Saga]:
        """One group: begun in one commit, asked for in one call, completed with the next commit.

        The saga itself of what is under way for others: they would have all of the group wait for their answer.
        """
        begun = await self._database.write_each(store.begin, placements)
        sagas = [saga for saga in begun if isinstance(saga, Saga)]
        shared = {saga.saga_id: saga for saga in sagas if self._engine.is_under_way(saga)}
        results: dict[str, Result | Saga] = dict(shared)
        results |= await self._engine.settle(saga for saga in sagas if saga.saga_id not in shared)
        unanswered = [request for request in begun if isinstance(request, Unanswered)]
        answers = await asyncio.gather(*map(self._answered, unanswered))
        # Saga ids of placements are order ids as well: the two kinds of keys can't meet.
        results |= {request.order_id: answer for request, answer in zip(unanswered, answers, strict=True)}
        return [_result(request, results) for request in begun]

    async def _answered(self, unanswered: Unanswered) -> Result:
        """The order of a request whose placement an earlier release dropped unfinished, as it was created."""
        try:
            order = await self._orders.find(unanswered.order_id, "")
        except OutcomeUnknown as error:
            return error
        if order is None:
            return in_doubt()
        first = CreateOrderRequest(order_id=order.id, customer_id=order.customer_id, items=order.items)
        response = around(first_version(unanswered.creation or first, order).SerializeToString())
        (failure,) = await self._database.write_each(store.answer, [Answered(unanswered.request_id, response)])
        return failure or response


def _result(begun: Begun | Exception, results: Mapping[str, Result | Saga]) -> Result | Saga:
    """The answer to the client of one placement."""
    if isinstance(begun, Saga | Unanswered):
        return results[begun.saga_id if isinstance(begun, Saga) else begun.order_id]
    return result_or_error(Outcome.response, begun) if isinstance(begun, Outcome) else begun
