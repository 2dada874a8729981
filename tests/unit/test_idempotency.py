"""Idempotency: the outcome of each request_id (AIP-155), in a real database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import CancelOrderRequest, GetProductResponse, UpdateOrderRequest
from ordersys.contract.errors import StatusError, out_of_stock, product_not_found, reason_of, result_or_error
from ordersys.contract.normalisation import fingerprint
from ordersys.runtime.idempotency import Ledger, Outcome, Remembered, Requests, refusal, success
from ordersys.runtime.periodic import purge
from ordersys.runtime.retention import Retention
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

SCHEMA = Schema("tests")
REQUESTS = Requests(SCHEMA.metadata)
ONE, OTHER = CancelOrderRequest(order_id="one"), CancelOrderRequest(order_id="other")
WRONG = CancelOrderRequest(order_id="wrong")
SHORT = out_of_stock([Shortage(product_id="lamp", asked=2, available=1)])
HOUR = 3_600_000_000
BATCHES = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([ONE, OTHER])), max_size=5), max_size=5)


class Asked(NamedTuple):
    """A request under its id, and what it is to be answered with when it is new."""

    request_id: str
    request: Message
    outcome: Outcome | None
    time: int = 0


def answer(number: int) -> Outcome:
    """A success that can be told from every other."""
    return success(GetProductResponse(product=Product(available=number)))


def decide(ledger: Ledger, asked: Asked) -> Outcome | None:
    """The outcome, None while open. Raises StatusError: as a validation does, and for an id of another request."""
    mark = fingerprint(asked.request)
    if known := ledger.recall(asked.request_id, mark):
        return known.outcome
    if asked.request == WRONG:
        raise product_not_found("wrong")
    if asked.outcome is None:
        ledger.open(asked.request_id, mark, "subject")
    else:
        ledger.record(asked.request_id, mark, "subject", asked.outcome)
    return asked.outcome


def ask(connection: Connection, batch: list[Asked]) -> list[Outcome | StatusError | None]:
    """An operation."""
    ledger = REQUESTS.ledger(connection, [asked.request_id for asked in batch], batch[0].time)
    results = [result_or_error(lambda asked: decide(ledger, asked), asked) for asked in batch]
    ledger.write()
    return results


def finish(connection: Connection, outcomes: list[tuple[str, Outcome | None]]) -> list[None]:
    """An operation: each request ends with its outcome, or leaves its id unused."""
    ledger = REQUESTS.ledger(connection, (), 0)
    for request_id, outcome in outcomes:
        if outcome is None:
            ledger.forget(request_id)
        else:
            ledger.finish(request_id, outcome)
    ledger.write()
    return [None] * len(outcomes)


def forget(connection: Connection, times: list[int]) -> list[int]:
    """An operation: forgets some finished requests from before each time; how many."""
    return [REQUESTS.purge(connection, before) for before in times]


async def known(database: Database, *request_ids: str) -> dict[str, Remembered]:
    return await database.read(REQUESTS.find, request_ids)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database."""
    opened = await Database.open(tmp_path / "t.db", SCHEMA)
    yield opened
    await opened.close()


@settings(max_examples=40, deadline=None)
@given(batches=BATCHES)
async def test_an_id_is_answered_by_its_first_request_for_ever(
    batches: list[list[tuple[str, Message]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Within a commit, across commits and across starts: the same gets the first answer, another is refused."""
    path = tmp_path_factory.mktemp("requests") / "t.db"
    first: dict[str, tuple[Message, Outcome]] = {}
    for turn, batch in enumerate(batches):
        asked = [Asked(i, request, answer(10 * turn + n)) for n, (i, request) in enumerate(batch)]
        for attempt in asked:
            first.setdefault(attempt.request_id, (attempt.request, attempt.outcome or answer(-1)))
        database = await Database.open(path, SCHEMA)
        writes = [database.write(ask, attempt) for attempt in asked]
        await database.close()
        for attempt, write in zip(asked, writes, strict=True):
            request, outcome = first[attempt.request_id]
            assert (write.exception() is None) == (attempt.request == request)
            assert write.exception() or write.result() == outcome


async def test_an_id_used_for_another_request_is_refused_by_name(database: Database) -> None:
    """REQUEST_ID_REUSED: for another content, and for the same words in another call."""
    await database.write(ask, Asked("a", ONE, answer(1)))
    for other in (OTHER, UpdateOrderRequest(order_id="one")):
        with pytest.raises(StatusError) as refused:
            await database.write(ask, Asked("a", other, answer(2)))
        assert reason_of(refused.value.status) == "REQUEST_ID_REUSED"


async def test_a_request_is_open_until_its_outcome_is_known(database: Database) -> None:
    """A repeat finds it open, about the same subject, and afterwards answered."""
    await database.write(ask, Asked("a", ONE, None))
    assert await database.write(ask, Asked("a", ONE, answer(1))) is None
    assert (await known(database, "a", "b")) == {"a": Remembered(fingerprint(ONE), "subject", None)}
    await database.write(finish, ("a", answer(2)))
    assert await database.write(ask, Asked("a", ONE, answer(3))) == answer(2)


async def test_an_outcome_is_the_response_or_the_refusal_it_was_made_from(database: Database) -> None:
    """A success is unpacked, a refusal for stock raised again with every detail."""
    await database.write(ask, Asked("bought", ONE, answer(7)))
    await database.write(ask, Asked("short", ONE, refusal(SHORT)))
    outcomes = {request_id: entry.outcome for request_id, entry in (await known(database, "bought", "short")).items()}
    assert outcomes["bought"] and outcomes["short"]
    assert outcomes["bought"].unpack(GetProductResponse).product.available == 7
    with pytest.raises(StatusError) as refused:
        outcomes["short"].unpack(GetProductResponse)
    assert refused.value.status == SHORT.status


async def test_a_failed_validation_burns_no_id(database: Database) -> None:
    """The id is as new for what comes next, in the same commit and in a later one."""
    writes = [database.write(ask, Asked(i, r, answer(1))) for i, r in (("a", WRONG), ("b", WRONG), ("a", ONE))]
    for failed in writes[:2]:
        with pytest.raises(StatusError):
            await failed
    assert await writes[2] == answer(1)
    assert await database.write(ask, Asked("b", OTHER, answer(2))) == answer(2)


async def test_a_forgotten_request_leaves_its_id_unused(database: Database) -> None:
    """A request that was taken back never was: another one may have the id."""
    await database.write(ask, Asked("a", ONE, None))
    await database.write(finish, ("a", None))
    assert await database.write(ask, Asked("a", OTHER, answer(1))) == answer(1)


@settings(max_examples=40, deadline=None)
@given(times=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=20), before=st.integers(0, 10))
async def test_only_finished_requests_older_than_that_are_purged(
    times: list[tuple[int, bool]], before: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Requests as old as the limit, younger, or open, stay."""
    database = await Database.open(tmp_path_factory.mktemp("requests") / "t.db", SCHEMA)
    for number, (time, finished) in enumerate(times):
        await database.write(ask, Asked(str(number), ONE, answer(number) if finished else None, time))
    purged = await database.write(forget, before)
    left = await known(database, *map(str, range(len(times))))
    await database.close()
    old = {str(number) for number, (time, finished) in enumerate(times) if finished and time < before}
    assert (purged, old & set(left), len(left)) == (len(old), set(), len(times) - len(old))


async def test_the_retention_of_a_request_counts_from_its_end(database: Database) -> None:
    """A request that was in doubt for days, and was answered just now, is not forgotten at once."""
    await database.write(ask, Asked("a", ONE, None, time=0))

    def ended_late(connection: Connection, outcomes: list[Outcome]) -> list[None]:
        ledger = REQUESTS.ledger(connection, (), 72 * HOUR)
        ledger.finish("a", outcomes[0])
        ledger.write()
        return [None]

    await database.write(ended_late, answer(1))
    assert await database.write(forget, 48 * HOUR) == 0
    assert await database.write(ask, Asked("a", ONE, answer(2))) == answer(1)
    assert await database.write(forget, 72 * HOUR + 1) == 1


async def test_the_upkeep_forgets_all_that_is_too_old_a_portion_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,100 old ones go in commits of at most 500; one within its 24 hours stays."""
    retention = Retention(24)
    monkeypatch.setattr(retention, "limit", lambda: 6 * HOUR)
    for time, ids in ((6 * HOUR - 1, range(1100)), (6 * HOUR, range(1100, 1101))):
        writes = [database.write(ask, Asked(str(i), ONE, answer(i), time)) for i in ids]
        await writes[-1]
    portions: list[int] = []

    def counted(connection: Connection, times: list[int]) -> list[int]:
        portions.extend(forget(connection, times))
        return portions[-1:]

    await purge(database, counted, retention)
    assert portions == [500, 500, 100, 0]
    assert list(await known(database, *map(str, range(1101)))) == ["1100"]
