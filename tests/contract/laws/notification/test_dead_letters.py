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
from ordersys.contract.events import Delivery
from tests.contract.harness.amqp_properties import (
    COPIED,
    HOSTILE_HEADERS,
    SENT_TABLES,
    counted,
    encoded,
    entry,
    properties,
    published,
    short,
)
from tests.contract.harness.amqp_proxy import Proxy, Rule, Verdict
from tests.contract.harness.client import LISTENERS, ORDER
from tests.contract.harness.event_tap import Ear
from tests.contract.harness.examples import tried
from tests.contract.harness.injector import SUBSCRIPTIONS, Post
from tests.contract.harness.sample_orders import imagined
from tests.contract.harness.system_under_test import World, new_id
from tests.contract.laws.notification.test_subscribers import NO_EVENTS, created, fence, recorded, shown
from tests.contract.laws.rpc.test_idempotency import fence as fence_of_events
from tests.contract.laws.rpc.test_pages import walk

pytestmark = pytest.mark.judges("broker")
every_listener = pytest.mark.parametrize("role", LISTENERS)
NAMED = {name: wrong for name, wrong in NO_EVENTS.items() if "message_id" not in wrong}
NOWHERE = "0" * 32
BEGINNING = 1024
CLOCKS_SECONDS = 60


def aside(world: World, post: Post, role: str, *events: OrderCreated) -> list[DeadLetter]:
    """Events that became dead letters, as they are listed."""
    ids = [post.put_aside(role, event) for event in events or [created(imagined())]]
    return [world.eventually(lambda one=one: world.dead_letter(role, one)) for one in ids]  # type: ignore[misc]


def replay(world: World, role: str, *ids: str) -> list[str]:
    """Which of these dead letters were put back."""
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    return list(world.ok(request, role).dead_letter_ids)


def discard(world: World, role: str, *ids: str) -> list[str]:
    """Which of these dead letters were removed."""
    request = DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids)
    return list(world.ok(request, role).dead_letter_ids)


def listed(world: World, role: str) -> list[str]:
    """The ids of all dead letters, the oldest first."""
    return [letter.id for letter in world.dead_letters(role)]


@every_listener
@pytest.mark.parametrize("wrong", NAMED.values(), ids=list(NAMED))
def test_what_it_could_not_take_is_listed_with_the_reason(
    world: World, post: Post, role: str, wrong: dict[str, Any]
) -> None:
    """Rejected, just now, for something it says; with its id, its type, its size and the beginning of its body."""
    event = created(imagined())
    event_id = post.deliver(role, event, **wrong)
    letter = world.eventually(lambda: world.dead_letter(role, event_id))
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED
    assert letter.obstacle
    assert abs(letter.dead_letter_time.seconds - time.time()) < CLOCKS_SECONDS
    body = wrong.get("body", event.SerializeToString())
    assert (letter.size_bytes, letter.body_beginning) == (len(body), body[:BEGINNING])
    assert letter.type == shown(wrong.get("type", event.DESCRIPTOR.full_name))
    assert letter.content_type == (wrong.get("content_type", "application/protobuf") or "")


@every_listener
def test_a_dead_letter_without_an_id_is_listed(world: World, post: Post, role: str) -> None:
    """It has an id of its own nevertheless, by which it can be discarded."""
    event = created(imagined())
    post.deliver(role, event, message_id=None)
    body = event.SerializeToString()
    letter = world.eventually(lambda: next((x for x in world.dead_letters(role) if x.body_beginning == body), None))
    assert letter.event_id == ""
    assert discard(world, role, letter.id) == [letter.id]


@every_listener
def test_what_it_would_take_now_has_no_obstacle(world: World, post: Post, role: str) -> None:
    """A dead letter that is an event by now, as after a mistake that was mended."""
    (letter,) = aside(world, post, role)
    assert letter.obstacle == ""


@every_listener
def test_an_id_that_is_recorded_with_another_body_is_an_obstacle(world: World, post: Post, role: str) -> None:
    """What pretends to be a recorded event is not going to be recorded."""
    genuine = imagined()
    event_id = post.deliver(role, created(genuine))
    recorded(world, role, genuine.id)
    post.put_aside(role, created(imagined()), message_id=event_id)
    assert world.eventually(lambda: world.dead_letter(role, event_id)).obstacle


@every_listener
def test_listing_takes_nothing_away(world: World, post: Post, role: str) -> None:
    """However often they are listed, all dead letters are there, in their order."""
    letters = [letter.id for letter in aside(world, post, role, *(created(imagined()) for _ in range(5)))]
    for _ in range(5):
        assert [one for one in listed(world, role) if one in letters] == letters


@every_listener
def test_dead_letters_come_in_pages(world: World, post: Post, role: str) -> None:
    """Pages of any size have all of them once, in order."""
    aside(world, post, role, *(created(imagined()) for _ in range(7)))
    whole = listed(world, role)
    query = ListDeadLettersRequest()
    assert [one.id for one in walk(world, role, query, lambda page: page.dead_letters, [3, 1, 2])] == whole


@every_listener
def test_a_replayed_dead_letter_is_recorded(world: World, post: Post, role: str) -> None:
    """Once, and it is a dead letter no longer."""
    order = imagined()
    (letter,) = aside(world, post, role, created(order))
    assert replay(world, role, letter.id) == [letter.id]
    (found,) = recorded(world, role, order.id)
    assert found.event_id == letter.event_id
    assert letter.id not in listed(world, role)


@every_listener
def test_a_replay_of_what_is_recorded_has_no_second_effect(world: World, post: Post, role: str) -> None:
    """The event is acknowledged, and recorded once."""
    order = imagined()
    event_id = post.deliver(role, created(order))
    recorded(world, role, order.id)
    post.put_aside(role, created(order), message_id=event_id)
    letter = world.eventually(lambda: world.dead_letter(role, event_id))
    assert replay(world, role, letter.id) == [letter.id]
    fence(world, post, role)
    assert len(world.notifications(role, order.id)) == 1
    assert letter.id not in listed(world, role)


@every_listener
def test_all_copies_of_a_dead_letter_are_replayed(world: World, post: Post, role: str) -> None:
    """They have one id, and one effect."""
    order, event_id = imagined(), new_id()
    for _ in range(3):
        post.put_aside(role, created(order), message_id=event_id)
    letter = world.eventually(lambda: world.dead_letter(role, event_id))
    world.eventually(lambda: listed(world, role).count(letter.id) == 3)
    assert replay(world, role, letter.id) == [letter.id]
    fence(world, post, role)
    assert len(world.notifications(role, order.id)) == 1
    assert letter.id not in listed(world, role)


@pytest.mark.judges(ORDER)
@every_listener
def test_a_replay_is_for_this_subscriber_alone(world: World, post: Post, ear: Ear, role: str) -> None:
    """No exchange hears of it."""
    order = imagined()
    (letter,) = aside(world, post, role, created(order))
    replay(world, role, letter.id)
    recorded(world, role, order.id)
    fence_of_events(world)
    assert ear.heard(order.id) == []


@every_listener
def test_a_replay_of_what_can_not_be_taken_comes_back(world: World, post: Post, role: str) -> None:
    """It is a dead letter again, with the same id, and the broker says now that it was rejected."""
    event_id = post.put_aside(role, created(imagined()), b"\xff\xff")
    letter = world.eventually(lambda: world.dead_letter(role, event_id))
    assert replay(world, role, letter.id) == [letter.id]
    again = world.eventually(lambda: _rejected(world, role, event_id))
    assert (again.id, again.type, again.content_type) == (letter.id, letter.type, letter.content_type)
    assert (again.size_bytes, again.body_beginning) == (letter.size_bytes, letter.body_beginning)


def _rejected(world: World, role: str, event_id: str) -> DeadLetter | None:
    found = world.dead_letter(role, event_id)
    return found if found and found.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED else None


@every_listener
def test_only_what_is_named_is_replayed(world: World, post: Post, role: str) -> None:
    """The others stay where they are, in their order."""
    orders = [imagined() for _ in range(4)]
    first, second, third, fourth = [one.id for one in aside(world, post, role, *(created(o) for o in orders))]
    assert replay(world, role, third, NOWHERE, first) == [third, first]
    recorded(world, role, orders[0].id)
    recorded(world, role, orders[2].id)
    assert [one for one in listed(world, role) if one in (first, second, third, fourth)] == [second, fourth]


@every_listener
def test_a_discarded_dead_letter_is_gone_and_no_other(world: World, post: Post, role: str) -> None:
    """It is neither listed nor recorded any more; the others are listed as before."""
    orders = [imagined() for _ in range(3)]
    first, second, third = [one.id for one in aside(world, post, role, *(created(o) for o in orders))]
    assert discard(world, role, second, NOWHERE) == [second]
    assert [one for one in listed(world, role) if one in (first, second, third)] == [first, third]
    fence(world, post, role)
    assert world.notifications(role, orders[1].id) == []


@every_listener
def test_what_is_not_there_can_be_neither_replayed_nor_discarded(world: World, role: str) -> None:
    """It is passed over, and that is no error."""
    assert replay(world, role, NOWHERE) == []
    assert discard(world, role, NOWHERE) == []


@every_listener
def test_what_the_broker_let_expire_is_listed_as_expired(world: World, post: Post, role: str) -> None:
    """A message that says how long it may wait, in a queue with a dead-letter queue of the subscriber's behind it."""
    event_id = new_id()
    with post.leading_to(SUBSCRIPTIONS[role].dead_letter_queue, {"x-message-ttl": 1}) as queue:
        post.route("", queue, created(imagined()), message_id=event_id)
        letter = world.taken_out(role, lambda one: one.event_id == event_id)
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_EXPIRED


@every_listener
def test_what_was_one_too_many_is_listed_so(world: World, post: Post, role: str) -> None:
    """In a queue with a limit, by which the broker makes room."""
    event_id = new_id()
    with post.leading_to(SUBSCRIPTIONS[role].dead_letter_queue, {"x-max-length": 1}) as queue:
        post.route("", queue, created(imagined()), message_id=event_id)
        post.route("", queue, created(imagined()))
        letter = world.taken_out(role, lambda one: one.event_id == event_id)
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


def odd(post: Post, role: str, properties: dict[str, bytes]) -> bytes:
    """Puts a message that can't be taken among the dead letters, with these properties; its body."""
    body = b"\xff" + new_id().encode()
    given = {**USUAL, "message_id": short(new_id().encode()), **properties}
    post.put_raw(SUBSCRIPTIONS[role].dead_letter_queue, body, encoded({k: v for k, v in given.items() if v}))
    return body


@every_listener
@pytest.mark.parametrize("properties", ODD.values(), ids=list(ODD))
def test_whatever_is_wrong_with_a_dead_letter_it_can_be_dealt_with(
    world: World, post: Post, role: str, properties: dict[str, bytes]
) -> None:
    """It is listed, as protobuf and as JSON; replayed with an innocent one beside it, and discarded."""
    body = odd(post, role, properties)
    order = imagined()
    event_id = post.put_aside(role, created(order))
    letter = world.eventually(lambda: next((x for x in world.dead_letters(role) if x.body_beginning == body), None))
    innocent = world.eventually(lambda: world.dead_letter(role, event_id))
    assert json_format.Parse(json_format.MessageToJson(letter), DeadLetter()) == letter
    assert replay(world, role, letter.id, innocent.id) == [letter.id, innocent.id]
    recorded(world, role, order.id)
    again = world.taken_out(role, lambda one: one.body_beginning == body)
    assert (again.id, again.event_id) == (letter.id, letter.event_id)


@every_listener
def test_a_replay_goes_to_nobody_its_headers_name(world: World, post: Post, role: str) -> None:
    """RabbitMQ sends a copy to each queue in CC, whoever the message is for: that was done when it was published."""
    with post.leading_to("nowhere", {}) as queue:
        name = b"A" + counted(b"S" + counted(queue.encode()))
        body = odd(post, role, {"headers": counted(entry(b"CC", name))})
        letter = world.eventually(lambda: next((x for x in world.dead_letters(role) if x.body_beginning == body), None))
        assert post.left_in(queue) == 1
        assert replay(world, role, letter.id) == [letter.id]
        world.taken_out(role, lambda one: one.body_beginning == body)
        assert post.left_in(queue) == 1


class Copies(Rule):
    """Looks at what a subscriber publishes with a certain body: `seen` has its properties."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.seen: list[bytes] = []

    def published(self, publication: Delivery) -> Verdict:
        if publication.body == self._body:
            self.seen.append(publication.properties)
        return Verdict.PASS


@pytest.mark.judges("proxy")
@every_listener
@tried
@given(properties=properties(COPIED, SENT_TABLES))
def test_a_replay_is_the_same_to_the_byte(
    world: World, post: Post, proxy: Proxy | None, role: str, properties: dict[str, bytes]
) -> None:
    """Every property and every header as it was published, of whatever type: nothing is decoded on the way."""
    properties = {**USUAL, "message_id": short(new_id().encode()), **properties}
    body = odd(post, role, properties)
    letter = world.eventually(lambda: next((x for x in world.dead_letters(role) if x.body_beginning == body), None))
    rule = Copies(body)
    assert proxy is not None
    proxy.rule = rule
    try:
        assert replay(world, role, letter.id) == [letter.id]
    finally:
        proxy.rule = Rule()
    world.taken_out(role, lambda one: one.body_beginning == body)
    (seen,) = rule.seen
    assert seen == encoded(published(properties))


@every_listener
@pytest.mark.parametrize("milliseconds", [1, 2, 4, 8, 16, 32])
def test_a_replay_is_done_once_whenever_its_caller_gives_up(
    world: World, post: Post, role: str, milliseconds: int
) -> None:
    """Cut off at any moment, the same request sent again is answered with what it did."""
    order = imagined()
    (letter,) = aside(world, post, role, created(order))
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[letter.id])
    world.wire.call(request, role, timeout=milliseconds / 1000)
    answer = world.ok(request, role)
    assert list(answer.dead_letter_ids) == [letter.id]
    recorded(world, role, order.id)
    assert world.ok(request, role) == answer
    assert letter.id not in listed(world, role)


@every_listener
def test_one_that_is_named_twice_counts_once(world: World, post: Post, role: str) -> None:
    """In a replay and in a discarding."""
    first, second = aside(world, post, role, created(imagined()), created(imagined()))
    assert replay(world, role, first.id, first.id) == [first.id]
    assert discard(world, role, second.id, NOWHERE, second.id) == [second.id]


@pytest.mark.judges("proxy")
@every_listener
def test_dead_letters_are_listed_and_discarded_while_the_broker_is_away(
    world: World, post: Post, proxy: Proxy | None, role: str
) -> None:
    """They are kept by the service; a replay is refused for the moment, and done when it is repeated."""
    order = imagined()
    first, second = aside(world, post, role, created(imagined()), created(order))
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[second.id])
    assert proxy is not None
    with proxy.away():
        assert [one for one in listed(world, role) if one in (first.id, second.id)] == [first.id, second.id]
        assert discard(world, role, first.id) == [first.id]
        assert world.call(request, role).reason == "BROKER_UNAVAILABLE"
    world.eventually(lambda: world.call(request, role).response)
    recorded(world, role, order.id)
    assert second.id not in listed(world, role)
