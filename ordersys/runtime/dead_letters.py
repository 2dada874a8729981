"""Dead letters, kept in a service's own database: taken over from the dead-letter queue, looked at, put back, removed.

In the queue they could only be looked at by taking all of them, which counts toward the queue's delivery limit each
time, ends at 65,535, and is in the way of whoever else looks. They are kept as the bytes they came as.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    select,
)

from ordersys.contract.events import MAXIMUM_BYTES
from ordersys.contract.properties import Death, Malformed, death, for_a_copy
from ordersys.runtime.base.ids import now
from ordersys.runtime.rabbitmq.confirms import Fate, PublishResult
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, Message, copy, received
from ordersys.runtime.rabbitmq.reconnecting import opened
from ordersys.runtime.rabbitmq.refusals import NOT_FOUND
from ordersys.runtime.rabbitmq.urls import BrokerUrls
from ordersys.runtime.storage.statements import Statement, inserting, is_repeated

_log = logging.getLogger(__name__)
_MOST_COUNTED = 10_000  # rows, for metrics: every second, and in milliseconds
_READ_BYTES = 16 * 1024 * 1024  # of bodies in memory at a time: nothing says how large a dead letter is
_BEGINNING = MAXIMUM_BYTES + 1
_PUBLISH_SECONDS = 20.0  # for a portion of a replay; one that is not confirmed by then stays where it is


class DeadLetter(NamedTuple):
    """A dead letter that is kept, its body cut off behind the most an event may have."""

    sequence: int
    letter_id: str
    size: int
    delivery: AmqpDelivery

    @property
    def death(self) -> Death:
        """The reason and time of its dead-lettering, as far as the broker says."""
        return death(self.delivery.properties)


class Page(NamedTuple):
    """Some dead letters, and whether others follow."""

    letters: Sequence[DeadLetter]
    more: bool


class Named(NamedTuple):
    """A dead letter by its id: copies of one message have one."""

    sequence: int
    letter_id: str
    size: int


class ReplayRoute(NamedTuple):
    """The way back of a subscriber's dead letters: its replay exchange, or the default one, and its queue.

    `user` is its user at the broker where users are checked, else empty.
    """

    exchange: str
    queue: str
    user: str


Copy: TypeAlias = Message | Malformed
"""A copy of a dead letter, or the reason why there is none."""


class DeadLetters:
    """The table of the dead letters of one database, in the order in which they were taken over."""

    def __init__(self, metadata: MetaData) -> None:
        self.table = Table(
            "dead_letters",
            metadata,
            Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
            Column("letter_id", String(32), nullable=False),
            Column("properties", LargeBinary, nullable=False),
            # As much of the body as an event may have, and one byte more: whoever lists them reads no further.
            Column("beginning", LargeBinary, nullable=False),
            Column("rest", LargeBinary, nullable=False),
            Column("size", BigInteger, nullable=False),
            # When it was taken over, in microseconds since 1970.
            Column("time", BigInteger, nullable=False),
            Index("dead_letters_by_id", "letter_id"),
            sqlite_autoincrement=True,
        )
        t = self.table.c
        ids = t.letter_id.in_(bindparam("ids", expanding=True))
        sequences = t.sequence.in_(bindparam("sequences", expanding=True))
        self._insert = inserting(self.table)
        self._page = (
            select(t.sequence, t.letter_id, t.size, t.properties, t.beginning)
            .where(t.sequence > bindparam("after"))
            .order_by(t.sequence)
            .limit(bindparam("most"))
        )
        self._copies = Statement(select(t.letter_id, t.properties).where(ids))
        self._named = Statement(select(t.sequence, t.letter_id, t.size).where(ids).order_by(t.sequence))
        self._whole = Statement(select(t.properties, t.beginning, t.rest).where(sequences).order_by(t.sequence))
        self._remove = Statement(delete(self.table).where(t.sequence == bindparam("one")))
        some = select(t.sequence).limit(bindparam("most")).subquery()
        self._count = Statement(select(func.count()).select_from(some))

    def keep(self, connection: Connection, batches: list[list[AmqpDelivery]]) -> list[None]:
        """An operation: keeps each delivery, unless it is redelivered and was kept before: whoever kept it died."""
        deliveries = [delivery for batch in batches for delivery in batch]
        # A commit that was not answered may have kept them, redelivered or not.
        repeated = is_repeated(connection)
        again = [letter_id(delivery) for delivery in deliveries if delivery.redelivered or repeated]
        known = {_origin(*row) for row in self._copies.rows(connection, ids=again)} if again else set()
        new = [
            d for d in deliveries if not ((d.redelivered or repeated) and _origin(letter_id(d), d.properties) in known)
        ]
        self._insert.run(connection, [_row(delivery) for delivery in new])
        return [None] * len(batches)

    def page(self, connection: Connection, after: int, size: int) -> Page:
        """Up to `size` dead letters behind the one with that sequence: fewer where they are large, at least one."""
        letters: list[DeadLetter] = []
        room = _READ_BYTES
        for row in connection.execute(self._page, {"after": after, "most": size + 1}):
            if len(letters) == size or room <= 0:
                return Page(letters, True)
            letters.append(DeadLetter(row[0], row[1], row[2], received(row[3], row[4])))
            room -= len(row[3]) + len(row[4])
        return Page(letters, False)

    def count(self, connection: Connection) -> int:
        """The number of dead letters that are kept, up to 10,000."""
        return int(self._count.rows(connection, most=_MOST_COUNTED)[0][0])

    def named(self, connection: Connection, letter_ids: Collection[str]) -> list[Named]:
        """Every copy of the dead letters with these ids, in the order in which they were taken over."""
        return [Named(*row) for row in self._named.rows(connection, ids=list(letter_ids))]

    def copies(self, connection: Connection, sequences: Sequence[int], to: ReplayRoute) -> list[Copy]:
        """Copies of the dead letters with these sequences, which rise; fewer where some have gone."""
        rows = self._whole.rows(connection, sequences=list(sequences))
        return [_copy(properties, beginning + rest, to) for properties, beginning, rest in rows]

    def remove(self, connection: Connection, sequences: Collection[int]) -> None:
        """Removes those with these sequences for good, as part of an operation."""
        self._remove.run(connection, [{"one": sequence} for sequence in sequences])


def portions(letters: Sequence[Named]) -> list[list[Named]]:
    """As many at a time as may be held in memory, at least one."""
    groups: list[list[Named]] = []
    room = 0
    for letter in letters:
        if not groups or room < letter.size:
            groups.append([])
            room = _READ_BYTES
        groups[-1].append(letter)
        room -= letter.size
    return groups


def _copy(properties: bytes, body: bytes, to: ReplayRoute) -> Copy:
    try:
        return copy(properties, body, *to)
    except Malformed as error:
        return error


async def put_back(urls: BrokerUrls, name: str, copies: Sequence[Copy]) -> list[str]:
    """Publishes copies: for each why it can't be, or the broker did not take it; empty when it has it for sure.

    One for which the broker closes the AMQP channel keeps no other from being taken: the suspicious are tried alone.
    Raises BrokerUnavailable when the broker can't be reached in time.
    """
    reasons = [f"its copy can't be made: {copied}" if isinstance(copied, Malformed) else "" for copied in copies]
    messages = {index: copied for index, copied in enumerate(copies) if isinstance(copied, Message)}
    left = list(messages)
    while left:
        outcomes = await _published(urls, name, [messages[index] for index in left])
        open_ = [index for index, outcome in zip(left, outcomes, strict=True) if outcome.fate is Fate.OPEN]
        reasons = _noted(reasons, left, outcomes)
        # Those before it are confirmed, or open as it is: the first is as suspicious as any.
        if open_:
            (alone,) = await _published(urls, name, [messages[open_[0]]])
            reasons = _noted(reasons, open_[:1], [alone])
        left = open_[1:]
    return reasons


def _noted(reasons: list[str], indexes: Sequence[int], outcomes: Sequence[PublishResult]) -> list[str]:
    said = {index: _why_not(outcome) for index, outcome in zip(indexes, outcomes, strict=True)}
    return [said.get(index, reason) for index, reason in enumerate(reasons)]


def _why_not(outcome: PublishResult) -> str:
    return "" if outcome.fate is Fate.CONFIRMED else outcome.reason or outcome.fate.value


async def _published(urls: BrokerUrls, name: str, messages: Sequence[Message]) -> list[PublishResult]:
    """The outcome of each message. Open ones share a reason, which may be that of another one among them."""
    try:
        async with asyncio.timeout(_PUBLISH_SECONDS), opened(urls, name) as session:
            outcomes = await session.publish_each(messages)
            _check_exchange(session)
            if any(outcome.fate is Fate.OPEN and not outcome.reason for outcome in outcomes):
                session.check()
                raise BrokerUnavailable("it does not say what it has")
            return outcomes
    except TimeoutError as error:
        raise BrokerUnavailable(f"publishing {len(messages)} messages took too long") from error


def _check_exchange(session: Session) -> None:
    """Raises BrokerUnavailable where the exchange is not declared, or not yet: no message is to blame for that."""
    if session.closed.done() and session.closed.result().code == NOT_FOUND:
        session.check()


def letter_id(delivery: AmqpDelivery) -> str:
    """32 hexadecimal digits that are the same for the same message (DeadLetter.id)."""
    digest = blake2b(digest_size=16)
    for part in (delivery.message_id, delivery.type, delivery.content_type):
        # repr keeps apart what a text alone would not: None from "", octets that are no UTF-8 from a text of the same
        # letters.
        digest.update(repr(part).encode() + b"\0")
    digest.update(delivery.body)
    return digest.hexdigest()


def _origin(its_id: str, properties: bytes) -> tuple[str, bytes, Death]:
    """A hash of the parts that stay the same when a message is redelivered (the broker counts deliveries on it)."""
    return its_id, for_a_copy(properties), death(properties)


def _row(delivery: AmqpDelivery) -> dict[str, Any]:
    return {
        "letter_id": letter_id(delivery),
        "properties": delivery.properties,
        "beginning": delivery.body[:_BEGINNING],
        "rest": delivery.body[_BEGINNING:],
        "size": len(delivery.body),
        "time": now(),
    }
