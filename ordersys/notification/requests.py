"""What became of the requests that change something in the broker: remembered once it is done."""

from typing import Any, NamedTuple

from sqlalchemy import Connection

from ordersys.contract.requests import fingerprint
from ordersys.notification.store import REQUESTS
from ordersys.runtime.idempotency import Outcome, recall
from ordersys.runtime.identity import now


class Done(NamedTuple):
    """A request, and how it ended."""

    request: Any
    outcome: Outcome


def outcome(connection: Connection, request: Any) -> Outcome | None:
    """How an equal request ended, None when there was none. Raises Refused (REQUEST_ID_REUSED)."""
    known = REQUESTS.find(connection, [request.request_id])
    remembered = recall(known, request.request_id, fingerprint(request))
    return remembered.outcome if remembered else None


def remember(connection: Connection, done: list[Done]) -> list[Outcome]:
    """An operation: keeps how each request ended."""
    ledger = REQUESTS.ledger(connection, [], now())
    for request, ended in done:
        ledger.close(request.request_id, fingerprint(request), request.DESCRIPTOR.name, ended)
    ledger.write()
    return [ended for _, ended in done]


def purge(connection: Connection, times: list[int]) -> list[int]:
    """An operation: forgets some finished requests from before each time; how many."""
    return [REQUESTS.purge(connection, before) for before in times]
