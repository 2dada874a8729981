"""Laws of the subscribers: what a notification service does with whatever it gets, seen from outside."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetterReason, DiscardDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.contract.topology import events
from tests.contract.harness import strategies
from tests.contract.harness.amqp_properties import HOSTILE_HEADERS, counted, encoded, entry, short
from tests.contract.harness.client import LISTENERS
from tests.contract.harness.examples import share, with_examples
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import NO_EVENTS, created, fence, recorded, shown
from tests.contract.harness.system_under_test import SystemUnderTest, new_id

pytestmark = pytest.mark.judges("broker")
TAKEN = [(role, events()[name]) for role in LISTENERS for name in SUBSCRIPTIONS[role].handlers]
every_listener = pytest.mark.parametrize("role", LISTENERS)
every_taken = pytest.mark.parametrize(("role", "kind"), TAKEN, ids=[f"{role}-{kind.name}" for role, kind in TAKEN])
BEGINNING = 1024
HOSTILE = '\r\n{"level": "forged"}\x1b[31m\u202e\u2066\x00\x7f'
MANY = 20


def updated(order: Order) -> OrderUpdated:
    """The event of a change."""
    return OrderUpdated(order=order, previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=["items"])


@pytest.mark.cites("notification_log.proto", "The event as it was published.")
@pytest.mark.cites("implement.md", "its type_url is type.googleapis.com/ and the event's type")
@pytest.mark.cites("implement.md", "is the body as it was published, to the byte, unknown fields included")
@pytest.mark.cites("notification_log.proto", "The order's version it tells of; 0 for an event about no order version.")
@every_taken
@with_examples
@given(data=st.data())
def test_every_event_it_takes_is_recorded_as_it_was_published(
    system: SystemUnderTest, injector: Injector, role: str, kind: Any, data: st.DataObject
) -> None:
    """Whatever the rules allow: one record, with the event to the byte, its id, its order and its version."""
    event = data.draw(strategies.valid(kind))
    order_id = _make_unique(event)
    event_id = injector.publish(event)
    (record,) = recorded(system, role, order_id)
    assert (record.event_id, record.order_id, record.late) == (event_id, order_id, False)
    assert record.event.type_url == f"type.googleapis.com/{kind.full_name}"
    assert type(event).FromString(record.event.value) == event
    assert record.version == (event.order.version if hasattr(event, "order") else 0)
    assert record.text


def _make_unique(event: Any) -> str:
    """The id of the order an event is about, which is nobody else's."""
    about = event.order if hasattr(event, "order") else event
    setattr(about, "id" if hasattr(event, "order") else "order_id", new_id())
    return str(about.id if hasattr(event, "order") else about.order_id)


@pytest.mark.cites("implement.md", "rules that CEL cannot express, and that you write yourself: sorted_by")
@pytest.mark.cites("implement.md", "and it breaks no rule. Anything else is rejected without requeue")
@every_taken
@with_examples
@given(data=st.data())
def test_an_event_that_breaks_a_rule_is_a_dead_letter(
    system: SystemUnderTest, injector: Injector, role: str, kind: Any, data: st.DataObject
) -> None:
    """With any one rule of the contract broken, it is a dead letter as it came."""
    broken = data.draw(strategies.invalid(kind)).message
    event_id = injector.deliver(role, broken)
    letter, body = (
        system.discard_dead_letter(role, lambda letter: letter.event_id == event_id),
        broken.SerializeToString(),
    )
    assert (letter.size_bytes, letter.body_beginning) == (len(body), body[:BEGINNING])


@pytest.mark.cites("implement.md", "are there, not empty, and are text (UTF-8)")
@pytest.mark.cites(
    "implement.md", "Anything else is rejected without requeue, at once; the broker moves it to the dead-letter queue"
)
@pytest.mark.cites(
    "implement.md", "A delivery is an event of the contract if content_type is application/protobuf to the letter"
)
@every_listener
@pytest.mark.parametrize("wrong", NO_EVENTS.values(), ids=list(NO_EVENTS))
def test_what_is_no_event_is_a_dead_letter_at_once(
    system: SystemUnderTest, injector: Injector, role: str, wrong: dict[str, Any]
) -> None:
    """It was rejected, not delivered until its limit, and the event behind it is recorded."""
    event = created(sample_order())
    sent_as = injector.deliver(role, event, **wrong)
    fence(system, injector, role)
    body = wrong.get("body", event.SerializeToString())[:BEGINNING]
    about = shown(wrong.get("message_id", sent_as)), shown(wrong.get("type", event.DESCRIPTOR.full_name)), body
    letter = system.discard_dead_letter(
        role, lambda letter: (letter.event_id, letter.type, letter.body_beginning) == about
    )
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED


@pytest.mark.cites("implement.md", "the type is one that the subscription takes")
@pytest.mark.parametrize("role", ["notification-service-1"])
def test_an_event_it_does_not_take_is_a_dead_letter(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """An update in the queue of a subscriber that takes creations only."""
    order = sample_order(version=2)
    event_id = injector.deliver(role, updated(order))
    assert system.discard_dead_letter(role, lambda letter: letter.event_id == event_id)
    assert system.notifications(role, order.id) == []


@pytest.mark.cites("implement.md", "keep them in recorded events")
@pytest.mark.cites("implement.md", "is the body as it was published, to the byte, unknown fields included")
@every_listener
def test_unknown_fields_of_an_event_are_accepted(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """An event of a newer publisher is recorded, with what is not understood."""
    order = sample_order()
    body = created(order).SerializeToString() + b"\xfa\x3e\x03new"
    injector.deliver(role, created(order), body)
    assert recorded(system, role, order.id)[0].event.value == body


@pytest.mark.cites(
    "implement.md", "A second delivery of the same id and the same body is acknowledged and has no effect."
)
@every_listener
def test_an_event_that_comes_again_has_no_second_effect(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """The same id and the same body: one record, and it does not come back."""
    order, event_id = sample_order(), new_id()
    for _ in range(5):
        injector.deliver(role, created(order), message_id=event_id)
    fence(system, injector, role)
    assert len(system.notifications(role, order.id)) == 1
    injector.deliver(role, created(order), message_id=event_id)
    fence(system, injector, role)
    assert len(system.notifications(role, order.id)) == 1


@pytest.mark.cites("implement.md", "The same id with another body is rejected.")
@every_listener
def test_an_id_that_comes_with_another_body_is_a_dead_letter(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """What was recorded stays; what pretends to be it is put aside."""
    genuine, forged = sample_order(), sample_order()
    event_id = injector.deliver(role, created(genuine))
    recorded(system, role, genuine.id)
    injector.deliver(role, created(forged), message_id=event_id)
    assert system.discard_dead_letter(role, lambda letter: letter.event_id == event_id)
    assert system.notifications(role, forged.id) == []
    assert len(system.notifications(role, genuine.id)) == 1


@pytest.mark.cites(
    "implement.md", "An event whose version is older than one recorded before of the same order is recorded with late"
)
@pytest.mark.cites("notification_log.proto", "Whether a newer version of the same order had been recorded before.")
@pytest.mark.parametrize("role", ["notification-service-2"])
def test_an_older_version_is_recorded_as_late(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """It is kept, marked, and does not stand over the newer one."""
    newer = sample_order(version=3)
    older = Order()
    older.CopyFrom(newer)
    older.version = 2
    for order in (newer, older):
        injector.deliver(role, updated(order))
    records = recorded(system, role, newer.id, 2)
    assert [(record.version, record.late) for record in records] == [(3, False), (2, True)]


@pytest.mark.cites("implement.md", "it is any text, is recorded as it is, and names the event by itself")
@pytest.mark.parametrize("role", ["notification-service-2"])
def test_hostile_text_is_recorded_as_it_is(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Line ends, escapes and marks that turn the reading direction are text like any other, where text may be any."""
    order = sample_order(version=2)
    event = updated(order)
    event_id = injector.publish(event, message_id=f"{HOSTILE}{new_id()}")
    (record,) = recorded(system, role, order.id)
    assert record.event_id == event_id
    assert OrderUpdated.FromString(record.event.value) == event


@pytest.mark.cites("implement.md", "and the events behind it are taken")
@every_listener
def test_poison_does_not_hold_up_what_is_healthy(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Among many messages that are no events, each event is recorded and each of the others put aside."""
    orders = [sample_order() for _ in range(MANY)]
    poison = set()
    for order in orders:
        poison.add(injector.deliver(role, created(order), b"\xff\xff"))
        injector.deliver(role, created(order))
    for order in orders:
        recorded(system, role, order.id)
    for event_id in poison:
        assert system.discard_dead_letter(role, lambda letter, event_id=event_id: letter.event_id == event_id)  # type: ignore[misc]


@pytest.mark.cites("implement.md", "Do not decode headers you do not need: anybody may put anything into them.")
@every_listener
@pytest.mark.parametrize("value", HOSTILE_HEADERS.values(), ids=list(HOSTILE_HEADERS))
def test_a_header_nobody_can_decode_costs_nothing(
    system: SystemUnderTest, injector: Injector, role: str, value: bytes
) -> None:
    """What is not asked for need not be understood: the event is recorded, and so is the one behind it."""
    order, event_id = sample_order(), new_id()
    event = created(order)
    properties = {
        "content_type": short(b"application/protobuf"),
        "headers": counted(entry(b"hostile", value)),
        "message_id": short(event_id.encode()),
        "type": short(event.DESCRIPTOR.full_name.encode()),
    }
    injector.put_raw(SUBSCRIPTIONS[role].queue, event.SerializeToString(), encoded(properties))
    fence(system, injector, role)
    assert [record.event_id for record in recorded(system, role, order.id)] == [event_id]


@pytest.mark.cites("implement.md", "subscribe again, on a new channel, if nothing was delivered for some seconds")
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.005, 0.02][: max(share(10), 2)])  # each takes seconds
@every_listener
def test_a_queue_that_is_made_anew_is_consumed(
    system: SystemUnderTest, injector: Injector, role: str, seconds: float
) -> None:
    """However soon after its deletion: RabbitMQ 3.10 moves consumers to the new queue and delivers nothing to them."""
    for queue in (SUBSCRIPTIONS[role].queue, SUBSCRIPTIONS[role].dead_letter_queue):
        injector.make_anew(queue, seconds)
    fence(system, injector, role)
    event_id = injector.deliver(role, created(sample_order()), b"\xff\xff")
    assert system.discard_dead_letter(role, lambda letter: letter.event_id == event_id)


@pytest.mark.cites("notification_log.proto", "Counts the records of this service; rises, may have gaps.")
@every_listener
def test_records_are_numbered_in_the_order_of_recording(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Sequences rise with each event."""
    orders = [sample_order() for _ in range(5)]
    for order in orders:
        injector.deliver(role, created(order))
    sequences = [recorded(system, role, order.id)[0].sequence for order in orders]
    assert sequences == sorted(set(sequences))


VERSIONS = 60  # so many that several at a time are under way, where a service takes several


@pytest.mark.cites("implement.md", "One process of a subscriber takes deliveries at a time.")
@pytest.mark.cites("notification_log.proto", "Lists what was recorded, in the order of recording.")
@pytest.mark.parametrize("role", ["notification-service-2"])
def test_versions_that_come_in_order_are_recorded_in_order(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """Those of one order, from its creation on."""
    order = sample_order()
    injector.deliver(role, created(order))
    for version in range(2, VERSIONS + 1):
        order.version = version
        injector.deliver(role, updated(order))
    records = recorded(system, role, order.id, VERSIONS)
    assert [record.version for record in records] == list(range(1, VERSIONS + 1))
    assert [record.sequence for record in records] == sorted({record.sequence for record in records})


IMPOSSIBLE: dict[str, Callable[[Order], None]] = {
    "at version 2": lambda order: setattr(order, "version", 2),
    "paid for": lambda order: setattr(order, "state", OrderState.ORDER_STATE_PAID),
    "with another total": lambda order: setattr(order.total, "nanos", order.total.nanos ^ 1),
    "with a total in no currency": lambda order: setattr(order.total, "currency_code", ""),
    "with its items in another order": lambda order: order.items.sort(key=lambda item: item.product_id, reverse=True),
    "with its id in upper case": lambda order: setattr(order, "id", order.id.upper()),
    "changed before it was created": lambda order: setattr(order.update_time, "seconds", 5),
    "with nanos below zero": lambda order: setattr(order.create_time, "nanos", -1),
}


@pytest.mark.cites("order_events.proto", "The order as it was created: version 1, state PLACED.")
@pytest.mark.cites(
    "order.proto",
    "as it is answered, published, and read from a file. The rules hold for all three.",
)
@pytest.mark.cites("implement.md", "in upper case it breaks a rule (string.lower_case), and the event is a dead letter")
@pytest.mark.cites(
    "rules.proto", "A list that is sorted by the text in the field of this name of its elements, byte by byte."
)
@pytest.mark.cites("rules.proto", "An amount of money that is the exact sum of quantity × unit_price")
@every_listener
@pytest.mark.parametrize("spoil", IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_an_event_of_an_order_that_can_not_be_is_a_dead_letter(
    system: SystemUnderTest, injector: Injector, role: str, spoil: Callable[[Order], None]
) -> None:
    """A creation is at version 1, PLACED, of sorted items and their sum, at one time, under an id in lower case."""
    order = sample_order(wanted={"chair": 1, "lamp": 2})
    order.id = f"abcdef{order.id[6:]}"
    spoil(order)
    event_id = injector.deliver(role, created(order))
    discard(system, role, event_id)
    assert system.notifications(role, order.id) == []


def discard(system: SystemUnderTest, role: str, *event_ids: str) -> None:
    """Takes these events from the dead letters, among which they have to come."""

    def letters() -> list[str] | None:
        ids = [letter.id for letter in system.dead_letters(role) if letter.event_id in event_ids]
        return ids if len(ids) == len(event_ids) else None

    system.ok(DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=system.eventually(letters)), role)


def strange(order: Order, **times: int) -> OrderCreated:
    """A creation at a time that a Timestamp has no words for."""
    for time in (order.create_time, order.update_time):
        time.seconds, time.nanos = times.get("seconds", time.seconds), times.get("nanos", time.nanos)
    return created(order)


@pytest.mark.cites("rules.proto", "so that it can be written in RFC 3339 and in JSON")
@every_listener
def test_what_is_recorded_can_be_answered_again(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """In protobuf and in JSON, each page of it, whatever has come: an id that is no text, times that are none."""
    injector.deliver(role, created(sample_order()), message_id=b"\xff\xfe")
    seconds = [1_764_000_000_000, -62_135_596_801, 253_402_300_800, 2**63 - 1, -(2**63)]
    orders = [strange(sample_order(), seconds=second) for second in seconds]
    orders += [strange(sample_order(), nanos=nano) for nano in (-1, 1_000_000_000, -(2**31))]
    event_ids = [injector.deliver(role, order) for order in orders]
    injector.deliver(role, created(sample_order()), message_id=f"\x00{HOSTILE}{new_id()}")
    fence(system, injector, role)
    query, pages = ListNotificationsRequest(page_size=500), 0
    while pages == 0 or query.page_token:
        page = system.ok(query, role)
        assert MessageToJson(page)
        query.page_token, pages = page.next_page_token, pages + 1
    discard(system, role, *event_ids)


@pytest.mark.cites("implement.md", "Each delivery ends in an acknowledgement or a rejection.")
@every_listener
def test_what_is_dealt_with_is_gone_from_the_queue(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Nothing waits when everything is recorded."""
    fence(system, injector, role)
    system.eventually(lambda: injector.waiting(role) == 0)
