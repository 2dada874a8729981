"""Outcomes of requests about dead letters, stored in the commit that removes them."""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ordersys.contract.normalisation import fingerprint
from ordersys.notification_service.inbox import DEAD_LETTERS, REQUESTS
from ordersys.runtime.base.ids import now
from ordersys.runtime.idempotency import Outcome, recall
from ordersys.runtime.storage.statements import is_repeated


class Done(NamedTuple):
    """A request, how it ended, and the sequences of the dead letters that are gone by it."""

    request: Any
    outcome: Outcome
    gone: Collection[int] = ()


def outcome(connection: Connection, request: Any) -> Outcome | None:
    """The outcome of an equal request, None when there was none. Raises StatusError (REQUEST_ID_REUSED)."""
    known = REQUESTS.find(connection, [request.request_id])
    remembered = recall(known, request.request_id, fingerprint(request))
    return remembered.outcome if remembered else None


def remember(connection: Connection, done: list[Done]) -> list[Outcome]:
    """An operation: keeps how each request ended, and removes the dead letters that are gone by it."""
    # Looked up only where the same was tried before: requests go one at a time (removals.py), and this one was looked
    # for before it began. Where processes share a database another one may have ended it meanwhile.
    known = [request.request_id for request, _, _ in done] if is_repeated(connection) else []
    ledger = REQUESTS.ledger(connection, known, now())
    outcomes = []
    for request, ended, gone in done:
        before = ledger.recall(request.request_id, fingerprint(request))
        outcomes.append(before.outcome if before and before.outcome else ended)
        if before is None:
            ledger.record(request.request_id, fingerprint(request), request.DESCRIPTOR.name, ended)
        DEAD_LETTERS.remove(connection, gone)
    ledger.write()
    return outcomes


def purge(connection: Connection, times: list[int]) -> list[int]:
    """An operation: forgets some finished requests from before each time; how many."""
    return [REQUESTS.purge(connection, before) for before in times]
