"""Publishers of events: each event names its own, and a subscriber believes no other one, a replay included."""

from typing import Any

import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import (
    DeadLetter,
    DeadLetterReason,
    ReplayDeadLettersRequest,
)
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, Shortage
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.order_events import FANOUT, TOPIC, await_version
from tests.contract.harness.rejections import event_of
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created, fence, recorded
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, placing

pytestmark = pytest.mark.judges("broker", "identities", "users")
every_listener = pytest.mark.parametrize("role", LISTENERS)
FIRST_USER = "ordersys:user_id"
FORGERS = {
    "nobody": None,
    "the publisher of other events": PRODUCT,
    "a longer name": f"{ORDER}-2",
    "a shorter name": ORDER[:-1],
    "another case": ORDER.upper(),
    "a subscriber": LISTENERS[1],
    "the user each RabbitMQ has": "guest",
}
forged = pytest.mark.parametrize("user", FORGERS.values(), ids=list(FORGERS))


def rejected_letter(system: SystemUnderTest, role: str, event_id: str) -> DeadLetter:
    """The dead letter of an event that the subscriber refused, with the reason."""
    letter = system.eventually(lambda: system.dead_letter(role, event_id))
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED
    assert letter.obstacle
    return letter


def replay(system: SystemUnderTest, role: str, letter: DeadLetter) -> None:
    """Puts it back."""
    request = ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[letter.id])
    assert list(system.ok(request, role).dead_letter_ids) == [letter.id]


def discard(system: SystemUnderTest, role: str, event_id: str) -> None:
    """Keeps the list short."""
    system.discard_dead_letter(role, lambda letter: letter.event_id == event_id)


@pytest.mark.cites("implement.md", "`user_id` | the user of the connection it is published by, which RabbitMQ checks")
@pytest.mark.cites("order_events.proto", "that user has the name of the publishing service, such as order-service")
@pytest.mark.judges(ORDER)
def test_the_events_of_an_order_name_the_order_service(system: SystemUnderTest, event_tap: EventTap) -> None:
    """On both exchanges, of a creation and of a change."""
    order = system.create()
    paid = UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=OrderState.ORDER_STATE_PAID)
    order = system.ok(paid, ORDER).order
    heard = await_version(system, event_tap, order)
    event_tap.wait(lambda: event_tap.received(order.id, FANOUT), system.patience)
    heard += event_tap.received(order.id, FANOUT)
    assert [(h.exchange, h.properties.user_id) for h in heard] == [(TOPIC, ORDER)] * 2 + [(FANOUT, ORDER)]


@pytest.mark.cites("topology.proto", "as a user of that name in lower case with hyphens (order-service)")
@pytest.mark.judges(PRODUCT)
def test_the_event_of_a_refused_placement_names_the_product_service(
    system: SystemUnderTest, event_tap: EventTap
) -> None:
    """It publishes that one itself."""
    customer = f"c-{new_id()[:8]}"
    assert system.call(placing({system.new_product(1): 2}, customer)).reason == "OUT_OF_STOCK"
    (heard,) = event_tap.wait(
        lambda: [
            h
            for h in event_tap.everything()
            if h.event and isinstance(event_of(h), OrderRejected) and event_of(h).customer_id == customer
        ],
        system.patience,
        "OrderRejected",
    )
    assert heard.properties.user_id == PRODUCT


@pytest.mark.cites("order_events.proto", "a subscriber refuses an event whose `user_id` is absent or another one")
@pytest.mark.cites("implement.md", "one with another or none is rejected without requeue")
@forged
@every_listener
def test_an_event_of_another_user_is_a_dead_letter_and_recorded_by_nobody(
    system: SystemUnderTest, injector: Injector, role: str, user: str | None
) -> None:
    """Published as the contract says but for its user; the subscriber goes on."""
    order = sample_order()
    event_id = injector.publish(created(order), user_id=user)
    rejected_letter(system, role, event_id)
    for listener in LISTENERS:
        fence(system, injector, listener)
        assert system.notifications(listener, order.id) == []
        discard(system, listener, event_id)


@pytest.mark.cites("topology.proto", "The gRPC service, by full name, that publishes it and no other does.")
@pytest.mark.parametrize("user", [ORDER, None])
def test_a_rejection_is_believed_from_the_product_service_alone(
    system: SystemUnderTest, injector: Injector, user: str | None
) -> None:
    """Not from the publisher of all other events."""
    role, order = LISTENERS[1], sample_order()
    shortage = Shortage(product_id="lamp", asked=2, available=1)
    event = OrderRejected(order_id=order.id, customer_id="anna", shortages=[shortage])
    event.reject_time.CopyFrom(order.create_time)
    event_id = injector.publish(event, user_id=user)
    rejected_letter(system, role, event_id)
    discard(system, role, event_id)
    assert system.notifications(role, order.id) == []
    injector.publish(event)
    assert len(recorded(system, role, order.id)) == 1


@pytest.mark.cites(
    "implement.md", "says in the header `ordersys:user_id` who published it first, and is judged by that"
)
@forged
@every_listener
def test_a_forged_event_that_is_replayed_is_a_dead_letter_again(
    system: SystemUnderTest, injector: Injector, role: str, user: str | None
) -> None:
    """However often: a replay, which its subscriber's own user publishes, is no way to be believed."""
    order = sample_order()
    event_id = injector.deliver(role, created(order), user_id=user)
    first = rejected_letter(system, role, event_id)
    for _ in range(2):
        replay(system, role, first)
        again = rejected_letter(system, role, event_id)
        assert (again.id, again.obstacle) == (first.id, first.obstacle)
    fence(system, injector, role)
    assert system.notifications(role, order.id) == []
    discard(system, role, event_id)


@pytest.mark.cites("dead_letter_service.proto", "It judges them anew: they are recorded, or dead letters again.")
@pytest.mark.cites("dead_letter_service.proto", "of a dead letter that is a replay itself that of the first")
@every_listener
def test_a_true_event_that_is_replayed_is_recorded_once(system: SystemUnderTest, injector: Injector, role: str) -> None:
    """Also one that was a dead letter twice, and one whose headers name somebody else."""
    wrong = sample_order()
    for headers in (None, {FIRST_USER: PRODUCT}):
        order = sample_order()
        event_id = injector.put_aside(role, created(order), headers=headers)
        letter = system.eventually(lambda event_id=event_id: system.dead_letter(role, event_id))  # type: ignore[misc]
        assert letter.obstacle == ""
        replay(system, role, letter)
        (record,) = recorded(system, role, order.id)
        assert record.event_id == event_id
    # Its id is taken, which is no matter of its user: a replay of a replay names the first one as well.
    second = injector.put_aside(role, created(wrong), message_id=event_id)
    conflicting = system.eventually(lambda: system.dead_letter(role, second))
    for _ in range(2):
        replay(system, role, conflicting)
        again = rejected_letter(system, role, second)
        assert again.obstacle == conflicting.obstacle
    fence(system, injector, role)
    assert (len(system.notifications(role, order.id)), system.notifications(role, wrong.id)) == (1, [])
    discard(system, role, second)


def foreign(role: str) -> dict[str, tuple[str, Any]]:
    """Exchange and user of messages with the header of a replay, none of which is one."""
    own, (other,) = SUBSCRIPTIONS[role], {*LISTENERS} - {role}
    return {
        "a publisher of other events": (own.exchange, PRODUCT),
        "nobody": (own.exchange, None),
        "nobody, into the queue": ("", None),
        "another subscriber": (own.exchange, other),
        "another subscriber, by the replay exchange": (own.replay_exchange, other),
        "a publisher of other events, by the replay exchange": (own.replay_exchange, PRODUCT),
        "nobody, by the replay exchange": (own.replay_exchange, None),
        "the subscriber, by the exchange of the event": (own.exchange, role),
        "the subscriber, into the queue": ("", role),
    }


@pytest.mark.cites("order_events.proto", "A subscriber believes that header in nothing but a replay")
@pytest.mark.cites("implement.md", "did not come through your `replay_exchange` with your own `user_id`")
@pytest.mark.parametrize("sent", list(foreign(LISTENERS[0])))
@every_listener
def test_the_header_of_a_replay_gains_nothing_elsewhere(
    system: SystemUnderTest, injector: Injector, role: str, sent: str
) -> None:
    """Anybody who may publish can write the header that says that the order-service has published it."""
    order, (exchange, user) = sample_order(), foreign(role)[sent]
    event: OrderCreated = created(order)
    key = "order.created" if exchange == SUBSCRIPTIONS[role].exchange else SUBSCRIPTIONS[role].queue
    event_id = injector.route(exchange, key, event, user_id=user, headers={FIRST_USER: ORDER})
    letter = system.eventually(lambda: system.dead_letter(role, event_id))
    assert letter.reason == DeadLetterReason.DEAD_LETTER_REASON_REJECTED
    if user != role:
        assert letter.obstacle
        replay(system, role, letter)
        rejected_letter(system, role, event_id)
    fence(system, injector, role)
    assert system.notifications(role, order.id) == []
    for listener in LISTENERS if exchange == FANOUT else [role]:
        discard(system, listener, event_id)
