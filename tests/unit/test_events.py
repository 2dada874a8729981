"""Events on the wire."""

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, Shortage
from ordersys.contract import events, topology
from ordersys.contract.events import Delivery, EventMessage, Undecodable, decode
from ordersys.contract.times import timestamp
from tests.contract.harness import strategies
from tests.unit.test_lifecycle import order

FINE = OrderCreated(order=order()).SerializeToString()
CREATED = "ordersys.api.order.v1.OrderCreated"


def delivery(**changes: object) -> Delivery:
    fine = Delivery("id-1", CREATED, events.CONTENT_TYPE, FINE)
    return fine._replace(**changes)  # type: ignore[arg-type]


def test_an_event_is_decoded_with_its_order_and_version() -> None:
    """A created order's event names the order and version 1."""
    event = decode(delivery())
    assert (event.event_id, event.order_id, event.version) == ("id-1", order().id, 1)
    assert event.message == OrderCreated(order=order())


def test_a_refusal_is_about_no_version() -> None:
    """OrderRejected tells of an order that never was: version 0."""
    rejected = OrderRejected(
        order_id=order().id,
        customer_id="anna",
        shortages=[Shortage(product_id="lamp", asked=2, available=1)],
        reject_time=timestamp(0),
    )
    kind = rejected.DESCRIPTOR.full_name
    assert decode(delivery(type=kind, body=rejected.SerializeToString())).version == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"content_type": "text/plain"}, "content_type"),
        ({"content_type": None}, "content_type"),
        ({"message_id": None}, "message_id"),
        ({"type": ""}, "message_id or type"),
        ({"type": "ordersys.api.order.v1.Order"}, "no event of the contract"),
        ({"type": "no.such.Event"}, "no event of the contract"),
        ({"body": b"\xff\xff"}, "the body is no"),
        ({"body": b""}, "order: "),
        ({"message_id": b"\xff\xfe"}, "^message_id is not text$"),
        ({"type": b"\xff"}, "^type is not text$"),
        ({"content_type": b"\xff"}, "^content_type is not text$"),
        ({"body": FINE + b"\xfb\x3e" * 1000}, "the body is no"),
        ({"body": b"x" * (events.MAXIMUM_BYTES + 1)}, "larger than"),
    ],
)
def test_what_is_no_event_says_why(changes: dict[str, object], why: str) -> None:
    """Each reason for a dead letter is named."""
    with pytest.raises(Undecodable, match=why):
        decode(delivery(**changes))


@given(st.data())
def test_what_is_decoded_can_be_answered_again(data: st.DataObject) -> None:
    """In protobuf and in JSON: whatever bytes of an event were changed, it is so or it is Undecodable."""
    kind = data.draw(st.sampled_from(list(topology.events().values())))
    body = bytearray(data.draw(strategies.valid(kind)).SerializeToString())
    for position in data.draw(st.lists(st.integers(0, len(body) * 8 - 1), max_size=3)):
        body[position // 8] ^= 1 << position % 8
    try:
        event = decode(delivery(type=kind.full_name, body=bytes(body)))
    except Undecodable:
        return
    notification = Notification(event_id=event.event_id, order_id=event.order_id, version=event.version)
    notification.event.Pack(event.message)
    assert MessageToJson(notification)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_undecodable(body: bytes) -> None:
    """No body, however broken, ends in anything else."""
    try:
        decode(delivery(body=body))
    except Undecodable:
        return


def test_unknown_fields_are_accepted() -> None:
    """A newer publisher's additions do not make an event undecodable."""
    newer = delivery().body + b"\xfa\x3e\x03new"
    assert decode(delivery(body=newer)).order_id == order().id


def test_the_headers_are_those_of_the_contract() -> None:
    """CloudEvents attributes in the headers, the time as RFC 3339 in UTC."""
    event = EventMessage("id", CREATED, "source", "subject", 1_790_000_000_000_001, "trace", b"")
    assert events.headers(event) == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:source": "source",
        "cloudEvents:subject": "subject",
        "cloudEvents:time": "2026-09-21T14:13:20.000001Z",
        "traceparent": "trace",
    }
