"""The saga engine: call, complete or compensate, recover. Of a saga's kind it knows what a description says.

What is done in which state stands in `saga.TRANSITIONS`. A saga is begun by `place_order` or `change_order`, and ended
here, by `store.sagas.settle`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.contract.errors import StatusError
from ordersys.contract.splicing import around
from ordersys.product_service.measures import SagaMeasures
from ordersys.product_service.order_client import OrderServiceClient
from ordersys.product_service.saga import Input, Kind, OutcomeUnknown, Result, Saga, in_doubt, input_of, verdict
from ordersys.product_service.saga_runner import SagaRunner
from ordersys.product_service.store import sagas as store
from ordersys.product_service.store.sagas import Settled
from ordersys.product_service.traces import record_ended, span_of
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.ids import now, uuid7_time
from ordersys.runtime.idempotency import RequestIdReused
from ordersys.runtime.storage.interface import Storage

R = TypeVar("R")
_log = logging.getLogger(__name__)
# A third of the calls the Order Service admits by default, so that live traffic finds room after an outage.
_RECOVERED_AT_A_TIME = 100
# What began later than that is in the hands of the call that began it, or about to be completed.
_YOUNG_MICROSECONDS = 1_000_000
# Of a shared database: the calls of other processes are not known here, and would be made twice.
_SHARED_YOUNG_MICROSECONDS = 5_000_000
_TRIES = 100  # of a request under whose id others come to nothing one after the other


@dataclass(frozen=True, slots=True)
class Description:
    """A kind of saga, as far as the engine has to know it."""

    call: Callable[[OrderServiceClient, Sequence[Saga]], Awaitable[list[Result]]]
    """Asks the Order Service for each."""
    shares_calls: bool
    """True when one call serves many sagas."""
    answers_first: bool
    """True when the client is answered before the completion is committed, which then rides with another commit.

    Should that commit be lost, the saga is still pending, and a repeat gets the same result from the Order Service.
    """
    first_try_is_looked_up: bool
    """True when the order is read even after the first call was refused: nobody else can have made it so.

    What was begun before is looked up in any case: a try of it may have been made, and forgotten since.
    """


class SagaEngine:
    """Brings sagas to their end, each once at a time."""

    def __init__(
        self,
        database: Storage,
        orders: OrderServiceClient,
        runner: SagaRunner,
        descriptions: Mapping[Kind, Description],
    ) -> None:
        self._database = database
        self._orders = orders
        self._runner = runner
        self._descriptions = descriptions
        self._measures = SagaMeasures()
        self._completing: dict[str, asyncio.Future[Any]] = {}
        """By saga id the commits nobody waits for, where another operation may be committed before them."""
        self._recovered = ""
        """The order behind which recovery goes on."""

    def is_under_way(self, saga: Saga) -> bool:
        """True while it is being settled for somebody else, whose result it would share."""
        return self._runner.is_under_way(saga.saga_id)

    async def settle(self, sagas: Iterable[Saga]) -> dict[str, Result]:
        """The result of each, by saga id. They are of one kind; one that is being settled already shares its result."""
        return await self._runner.single_flight(self._settle, {saga.saga_id: saga for saga in sagas})

    async def settle_one(self, saga: Saga) -> bytes:
        """The response to the client. Raises StatusError when it was compensated, OutcomeUnknown while in doubt."""
        result = (await self.settle([saga]))[saga.saga_id]
        if isinstance(result, Exception):
            raise result
        return result

    async def settle_other(self, saga: Saga) -> bool:
        """Brings a saga in somebody's way to its end: true where it was made. Raises OutcomeUnknown while in doubt."""
        # Where it was answered before its completion was committed, that commit is all there is to wait for.
        if completion := self._completing.get(saga.saga_id):
            await asyncio.wait([completion])
            return True
        try:
            await self.settle_one(saga)
        except OutcomeUnknown:
            raise
        except StatusError as refused:
            _log.debug("the saga before was refused: %s", refused)
            return False
        return True

    async def ask(self, request_id: str, ask: Callable[[], Awaitable[R]]) -> R:
        """The answer of `ask`, once it is known whether another request of that id has an effect. Raises its refusal.

        A saga that is pending under the id may yet be refused, which leaves the id unused: it is settled, and `ask` is
        called again. Where its outcome stays open the id counts as used.
        """
        for _ in range(_TRIES):
            try:
                return await ask()
            except RequestIdReused:
                if await self._is_used_for_good(request_id):
                    raise
        raise in_doubt()

    async def _is_used_for_good(self, request_id: str) -> bool:
        """Settles the saga that is pending under an id, which stays unused where that is refused.

        Where it was made its completion may not be committed yet: another look would find it pending still.
        """
        use = await self._database.read(store.use_of, request_id)
        if use is None or use.saga is None:
            return use is not None
        try:
            return await self.settle_other(use.saga)
        except OutcomeUnknown:
            return True

    async def recover(self) -> None:
        """Asks for the pending sagas again, the oldest order first, a portion at a time: the process that leads does.

        Ends with the first portion of which none came to its end: the Order Service is away, or busy, or nothing can be
        stored. The next time goes on behind it, so that what fails for ever keeps nothing behind it waiting.
        """
        if not self._database.leadership.held:
            return
        portion = await self._portion()
        if self._recovered and not portion:  # there was nothing behind it: from the beginning
            self._recovered = ""
            portion = await self._portion()
        while portion:
            self._recovered = portion[-1].order_id
            if not await self._settle_portion(portion):
                return
            portion = await self._portion()
        self._recovered = ""

    async def _portion(self) -> list[Saga]:
        return await self._database.read(store.pending, self._recovered, _RECOVERED_AT_A_TIME)

    async def _settle_portion(self, portion: list[Saga]) -> bool:
        """True when one of them came to its end, or none was due.

        The work goes on when recovery is cancelled: at SIGTERM a client's call may share a step of it.
        """
        # Below 0 is what a clock that was put back has left in the future: it is due as well.
        young = _SHARED_YOUNG_MICROSECONDS if self._database.leadership.shared else _YOUNG_MICROSECONDS
        due = [saga for saga in portion if not 0 <= now() - uuid7_time(saga.saga_id) < young]
        settling = [self._runner.background(self.settle(sagas)) for sagas in self._calls(due)]
        results = {
            saga_id: result for settled in await asyncio.gather(*settling) for saga_id, result in settled.items()
        }
        self._measures.recovered(results.values())
        for saga in due:
            if input_of(result := results[saga.saga_id]) is Input.REFUSED:  # nobody else hears of it
                _log.warning("the saga of order %s was compensated: %s", saga.order_id, result)
        unknown = [result for result in results.values() if input_of(result) is Input.UNKNOWN]
        if failures := {str(result) for result in unknown if not isinstance(result, OutcomeUnknown)}:
            _log.warning("%d of %d sagas are still pending: %s", len(unknown), len(due), "; ".join(sorted(failures)))
        return len(unknown) < len(due) or not due

    def _calls(self, sagas: list[Saga]) -> Iterable[list[Saga]]:
        """As they are asked for: one that has a call of its own does not wait for others."""
        for kind, description in self._descriptions.items():
            of_kind = [saga for saga in sagas if saga.kind is kind]
            if description.shares_calls and of_kind:
                yield of_kind
            elif not description.shares_calls:
                yield from ([saga] for saga in of_kind)

    async def _settle(self, sagas: list[Saga]) -> list[Result]:
        description = self._descriptions[sagas[0].kind]
        results = await description.call(self._orders, sagas)
        refused = [index for index, result in enumerate(results) if input_of(result) is Input.REFUSED]
        # All at once: where each takes long because the Order Service is away, nobody waits for all of them in turn.
        verdicts = await asyncio.gather(
            *(self._verdict(description, sagas[index], results[index]) for index in refused)
        )
        for index, result in zip(refused, verdicts, strict=True):
            results[index] = result
        self._measures.answered(sagas[0].kind, results)
        await self._write(description, sagas, results)
        record_ended(sagas, results)
        return results

    async def _verdict(self, description: Description, saga: Saga, refused: Result) -> Result:
        """The response where the order shows what is refused now (see `saga.verdict`), else the refusal; or doubt."""
        if not isinstance(refused, StatusError) or not (saga.resumed or description.first_try_is_looked_up):
            return refused
        try:
            order = await self._orders.find(saga.order_id, span_of(saga))
        except OutcomeUnknown as error:
            return error
        shown = verdict(saga.order_request, order, refused)
        return around(shown.SerializeToString()) if isinstance(shown, Order) else shown

    async def _write(self, description: Description, sagas: list[Saga], results: list[Result]) -> None:
        """Completes and compensates. A saga whose commit fails has the failure as its result, and stays pending."""
        awaited = []
        unawaited = []
        for index, (saga, result) in enumerate(zip(sagas, results, strict=True)):
            match input_of(result):
                case Input.MADE if description.answers_first:
                    unawaited.append(Settled(saga, result))
                case Input.MADE | Input.REFUSED:
                    awaited.append(index)
        if unawaited:
            # With the next commit that somebody waits for: one of its own would make three an order of two.
            completion = self._database.write_each(store.settle, unawaited, urgent=False)
            completion.add_done_callback(_log_failures)
            if self._database.leadership.shared:
                self._note(unawaited, completion)
        if awaited:
            settled = [Settled(sagas[index], results[index]) for index in awaited]
            for index, error in zip(awaited, await self._database.write_each(store.settle, settled), strict=True):
                # The commit failed: the saga is still pending, whatever the Order Service has said.
                results[index] = error or results[index]
            if any(input_of(result) is Input.REFUSED for result in results):
                failpoint("saga.compensated")
            failpoint("saga.settled")

    def _note(self, settled: Iterable[Settled], completion: "asyncio.Future[Any]") -> None:
        saga_ids = [saga.saga_id for saga, _ in settled]

        def forget(_: object) -> None:
            for saga_id in saga_ids:
                self._completing.pop(saga_id, None)

        self._completing.update(dict.fromkeys(saga_ids, completion))
        completion.add_done_callback(forget)


def _log_failures(completion: "asyncio.Future[list[Exception | None]]") -> None:
    """Of completions nobody waits for."""
    for error in () if completion.cancelled() else filter(None, completion.result()):
        _log.warning("not completed yet, recovery will: %s", error)
