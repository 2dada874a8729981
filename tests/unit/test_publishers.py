"""Publishers: an event is believed from the user the contract names, and a replay as what was replayed."""

from typing import Any

import pytest

from ordersys.contract.events import Undecodable
from ordersys.contract.properties import Properties
from ordersys.contract.publishers import Publishers
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, received
from tests.contract.harness.amqp_properties import counted, encoded, entry, short

OWN, REPLAY = "notification-service-1", "notification-service-1.replay.v1"
PUBLISHERS = Publishers(OWN, REPLAY)
CREATED, REJECTED = "ordersys.api.order.v1.OrderCreated", "ordersys.api.order.v1.OrderRejected"
HEADER = counted(entry(b"ordersys:user_id", b"S" + counted(b"order-service")))


def delivery(user: bytes | None, exchange: str = "orders.created", type_: str = CREATED, **more: bytes) -> AmqpDelivery:
    """An event by that user, with more properties."""
    said = {"user_id": short(user)} if user is not None else {}
    return received(encoded({"type": short(type_.encode()), **said, **more}), b"", exchange=exchange)


def obstacle(check: Any, of: AmqpDelivery) -> str:
    """The reason why it is not believed, empty where it is."""
    try:
        check(of)
    except Undecodable as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("user", "type_", "why"),
    [
        (b"order-service", CREATED, ""),
        (b"product-service", REJECTED, ""),
        (b"product-service", CREATED, "it was published by the user 'product-service', and not by order-service"),
        (b"order-service", REJECTED, "it was published by the user 'order-service', and not by product-service"),
        (b"order-service-2", CREATED, "it was published by the user 'order-service-2', and not by order-service"),
        (b"order", CREATED, "it was published by the user 'order', and not by order-service"),
        (b"", CREATED, "it was published by the user '', and not by order-service"),
        (b"\xff", CREATED, r"it was published by the user b'\xff', and not by order-service"),
        (
            None,
            CREATED,
            "it does not say by which user it was published (user_id), which has to be order-service",
        ),
        (None, "no.such.Event", ""),
    ],
)
def test_an_event_is_believed_from_its_publisher_alone(user: bytes | None, type_: str, why: str) -> None:
    """Not from the publisher of another event, a longer or a shorter name; of what is no event decoding says more."""
    assert obstacle(PUBLISHERS.check, delivery(user, type_=type_)) == why
    assert obstacle(PUBLISHERS.check_replay, delivery(user, type_=type_)) == why


@pytest.mark.parametrize(
    ("user", "exchange", "believed"),
    [
        (OWN, REPLAY, True),
        (OWN, "orders.created", False),
        (OWN, "", False),
        ("notification-service-2", REPLAY, False),
        ("product-service", REPLAY, False),
        (None, REPLAY, False),
    ],
)
def test_the_header_is_believed_in_a_replay_of_its_own_alone(user: str | None, exchange: str, believed: bool) -> None:
    """Through its own replay exchange and from its own user."""
    sent = delivery(user.encode() if user else None, exchange, headers=HEADER)
    assert (obstacle(PUBLISHERS.check, sent) == "") is believed


@pytest.mark.parametrize("user", [b"order-service", b"product-service", None])
def test_a_replay_is_believed_as_what_was_replayed(user: bytes | None) -> None:
    """However often, and whatever its headers said before."""
    letter = delivery(user, "", headers=HEADER)
    expected = obstacle(PUBLISHERS.check_replay, letter)
    assert bool(expected) is (user != b"order-service")
    for _ in range(3):
        copied = received(Properties(letter.properties).for_a_replay(OWN), b"", exchange=REPLAY)
        assert obstacle(PUBLISHERS.check, copied) == expected
        letter = copied._replace(exchange="")
        assert obstacle(PUBLISHERS.check_replay, letter) == expected


def test_a_dead_letter_that_can_not_be_replayed_says_so() -> None:
    """Its headers are no table: at first that is nobody's matter, in a replay nobody could say who published it."""
    odd = delivery(b"order-service", headers=counted(b"\xff"))
    assert obstacle(PUBLISHERS.check, odd) == ""
    assert "no table" in obstacle(PUBLISHERS.check_replay, odd)
    assert "no table" in obstacle(PUBLISHERS.check, delivery(OWN.encode(), REPLAY, headers=counted(b"\xff")))
