"""Laws of the dead letters: a notification service lists what it could not take, replays it and discards it."""

import time
from typing import Any

import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DeadLetterReason,
    DiscardDeadLettersRequest,
    ListDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from tests.contract.ear import Ear
from tests.contract.orders import imagined
from tests.contract.post import Post
from tests.contract.test_idempotency import fence as fence_of_events
from tests.contract.test_pages import walk
from tests.contract.test_subscribers import NO_EVENTS, created, fence, recorded
from tests.contract.wire import LISTENERS, ORDER
from tests.contract.world import World, new_id

pytestmark = pytest.mark.judges("broker")
every_listener = pytest.mark.parametrize("role", LISTENERS)
NAMED = {name: wrong for name, wrong in NO_EVENTS.items() if name != "no id"}
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
    assert letter.type == (wrong.get("type", event.DESCRIPTOR.full_name) or "")
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
    """It is a dead letter again, the same as before: its body, its properties and its id."""
    mark, headers = new_id(), {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tries": 7}
    event_id = post.put_aside(role, created(imagined()), b"\xff\xff", correlation_id=mark, headers=headers)
    letter = world.eventually(lambda: world.dead_letter(role, event_id))
    assert replay(world, role, letter.id) == [letter.id]
    again = world.eventually(lambda: _rejected(world, role, event_id))
    assert again.id == letter.id
    properties, body = world.eventually(lambda: post.dead_letter(role, mark))
    assert (body, properties.message_id, properties.delivery_mode) == (b"\xff\xff", event_id, 2)
    assert {name: properties.headers[name] for name in headers} == headers


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
