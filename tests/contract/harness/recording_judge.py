"""The judge of a notification service: its records and dead letters compared with a model, whole and in order.

What only the service can choose is learned when it is first seen, and has to stay: sequences, texts and times of
records, ids and times of dead letters. Where several messages are dealt with at once, their order is learned, too.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DeadLetterReason,
    DiscardDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from tests.contract.harness.normal_form import copy, normal
from tests.contract.harness.paging import walk
from tests.contract.harness.refusals import RETRYABLE, refusal_in, reused
from tests.contract.harness.subscriber_deliveries import shown
from tests.contract.harness.system_under_test import SystemUnderTest

BEGINNING = 1024
"""Bytes of a body that a dead letter shows."""
CLOCKS_SECONDS = 60
REJECTED = DeadLetterReason.DEAD_LETTER_REASON_REJECTED
NOBODY_SAYS = DeadLetterReason.DEAD_LETTER_REASON_UNSPECIFIED
Removal = ReplayDeadLettersRequest | DiscardDeadLettersRequest


class Message(NamedTuple):
    """A message to a subscriber. `order_id` and `version` are of the event in it; without an order it is none."""

    event_id: str | bytes | None
    type: str | bytes | None
    content_type: str | None
    body: bytes
    order_id: str = ""
    version: int = 0

    def as_dead_letter(self) -> DeadLetter:
        """As it is listed, but for its id, reason, time and obstacle."""
        return DeadLetter(
            event_id=shown(self.event_id),
            type=shown(self.type),
            content_type=self.content_type or "",
            size_bytes=len(self.body),
            body_beginning=self.body[:BEGINNING],
        )


class Letter(NamedTuple):
    """A dead letter: the message, and why the broker put it aside, which comes with the time."""

    message: Message
    reason: "DeadLetterReason.ValueType"


class Seen(NamedTuple):
    """A dead letter, and as it was listed last."""

    letter: Letter
    listed: DeadLetter


class Listed(NamedTuple):
    """The records and the dead letters of a story that there are."""

    records: list[Notification]
    letters: list[DeadLetter]


class RecordingJudge:
    """Knows what a notification service has been given, and what has to be there; compares the two."""

    def __init__(self, system: SystemUnderTest, role: str) -> None:
        self.system = system
        self.role = role
        self.records: list[Notification] = []
        self.recorded: dict[str, Message] = {}
        """The messages recorded, by event id."""
        self.letters: list[Seen] = []
        self.messages: list[Message] = []
        """All that were sent."""
        self.answered: dict[str, tuple[Any, Any]] = {}
        """By request_id: the requests there were, and their answers."""
        self._to_record: dict[str, Message] = {}
        self._to_list: list[Letter] = []
        self._ids: dict[bytes, str] = {}

    def expect(self, message: Message) -> None:
        """A message was put into the subscriber's queue: it is going to be recorded, to have no effect, or rejected."""
        self.messages.append(message)
        self._judge(message)

    def expect_aside(self, message: Message) -> None:
        """A message was put among the dead letters."""
        self.messages.append(message)
        self._to_list.append(Letter(message, NOBODY_SAYS))

    def is_refused(self, message: Message) -> bool:
        """True if the subscriber has to refuse a message now: it is no event, or its id is that of another one."""
        known = self.recorded.get(shown(message.event_id)) or self._to_record.get(shown(message.event_id))
        return not message.order_id or (known is not None and known.body != message.body)

    def _judge(self, message: Message) -> None:
        if self.is_refused(message):
            self._to_list.append(Letter(message, REJECTED))
        elif shown(message.event_id) not in self.recorded:
            self._to_record[shown(message.event_id)] = message

    # Dead letters removed

    def remove(self, request: Removal) -> None:
        """Replays or discards dead letters; the answer names those that were there, once each, as they were named."""
        known = self.answered.get(request.request_id.lower())
        answer = self.system.call(request, self.role)
        if answer.reason in RETRYABLE:
            answer = self.system.eventually(lambda: self._answered(request))
        if known is not None:
            if type(request) is not type(known[0]) or normal(request) != known[0]:
                assert refusal_in(answer) == reused(request.request_id.lower())
            else:
                assert answer.response == known[1]
            return
        there = {seen.listed.id for seen in self.letters}
        expected = [letter_id for letter_id in dict.fromkeys(request.dead_letter_ids) if letter_id in there]
        assert answer.response is not None, str(answer)
        assert list(answer.response.dead_letter_ids) == expected
        self.answered[request.request_id.lower()] = normal(request), answer.response
        self._removed(expected, isinstance(request, ReplayDeadLettersRequest))

    def _answered(self, request: Removal) -> Any:
        answer = self.system.call(request, self.role)
        return answer if answer.reason not in RETRYABLE else None

    def _removed(self, letter_ids: Sequence[str], is_replay: bool) -> None:
        gone = [seen.letter.message for seen in self.letters if seen.listed.id in letter_ids]
        self.letters = [seen for seen in self.letters if seen.listed.id not in letter_ids]
        for message in gone if is_replay else ():
            self._judge(message)

    # What is there

    def look_around(self) -> None:
        """Records and dead letters are as they have to be, as soon as what is under way has been dealt with."""
        there = Listed([], [])

        def complete() -> bool:
            nonlocal there
            there = Listed(self.listed_records(), self.listed_letters())
            return self._is_complete(there)

        with suppress(AssertionError):
            self.system.eventually(complete)
        self.records += self._compare_records(there.records)
        self.letters = self._compare_letters(there.letters)
        self.recorded |= self._to_record
        self._to_record, self._to_list = {}, []

    def _is_complete(self, there: "Listed") -> bool:
        """True when there is as much as there has to be; whether it is right need not be waited for."""
        letters = [*(seen.letter for seen in self.letters), *self._to_list]
        keys = sorted(_key(letter.message.as_dead_letter()) for letter in letters)
        records = len(there.records) >= len(self.records) + len(self._to_record)
        return records and sorted(map(_key, there.letters)) == keys

    def order_ids(self) -> list[str]:
        """The orders that the messages were about."""
        return list({message.order_id: None for message in self.messages if message.order_id})

    def listed_records(self) -> list[Notification]:
        """The records of the story's orders, by sequence."""
        each = [self.system.notifications(self.role, order_id) for order_id in self.order_ids()]
        return sorted((record for records in each for record in records), key=lambda record: record.sequence)

    def listed_letters(self) -> list[DeadLetter]:
        """The dead letters of the story, in order; whoever else's there are is left out."""
        return self.own(self.system.dead_letters(self.role))

    def own(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Those that are messages of the story."""
        own = {_key(message.as_dead_letter()) for message in self.messages}
        return [letter for letter in letters if _key(letter) in own]

    def compare_whole_list(self) -> None:
        """The list of all records has those of the story, in order, and no other message of it; sequences rise."""
        query = ListNotificationsRequest()
        listed: list[Notification] = walk(self.system, self.role, query, lambda page: page.notifications, [500])
        sequences = [record.sequence for record in listed]
        assert sequences == sorted(set(sequences))
        sent = {shown(message.event_id) for message in self.messages} - {""}
        assert [record for record in listed if record.event_id in sent] == self.records

    def _compare_records(self, listed: Sequence[Notification]) -> list[Notification]:
        """The new records, in the order of recording."""
        known, new = listed[: len(self.records)], listed[len(self.records) :]
        assert list(known) == self.records
        assert sorted(record.event_id for record in new) == sorted(self._to_record)
        records = list(known)
        for record in new:
            assert record == self._expected(record, records)
            assert record.text
            assert abs(record.record_time.ToSeconds() - time.time()) < CLOCKS_SECONDS
            if records:
                assert record.record_time.ToNanoseconds() >= records[-1].record_time.ToNanoseconds()
            records.append(record)
        return list(new)

    def _expected(self, record: Notification, before: Sequence[Notification]) -> Notification:
        """The record that has to be there, with what the service chooses as it is."""
        message = self._to_record[record.event_id]
        return Notification(
            sequence=record.sequence,
            event_id=shown(message.event_id),
            order_id=message.order_id,
            version=message.version,
            late=any(known.order_id == message.order_id and known.version > message.version for known in before),
            text=record.text,
            record_time=record.record_time,
            event=AnyMessage(type_url=f"type.googleapis.com/{shown(message.type)}", value=message.body),
        )

    def _compare_letters(self, listed: Sequence[DeadLetter]) -> list[Seen]:
        """The dead letters that have to be there, as they are listed."""
        count = len(self.letters)
        expected = [*(seen.letter for seen in self.letters), *self._to_list]
        assert sorted(map(_brief, listed)) == sorted(_brief(letter.message.as_dead_letter()) for letter in expected)
        compared = [
            Seen(seen.letter, self._compare_letter(letter, seen.letter, seen.listed))
            for letter, seen in zip(listed, self.letters, strict=False)
        ]
        left = list(self._to_list)
        for letter in listed[count:]:
            fitting = [due for due in left if _key(due.message.as_dead_letter()) == _key(letter)]
            assert fitting, f"not expected, or not here: {letter}"
            left.remove(fitting[0])
            compared.append(Seen(fitting[0], self._compare_letter(letter, fitting[0], None)))
        return compared

    def _compare_letter(self, listed: DeadLetter, letter: Letter, before: DeadLetter | None) -> DeadLetter:
        expected = letter.message.as_dead_letter()
        expected.id = self._ids.setdefault(_key(expected), listed.id)
        expected.reason, expected.obstacle = letter.reason, listed.obstacle
        if letter.reason == REJECTED:
            expected.dead_letter_time.seconds = (before or listed).dead_letter_time.seconds
            assert abs(expected.dead_letter_time.seconds - time.time()) < CLOCKS_SECONDS
        assert listed == expected
        assert len(set(self._ids.values())) == len(self._ids), "two messages of one id"
        assert bool(listed.obstacle) == self.is_refused(letter.message), f"the obstacle is {listed.obstacle!r}"
        return listed


def _brief(letter: DeadLetter) -> str:
    """A dead letter in a few words."""
    return f"{letter.type or '-'} {letter.event_id or '-'} as {letter.content_type or '-'}, {letter.size_bytes} bytes"


def _key(letter: DeadLetter) -> bytes:
    """The message of a dead letter, without what became of it."""
    key = copy(letter)
    for field in ("id", "reason", "obstacle", "dead_letter_time"):
        key.ClearField(field)
    return bytes(key.SerializeToString(deterministic=True))
