"""Idempotency by request_id (AIP-155): its outcome is stored in the transaction that has the effect.

A request is open from its first commit until its outcome is known; a repeat is answered with that outcome. Kept are
successes, and refusals that a repeat must get again (OUT_OF_STOCK); any other refusal leaves the id unused. They are
purged by `periodic.purge`, by the age `retention.Retention` says.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    bindparam,
    delete,
    select,
    update,
)

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import StatusError, status_error
from ordersys.runtime.storage.statements import Row, Statement, inserting

M = TypeVar("M", bound=Message)
_first, _last = itemgetter(0), itemgetter(-1)  # the id in a row of `opened` and of `finished`
_PURGED_AT_A_TIME = 500  # rows in a commit that calls wait behind: some 2 ms


class Outcome(NamedTuple):
    """The outcome of a request: code 0 with the response's bytes, else a code with the status's bytes."""

    code: int
    body: bytes

    def response(self) -> bytes:
        """The response, encoded. Raises StatusError when the outcome was a refusal."""
        if self.code:
            raise StatusError(Status.FromString(self.body))
        return self.body

    def unpack(self, response: type[M]) -> M:
        """The response. Raises StatusError when the outcome was a refusal."""
        return response.FromString(self.response())


def success(response: Message | bytes) -> Outcome:
    """The outcome of a request that was answered with `response`, which may be encoded already."""
    return Outcome(0, response if isinstance(response, bytes) else response.SerializeToString())


def refusal(refused: StatusError) -> Outcome:
    """The outcome of a request that was refused for good."""
    return Outcome(refused.status.code, refused.status.SerializeToString())


class RequestIdReused(StatusError):
    """The refusal of a request whose request_id is that of another one here, and not at a service that was asked."""


class Remembered(NamedTuple):
    """A request_id that is known; `outcome` is None while it is open."""

    fingerprint: bytes
    subject: str
    outcome: Outcome | None


class Requests:
    """The table of request_ids of one database."""

    def __init__(self, metadata: MetaData) -> None:
        self.table = Table(
            "requests",
            metadata,
            # Not WITHOUT ROWID: the key is random, and the outcome lies beside it
            # (docs/performance.md, "not worth it").
            Column("request_id", String(36), primary_key=True),
            Column("fingerprint", LargeBinary(16), nullable=False),
            Column("subject", String(64), nullable=False),
            Column("code", SmallInteger),
            Column("body", LargeBinary),
            # When it came to its end, of an open one when it began; in microseconds since 1970.
            Column("time", BigInteger, nullable=False),
            Index("requests_by_time", "time"),
        )
        t = self.table
        by_id = t.c.request_id == bindparam("id")
        self._select = Statement(
            select(t.c.request_id, t.c.fingerprint, t.c.subject, t.c.code, t.c.body).where(
                t.c.request_id.in_(bindparam("ids", expanding=True))
            )
        )
        self._insert = inserting(t)
        self._finish = Statement(
            update(t)
            .where(by_id)
            .values(code=bindparam("new_code"), body=bindparam("new_body"), time=bindparam("new_time"))
        )
        self._forget = Statement(delete(t).where(by_id))
        finished = select(t.c.request_id).where(t.c.time < bindparam("before"), t.c.code.is_not(None))
        self._finished = Statement(finished.limit(_PURGED_AT_A_TIME))

    def find(self, connection: Connection, request_ids: Iterable[str]) -> dict[str, Remembered]:
        """The stored requests under `request_ids`."""
        return _remembered(self._select.rows(connection, ids=list(request_ids)))

    def ask(self, connection: Connection, request_ids: Iterable[str], now: int) -> "Callable[[], Ledger]":
        """Asks for the stored requests, and returns what makes the ledger of them (`Statement.ask`)."""
        rows = self._select.ask(connection, ids=list(request_ids))
        return lambda: Ledger(self, connection, _remembered(rows()), now)

    def ledger(self, connection: Connection, request_ids: Iterable[str], now: int) -> "Ledger":
        """The requests of one transaction at time `now`, in microseconds since 1970."""
        return self.ask(connection, request_ids, now)()

    def purge(self, connection: Connection, before: int) -> int:
        """Forgets some finished requests from before that time; how many."""
        rows = self._finished.rows(connection, before=before)
        self._forget.put(connection, sorted(rows))
        return len(rows)

    def write(self, connection: Connection, ledger: "Ledger") -> None:
        """Writes what `ledger` has noted down."""
        # In the order of the keys: of two transactions that insert the same ones, the second waits for the first, and
        # neither for the other.
        self._forget.put(connection, [(request_id,) for request_id in sorted(ledger.forgotten)])
        self._insert.put(connection, sorted(ledger.opened, key=_first))
        self._finish.put(connection, sorted(ledger.finished, key=_last))


class Ledger:
    """The request_ids one transaction is about: what was known, and what is to be written at its end."""

    def __init__(self, requests: Requests, connection: Connection, known: dict[str, Remembered], now: int) -> None:
        self._requests = requests
        self._connection = connection
        self._known = known
        self._now = now
        # As the statements take them: rows of the table; code, body, time and id.
        self.opened: list[Sequence[Any]] = []
        self.finished: list[Sequence[Any]] = []
        self.forgotten: list[str] = []

    def recall(self, request_id: str, fingerprint: bytes) -> Remembered | None:
        """The stored request, None when there is none. Raises RequestIdReused when it was another."""
        return recall(self._known, request_id, fingerprint)

    def open(self, request_id: str, fingerprint: bytes, subject: str) -> None:
        """Notes a new request about `subject`, its outcome still to come."""
        self._note(request_id, fingerprint, subject, None)

    def record(self, request_id: str, fingerprint: bytes, subject: str, outcome: Outcome) -> None:
        """Notes a new request together with its outcome."""
        self._note(request_id, fingerprint, subject, outcome)

    def finish(self, request_id: str, outcome: Outcome) -> None:
        """Notes the outcome of an open request, which is remembered from now on for as long as any.

        Its retention does not count from its beginning: what was in doubt for days would be forgotten at once.
        """
        # docs/reliability.md, "an outage between the services, longer than request_ids are remembered".
        self.finished.append((outcome.code, outcome.body, self._now, request_id))

    def forget(self, request_id: str) -> None:
        """Leaves the id unused."""
        self.forgotten.append(request_id)

    def write(self) -> None:
        """Writes what was noted; the last thing a transaction does with its ledger."""
        self._requests.write(self._connection, self)

    def _note(self, request_id: str, fingerprint: bytes, subject: str, outcome: Outcome | None) -> None:
        self._known[request_id] = Remembered(fingerprint, subject, outcome)
        code, body = outcome or (None, None)
        self.opened.append((request_id, fingerprint, subject, code, body, self._now))


def recall(known: dict[str, Remembered], request_id: str, fingerprint: bytes) -> Remembered | None:
    """The one of `known` requests that is this one. Raises RequestIdReused when it was another."""
    remembered = known.get(request_id)
    if remembered is not None and remembered.fingerprint != fingerprint:
        raise RequestIdReused(status_error(ErrorReason.REQUEST_ID_REUSED, request_id=request_id).status)
    return remembered


def _remembered(rows: Iterable[Row]) -> dict[str, Remembered]:
    return {row[0]: Remembered(row[1], row[2], _outcome(row[3], row[4])) for row in rows}


def _outcome(code: int | None, body: bytes | None) -> Outcome | None:
    return None if code is None or body is None else Outcome(code, body)
