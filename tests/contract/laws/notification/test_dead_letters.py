"""Laws of the dead letters: a notification service lists what it could not take, replays it and discards it."""

import time
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DeadLetterReason,
    DiscardDeadLettersRequest,
    ListDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from tests.contract.harness.amqp_frames import Delivery
from tests.contract.harness.amqp_properties import (
    COPIED,
    HOSTILE_HEADERS,
    SENT_TABLES,
    counted,
    encoded,
    entry,
    properties,
    short,
    unsigned,
)
from tests.contract.harness.amqp_proxy import AmqpProxy, Rule, Verdict
from tests.contract.harness.client import LISTENERS
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.examples import with_examples
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.order_events import fence_exchanges
from tests.contract.harness.paging import walk
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import NO_EVENTS, created, fence, recorded, shown
from tests.contract.harness.system_under_test import SystemUnderTest, new_id

pytestmark = pytest.mark.judges("broker")
every_listener = pytest.mark.parametrize("role", LISTENERS)
NAMED = {name: wrong for name, wrong in NO_EVENTS.items() if "message_id" not in wrong}
NOWHERE = "0" * 32
BEGINNING = 1024
CLOCKS_SECONDS = 60


def aside(system: SystemUnderTest, injector: Injector, role: str, *events: OrderCreated) -> list[DeadLetter]:
    """Events that became dead letters, as they are listed."""
    ids = [injector.put_aside(role, event) for event in events or [created(sample_order())]]
    return [system.eventually(lambda event_id=event_id: system.dead_letter(role, event_id)) for event_id in ids]  # type: ignore[misc]


def replay(system: SystemUnderTest, role: str, *ids: str) -> list[str]:
    """Replay these dead letters; returns those that were put back."""
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    return list(system.ok(request, role).dead_letter_ids)


def discard(system: SystemUnderTest, role: str, *ids: str) -> list[str]:
    """Discard these dead letters; returns those that were removed."""
    request = DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    return list(system.ok(request, role).dead_letter_ids)


def listed(system: SystemUnderTest, role: str) -> list[str]:
    """The ids of all dead letters, the oldest first."""
    return [letter.id for letter in system.dead_letters(role)]


@pytest.mark.cites("dead_letter_service.proto", "The subscriber refused it.")
@pytest.mark.cites("dead_letter_service.proto", "The beginning of its body: 1,024 bytes at most.")
@pytest.mark.cites("dead_letter_service.proto", "When the broker put it aside (UTC, to the second)")
@pytest.mark.cites("dead_letter_service.proto", "Here and below, what is not UTF-8 is shown with U+FFFD in its place.")
@every_listener
@pytest.mark.parametrize("wrong", NAMED.values(), ids=list(NAMED))
def test_what_it_could_not_take_is_listed_with_the_reason(
    system: SystemUnderTest, injector: Injector, role: str, wrong: dict[str, Any]
) -> None:
    """Rejected, just now, for something it says; with its id, its type, its size and the beginning of its body."""
    event = created(sample_order())
    event_id = injector.deliver(role, event, **wrong)
    letter = system.eventually(lambda: system.dead_letter(role, event_id))
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED
    assert letter.obstacle
    assert abs(letter.dead_letter_time.seconds - time.time()) < CLOCKS_SECONDS
    body = wrong.get("body", event.SerializeToString())
    assert (letter.size_bytes, letter.body_beginning) == (len(body), body[:BEGINNING])
    assert letter.type == shown(wrong.get("type", event.DESCRIPTOR.full_name))
    assert letter.content_type == (wrong.get("content_type", "application/protobuf") or "")


@pytest.mark.cites("dead_letter_service.proto", "The event's id (the AMQP message_id); empty when it has none.")
@every_listener
def test_a_dead_letter_without_an_id_is_listed(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """It has an id of its own nevertheless, by which it can be discarded."""
    event = created(sample_order())
    injector.deliver(role, event, message_id=None)
    body = event.SerializeToString()
    letter = system.eventually(lambda: next((x for x in system.dead_letters(role) if x.body_beginning == body), None))
    assert letter.event_id == ""
    assert discard(system, role, letter.id) == [letter.id]


@pytest.mark.cites("dead_letter_service.proto", "empty when it would take it, so that a replay helps")
@every_listener
def test_what_it_would_take_now_has_no_obstacle(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """A dead letter that is an event by now, as after a mistake that was mended."""
    (letter,) = aside(system, injector, role)
    assert letter.obstacle == ""


@pytest.mark.cites("dead_letter_service.proto", "Why the subscriber would refuse it now")
@pytest.mark.cites("implement.md", "The same id with another body is rejected.")
@every_listener
def test_an_id_that_is_recorded_with_another_body_is_an_obstacle(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """What pretends to be a recorded event is not going to be recorded."""
    genuine = sample_order()
    event_id = injector.deliver(role, created(genuine))
    recorded(system, role, genuine.id)
    injector.put_aside(role, created(sample_order()), message_id=event_id)
    assert system.eventually(lambda: system.dead_letter(role, event_id)).obstacle


@pytest.mark.cites("dead_letter_service.proto", "Listing takes nothing away, has no end, and needs no broker.")
@every_listener
def test_listing_takes_nothing_away(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """However often they are listed, all dead letters are there, in their order."""
    letters = [letter.id for letter in aside(system, injector, role, *(created(sample_order()) for _ in range(5)))]
    for _ in range(5):
        assert [letter for letter in listed(system, role) if letter in letters] == letters


@pytest.mark.cites(
    "dead_letter_service.proto",
    "Lists the dead letters in the order in which the service took them over, the oldest first.",
)
@pytest.mark.cites("implement.md", "Pages of any size cover every entry once, in the order of the list.")
@every_listener
def test_dead_letters_come_in_pages(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Pages of any size have all of them once, in order."""
    letters = [letter.id for letter in aside(system, injector, role, *(created(sample_order()) for _ in range(7)))]
    # Whatever there was before comes on the first page, in part or as a whole; these on several.
    sizes = [max(len(listed(system, role)) - len(letters) + 1, 1), 3, 1, 2]
    query = ListDeadLettersRequest()
    paged = [letter.id for letter in walk(system, role, query, lambda page: page.dead_letters, sizes)]
    assert [letter_id for letter_id in paged if letter_id in letters] == letters


@pytest.mark.cites("dead_letter_service.proto", "It judges them anew: they are recorded, or dead letters again.")
@every_listener
def test_a_replayed_dead_letter_is_recorded(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Once, and it is a dead letter no longer."""
    order = sample_order()
    (letter,) = aside(system, injector, role, created(order))
    assert replay(system, role, letter.id) == [letter.id]
    (record,) = recorded(system, role, order.id)
    assert record.event_id == letter.event_id
    assert letter.id not in listed(system, role)


@pytest.mark.cites("dead_letter_service.proto", "where the subscriber records its event once nevertheless")
@every_listener
def test_a_replay_of_what_is_recorded_has_no_second_effect(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """The event is acknowledged, and recorded once."""
    order = sample_order()
    event_id = injector.deliver(role, created(order))
    recorded(system, role, order.id)
    injector.put_aside(role, created(order), message_id=event_id)
    letter = system.eventually(lambda: system.dead_letter(role, event_id))
    assert replay(system, role, letter.id) == [letter.id]
    fence(system, injector, role)
    assert len(system.notifications(role, order.id)) == 1
    assert letter.id not in listed(system, role)


@pytest.mark.cites("dead_letter_service.proto", "Copies of one message have one id.")
@pytest.mark.cites("dead_letter_service.proto", "Those of which every copy is in the queue again")
@every_listener
def test_all_copies_of_a_dead_letter_are_replayed(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """They have one id, and one effect."""
    order, event_id = sample_order(), new_id()
    for _ in range(3):
        injector.put_aside(role, created(order), message_id=event_id)
    letter = system.eventually(lambda: system.dead_letter(role, event_id))
    system.eventually(lambda: listed(system, role).count(letter.id) == 3)
    assert replay(system, role, letter.id) == [letter.id]
    fence(system, injector, role)
    assert len(system.notifications(role, order.id)) == 1
    assert letter.id not in listed(system, role)


@pytest.mark.cites(
    "dead_letter_service.proto", "Puts dead letters back into the queue they came from, for this subscriber alone."
)
@every_listener
def test_a_replay_is_for_this_subscriber_alone(
    system: SystemUnderTest, injector: Injector, event_tap: EventTap, role: str
) -> None:
    """No exchange hears of it."""
    order = sample_order()
    (letter,) = aside(system, injector, role, created(order))
    replay(system, role, letter.id)
    recorded(system, role, order.id)
    fence_exchanges(system, event_tap, injector)
    assert event_tap.received(order.id) == []


@pytest.mark.cites("dead_letter_service.proto", "so that it has the same one each time it is a dead letter")
@pytest.mark.cites("dead_letter_service.proto", "It judges them anew: they are recorded, or dead letters again.")
@every_listener
def test_a_replay_of_what_can_not_be_taken_comes_back(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """It is a dead letter again, with the same id, and the broker says now that it was rejected."""
    event_id = injector.put_aside(role, created(sample_order()), b"\xff\xff")
    letter = system.eventually(lambda: system.dead_letter(role, event_id))
    assert replay(system, role, letter.id) == [letter.id]
    again = system.eventually(lambda: _rejected(system, role, event_id))
    assert (again.id, again.type, again.content_type) == (letter.id, letter.type, letter.content_type)
    assert (again.size_bytes, again.body_beginning) == (letter.size_bytes, letter.body_beginning)


def _rejected(system: SystemUnderTest, role: str, event_id: str) -> DeadLetter | None:
    letter = system.dead_letter(role, event_id)
    return letter if letter and letter.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED else None


@pytest.mark.cites(
    "dead_letter_service.proto", "Those of which every copy is in the queue again, in the order asked for."
)
@every_listener
def test_only_what_is_named_is_replayed(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """The others stay where they are, in their order."""
    orders = [sample_order() for _ in range(4)]
    first, second, third, fourth = [
        letter.id for letter in aside(system, injector, role, *(created(o) for o in orders))
    ]
    assert replay(system, role, third, NOWHERE, first) == [third, first]
    recorded(system, role, orders[0].id)
    recorded(system, role, orders[2].id)
    assert [letter for letter in listed(system, role) if letter in (first, second, third, fourth)] == [second, fourth]


@pytest.mark.cites("dead_letter_service.proto", "Removes dead letters for good.")
@pytest.mark.cites("dead_letter_service.proto", "Those that were there and are no more, in the order asked for.")
@every_listener
def test_a_discarded_dead_letter_is_gone_and_no_other(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """It is neither listed nor recorded any more; the others are listed as before."""
    orders = [sample_order() for _ in range(3)]
    first, second, third = [letter.id for letter in aside(system, injector, role, *(created(o) for o in orders))]
    assert discard(system, role, second, NOWHERE) == [second]
    assert [letter for letter in listed(system, role) if letter in (first, second, third)] == [first, third]
    fence(system, injector, role)
    assert system.notifications(role, orders[1].id) == []


@pytest.mark.cites("dead_letter_service.proto", "an id that is not there is passed over")
@every_listener
def test_what_is_not_there_can_be_neither_replayed_nor_discarded(system: SystemUnderTest, role: str) -> None:
    """It is passed over, and that is no error."""
    assert replay(system, role, NOWHERE) == []
    assert discard(system, role, NOWHERE) == []


@pytest.mark.cites("dead_letter_service.proto", "said how long it may wait, and nobody took it in time")
@every_listener
def test_what_the_broker_let_expire_is_listed_as_expired(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """A message that says how long it may wait, in a queue with a dead-letter queue of the subscriber's behind it."""
    event_id = new_id()
    with injector.leading_to(SUBSCRIPTIONS[role].dead_letter_queue, {"x-message-ttl": 1}) as queue:
        injector.route("", queue, created(sample_order()), message_id=event_id)
        letter = system.discard_dead_letter(role, lambda letter: letter.event_id == event_id)
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_EXPIRED


@pytest.mark.cites("dead_letter_service.proto", "A policy of the broker limits its queue, and it was one too many.")
@every_listener
def test_what_was_one_too_many_is_listed_so(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """In a queue with a limit, by which the broker makes room."""
    event_id = new_id()
    with injector.leading_to(SUBSCRIPTIONS[role].dead_letter_queue, {"x-max-length": 1}) as queue:
        injector.route("", queue, created(sample_order()), message_id=event_id)
        injector.route("", queue, created(sample_order()))
        letter = system.discard_dead_letter(role, lambda letter: letter.event_id == event_id)
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_MAXLEN


def x_death(name: bytes, value: bytes) -> bytes:
    """As the broker writes it, but for one of its fields."""
    fields = {b"count": b"l" + bytes(8), b"reason": b"S" + counted(b"rejected"), b"time": b"T" + bytes(8), name: value}
    table = b"".join(entry(*field) for field in fields.items())
    return entry(b"x-death", b"A" + counted(b"F" + counted(table)))


ODD = {
    **{name: {"headers": counted(entry(b"hostile", value))} for name, value in HOSTILE_HEADERS.items()},
    "an id that is not UTF-8": {"message_id": short(b"\xff\xfe"), "headers": counted(b"")},
    "a type that is not UTF-8": {"type": short(b"\xff\xfe")},
    "the name of a header that is not UTF-8": {"headers": counted(entry(b"\xff", b"V"))},
    "a header twice": {"headers": counted(entry(b"a", b"V") + entry(b"a", b"V"))},
    "a thousand headers": {"headers": counted(b"".join(entry(b"h%d" % n, b"V") for n in range(1000)))},
    "a time that is text": {"headers": counted(x_death(b"time", b"S" + counted(b"Thu Mar 17")))},
    "a time that is a number": {"headers": counted(x_death(b"time", b"I" + bytes(4)))},
    "a time that is none": {"headers": counted(x_death(b"time", b"V"))},
    "a time beyond year 9999": {"headers": counted(x_death(b"time", b"T" + (253_402_300_800).to_bytes(8)))},
    "a reason that is a number": {"headers": counted(x_death(b"reason", b"I" + bytes(4)))},
    "a reason that is not UTF-8": {"headers": counted(x_death(b"reason", b"S" + counted(b"\xff")))},
    "deaths that are text": {"headers": counted(entry(b"x-death", b"S" + counted(b"rejected")))},
    "deaths that are texts": {"headers": counted(entry(b"x-death", b"A" + counted(b"S" + counted(b"a"))))},
    "a copy for somebody else": {"headers": counted(entry(b"CC", b"A" + counted(b"S" + counted(b"nowhere"))))},
    "a priority": {"priority": b"\xff", "delivery_mode": b"\x01"},
    "texts of hostile characters": {"message_id": short(b"\r\n\x1b[31m\0{}"), "app_id": short(b"\xe2\x80\xae")},
    "no properties at all": {"message_id": b"", "type": b"", "content_type": b""},
}
"""What may be wrong with the properties of a dead letter; empty is not there."""


USUAL = {
    "content_type": short(b"application/protobuf"),
    "type": short(OrderCreated.DESCRIPTOR.full_name.encode()),
}


def odd(injector: Injector, role: str, properties: dict[str, bytes]) -> bytes:
    """Puts a message that can't be taken among the dead letters, with these properties; its body."""
    body = b"\xff" + new_id().encode()
    given = {**USUAL, "message_id": short(new_id().encode()), **properties}
    injector.put_raw(SUBSCRIPTIONS[role].dead_letter_queue, body, encoded({k: v for k, v in given.items() if v}))
    return body


@pytest.mark.cites(
    "dead_letter_service.proto",
    "Whatever a dead letter contains, it is listed with what can be read of it, and can be moved and removed.",
)
@pytest.mark.cites("dead_letter_service.proto", "Names it: a digest of its message_id, type, content_type and body")
@every_listener
@pytest.mark.parametrize("properties", ODD.values(), ids=list(ODD))
def test_whatever_is_wrong_with_a_dead_letter_it_can_be_dealt_with(
    system: SystemUnderTest, injector: Injector, role: str, properties: dict[str, bytes]
) -> None:
    """It is listed, as protobuf and as JSON; replayed with an innocent one beside it, and discarded."""
    body = odd(injector, role, properties)
    order = sample_order()
    event_id = injector.put_aside(role, created(order))
    letter = system.eventually(lambda: next((x for x in system.dead_letters(role) if x.body_beginning == body), None))
    innocent = system.eventually(lambda: system.dead_letter(role, event_id))
    assert json_format.Parse(json_format.MessageToJson(letter), DeadLetter()) == letter
    assert replay(system, role, letter.id, innocent.id) == [letter.id, innocent.id]
    recorded(system, role, order.id)
    again = system.discard_dead_letter(role, lambda letter: letter.body_beginning == body)
    assert (again.id, again.event_id) == (letter.id, letter.event_id)


@pytest.mark.cites(
    "dead_letter_service.proto",
    "what would have the broker refuse it or give it to others as well (user_id, and the headers CC and BCC)",
)
@every_listener
def test_a_replay_goes_to_nobody_its_headers_name(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """RabbitMQ sends a copy to each queue in CC, whoever the message is for: that was done when it was published."""
    with injector.leading_to("nowhere", {}) as queue:
        name = b"A" + counted(b"S" + counted(queue.encode()))
        body = odd(injector, role, {"headers": counted(entry(b"CC", name))})
        letter = system.eventually(
            lambda: next((x for x in system.dead_letters(role) if x.body_beginning == body), None)
        )
        assert injector.left_in(queue) == 1
        assert replay(system, role, letter.id) == [letter.id]
        system.discard_dead_letter(role, lambda letter: letter.body_beginning == body)
        assert injector.left_in(queue) == 1


class Copies(Rule):
    """Looks at what a subscriber publishes with a certain body: `seen` has its properties."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.seen: list[bytes] = []

    def published(self, publication: Delivery) -> Verdict:
        if publication.body == self._body:
            self.seen.append(publication.properties)
        return Verdict.PASS


@pytest.mark.cites(
    "dead_letter_service.proto",
    "A copy has the body and the properties of the dead letter, headers included, to the byte as they were published.",
)
@pytest.mark.cites("implement.md", "which is equal to the byte but for what the broker has added")
@pytest.mark.judges("proxy")
@every_listener
@with_examples
@given(properties=properties(COPIED, SENT_TABLES))
def test_a_replay_is_the_same_to_the_byte(
    system: SystemUnderTest, injector: Injector, proxy: AmqpProxy | None, role: str, properties: dict[str, bytes]
) -> None:
    """Every property and every header as it was published, of whatever type: nothing is decoded on the way."""
    properties = {**USUAL, "message_id": short(new_id().encode()), **properties}
    body = odd(injector, role, properties)
    letter = system.eventually(lambda: next((x for x in system.dead_letters(role) if x.body_beginning == body), None))
    rule = Copies(body)
    assert proxy is not None
    proxy.rule = rule
    try:
        assert replay(system, role, letter.id) == [letter.id]
    finally:
        proxy.rule = Rule()
    system.discard_dead_letter(role, lambda letter: letter.body_beginning == body)
    (seen,) = rule.seen
    assert unsigned(seen) == unsigned(encoded(properties))


@pytest.mark.cites(
    "dead_letter_service.proto",
    "A replay goes on when its caller is gone; the request repeated is answered how it ended.",
)
@every_listener
@pytest.mark.parametrize("milliseconds", [1, 2, 4, 8, 16, 32])
def test_a_replay_is_done_once_whenever_its_caller_gives_up(
    system: SystemUnderTest, injector: Injector, role: str, milliseconds: int
) -> None:
    """Cut off at any moment, the same request sent again is answered with what it did."""
    order = sample_order()
    (letter,) = aside(system, injector, role, created(order))
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[letter.id])
    system.client.call(request, role, timeout=milliseconds / 1000)
    answer = system.ok(request, role)
    assert list(answer.dead_letter_ids) == [letter.id]
    recorded(system, role, order.id)
    assert system.ok(request, role) == answer
    assert letter.id not in listed(system, role)


@pytest.mark.cites("dead_letter_service.proto", "one named twice counts once")
@every_listener
def test_one_that_is_named_twice_counts_once(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """In a replay and in a discarding."""
    first, second = aside(system, injector, role, created(sample_order()), created(sample_order()))
    assert replay(system, role, first.id, first.id) == [first.id]
    assert discard(system, role, second.id, NOWHERE, second.id) == [second.id]


@pytest.mark.cites("implement.md", "lists, replays and discards them, without a broker but for replay")
@pytest.mark.cites("error_reason.proto", "Repeating the request with the same request_id does what is left of it.")
@pytest.mark.judges("proxy")
@every_listener
def test_dead_letters_are_listed_and_discarded_while_the_broker_is_away(
    system: SystemUnderTest, injector: Injector, proxy: AmqpProxy | None, role: str
) -> None:
    """They are kept by the service; a replay is refused for the moment, and done when it is repeated."""
    order = sample_order()
    first, second = aside(system, injector, role, created(sample_order()), created(order))
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[second.id])
    assert proxy is not None
    with proxy.away():
        assert [letter for letter in listed(system, role) if letter in (first.id, second.id)] == [first.id, second.id]
        assert discard(system, role, first.id) == [first.id]
        assert system.call(request, role).reason == "BROKER_UNAVAILABLE"
    system.eventually(lambda: system.call(request, role).response)
    recorded(system, role, order.id)
    assert second.id not in listed(system, role)
