"""What a consumer does with what it gets: every row of the contract's table, on the live queue of service 2."""

import json
import time
import uuid
from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.local.system import System
from tests.integration.api import Api, eventually
from tests.integration.deliveries import SUBSCRIPTION, UPDATED, dead_letter, order, publish

GOOD = OrderCreated(order=order()).SerializeToString()


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (b"\xff\xff\xff", {}),
        (b"", {}),
        (OrderCreated(order=Order(id="no uuid")).SerializeToString(), {}),
        (GOOD, {"content_type": "application/json"}),
        (GOOD, {"content_type": None}),
        (GOOD, {"message_id": None}),
        (GOOD, {"type": None}),
        (GOOD, {"type": "ordersys.api.order.v1.OrderVanished"}),
        (GOOD, {"type": "ordersys.api.order.v1.Order"}),
        (GOOD + b"\x7a\x80\x80\x20" + b"x" * 524_288, {}),
    ],
    ids=["garbage", "empty", "rule", "json", "untyped", "no-id", "no-type", "unknown", "no-event", "large"],
)
def test_what_is_no_event_is_a_dead_letter_at_once(
    api: Api, amqp: BlockingChannel, body: bytes, changes: dict[str, Any]
) -> None:
    """It lies in the dead-letter queue as it came, and a healthy event behind it waits no second."""
    mark = f"mark-{uuid.uuid4()}"
    publish(amqp, body, **{"correlation_id": mark, **changes})
    healthy = order()
    began = time.monotonic()
    publish(amqp, OrderCreated(order=healthy).SerializeToString())
    eventually(lambda: api.heard(2, healthy.id), 5)
    assert time.monotonic() - began < 5
    properties, found = dead_letter(amqp, lambda properties, _: properties.correlation_id == mark)
    assert found == body
    assert properties.headers["x-death"][0]["reason"] == "rejected"


def test_unknown_fields_are_accepted(api: Api, amqp: BlockingChannel) -> None:
    """An event of a newer publisher is recorded."""
    newer = order()
    publish(amqp, OrderCreated(order=newer).SerializeToString() + b"\xfa\x3e\x03new")
    assert eventually(lambda: api.heard(2, newer.id))


def test_the_same_event_again_has_no_second_effect(api: Api, amqp: BlockingChannel) -> None:
    """One record, however often it comes."""
    again, behind = order(), order()
    event_id = str(uuid.uuid4())
    for _ in range(5):
        publish(amqp, OrderCreated(order=again).SerializeToString(), message_id=event_id)
    publish(amqp, OrderCreated(order=behind).SerializeToString())
    eventually(lambda: api.heard(2, behind.id))
    assert len(api.heard(2, again.id)) == 1


def test_the_same_id_with_another_body_is_a_dead_letter(api: Api, amqp: BlockingChannel) -> None:
    """What was recorded stays; what pretends to be it is put aside."""
    genuine, forged = order(), order()
    event_id = publish(amqp, OrderCreated(order=genuine).SerializeToString())
    eventually(lambda: api.heard(2, genuine.id))
    publish(amqp, OrderCreated(order=forged).SerializeToString(), message_id=event_id)
    assert dead_letter(amqp, lambda properties, _: properties.message_id == event_id)
    assert api.heard(2, forged.id) == []


def test_an_older_version_is_recorded_as_late(api: Api, amqp: BlockingChannel) -> None:
    """It is kept, marked, and does not stand over the newer one."""
    newer = order(version=3)
    older = Order()
    older.CopyFrom(newer)
    older.version = 2
    for one in (newer, older):
        event = OrderUpdated(order=one, previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=["items"])
        publish(amqp, event.SerializeToString(), type=UPDATED)
    heard = eventually(lambda: h if len(h := api.heard(2, newer.id)) == 2 else None)
    assert [(n.version, n.late) for n in heard] == [(3, False), (2, True)]


def test_a_hostile_text_stays_one_parsable_line_of_the_log(system: System, api: Api, amqp: BlockingChannel) -> None:
    """CR, LF, escapes and bidi marks in an event never break the log or reach a terminal raw."""
    hostile = order()
    event = OrderUpdated(
        order=hostile,
        previous_state=OrderState.ORDER_STATE_PLACED,
        changed_fields=['\r\n{"level": "forged"}\x1b[31m\u202e\x00'],
    )
    publish(amqp, event.SerializeToString(), type=UPDATED)
    (heard,) = eventually(lambda: api.heard(2, hostile.id))
    log = system.services["notification_service_2"].log
    raw = eventually(lambda: [line for line in log.read_bytes().split(b"\n") if hostile.id.encode() in line])
    assert len(raw) == 1
    assert json.loads(raw[0])["message"] == heard.text
    assert not any(byte < 0x20 or byte > 0x7E for byte in raw[0])


def test_a_deleted_queue_is_declared_again(api: Api, amqp: BlockingChannel) -> None:
    """A consumer whose queue was taken away live comes back by itself and hears on."""
    amqp.queue_delete(SUBSCRIPTION.queue)
    product = api.new_product(1000)
    eventually(lambda: _heard_of_a_new_order(api, product))


def _heard_of_a_new_order(api: Api, product: str) -> bool:
    """What was published while there was no queue for it is gone; what comes after is heard of."""
    created = api.place({product: 1})
    eventually(lambda: api.heard(1, created.id))
    return bool(api.heard(2, created.id))
