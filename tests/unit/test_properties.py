"""Properties as bytes: whatever a publisher puts there is read as far as it can be, and copied to the byte."""

import struct
from random import Random
from typing import Any

import pika
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika.frame import Header, decode_frame

from benchmarks.baselines.messages import as_message
from ordersys.contract.events import EventMessage
from ordersys.contract.properties import Death, Malformed, Properties, death, entries, for_a_copy
from ordersys.contract.topology import Publication
from ordersys.runtime.rabbitmq import messages
from ordersys.runtime.rabbitmq.messages import RawProperties, copy, receive_raw
from tests.contract.harness.amqp_properties import (
    HOSTILE_HEADERS,
    TABLES,
    VALUES,
    counted,
    encoded,
    entry,
    properties,
    published,
    short,
)

OURS = ("x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count", "CC", "BCC")


def received(raw: bytes) -> pika.BasicProperties:
    """As pika has it of a broker."""
    content = struct.pack(">HHQ", pika.BasicProperties.INDEX, 0, 7) + raw
    _, frame = decode_frame(struct.pack(">BHL", 2, 1, len(content)) + content + b"\xce")
    assert isinstance(frame, Header)
    return frame.properties


@given(properties())
def test_a_copy_is_the_same_to_the_byte(values: dict[str, bytes]) -> None:
    """Any property, any type of field, any nesting; but for a user_id, which is the broker's to check."""
    assert b"".join(copy(encoded(values), b"", "", "q").properties.encode()) == encoded(published(values))


def original_user(user: bytes) -> bytes:
    return entry(b"ordersys:user_id", b"S" + counted(user))


@given(properties(), st.binary(max_size=255))
def test_a_replay_is_the_same_to_the_byte_and_names_its_users(values: dict[str, bytes], user: bytes) -> None:
    """Its own as its user_id, and in its last header that of the first publisher, also of a replay replayed."""
    values = {**values, "user_id": short(user)}
    copied = Properties(encoded(values)).for_a_replay("me")
    table = values.get("headers", counted(b""))[4:] + original_user(user)
    assert copied == encoded({**values, "headers": counted(table), "user_id": short(b"me")})
    assert Properties(copied).for_a_replay("me") == copied
    assert Properties(copied).original_user("me") == Properties(encoded(values)).text("user_id")


@given(properties())
def test_a_replay_of_what_names_no_user_names_none(values: dict[str, bytes]) -> None:
    """Nor does the replay of that replay; a header that somebody else has written is taken out."""
    nobodys = {name: raw for name, raw in values.items() if name != "user_id"}
    copied = Properties(encoded(nobodys)).for_a_replay("me")
    assert copied == encoded({**nobodys, "user_id": short(b"me")})
    assert Properties(copied).for_a_replay("me") == copied
    assert Properties(copied).original_user("me") is None
    forged = counted(nobodys.get("headers", counted(b""))[4:] + original_user(b"forged"))
    assert original_user(b"forged") not in Properties(encoded({**nobodys, "headers": forged})).for_a_replay("me")


@pytest.mark.parametrize("table", [b"\xff", original_user(b"order-service") + b"\xff"], ids=["garbage", "behind it"])
def test_headers_that_are_no_table_name_no_user(table: bytes) -> None:
    """Not even the entry that stands before the place where they cease to be one."""
    properties_ = Properties(encoded({"headers": counted(table), "user_id": short(b"me")}))
    with pytest.raises(Malformed):
        properties_.original_user("me")
    with pytest.raises(Malformed):
        properties_.for_a_replay("me")
    assert properties_.original_user("another") == "me"


@given(TABLES, st.lists(st.tuples(st.sampled_from(OURS), VALUES), min_size=1), st.randoms())
def test_a_copy_has_nothing_the_broker_wrote_or_routes_by(
    table: bytes, written: list[tuple[str, bytes]], random: Random
) -> None:
    """Wherever it stands and of whatever type it is; the headers between stay in their order."""
    own = [header.raw for header in entries(table)]
    mixed = own + [entry(name.encode(), value) for name, value in written]
    order = sorted(range(len(mixed)), key=lambda index: (random.random(), index))
    shuffled = [mixed[index] for index in order]
    left = b"".join(raw for raw in shuffled if raw in own)
    copied = for_a_copy(encoded({"headers": counted(b"".join(shuffled))}))
    assert copied == encoded({"headers": counted(left)} if left else {})


@given(properties())
def test_whatever_is_received_is_kept_and_its_texts_are_read(values: dict[str, bytes]) -> None:
    """pika's decoder may fail on any of it: the bytes are there, and so are the texts a subscriber asks for."""
    got = received(encoded(values))
    assert isinstance(got, RawProperties)
    assert got.raw == encoded(values)
    for name, value in (("message_id", got.message_id), ("type", got.type), ("content_type", got.content_type)):
        said = value.encode() if isinstance(value, str) else value
        assert said == (values[name][1:] if name in values else None)


@settings(deadline=None)
@given(properties())
def test_what_nobody_has_asked_for_yet_is_as_pika_decodes_it(values: dict[str, bytes]) -> None:
    """Each field, also where pika takes none of them."""
    raw = encoded(values)
    got: Any = RawProperties.of(raw)
    plain = pika.BasicProperties()
    try:
        plain = plain.decode(raw)
    except Exception:  # noqa: BLE001 - whatever the decoder raises
        texts = ("message_id", "type", "content_type", "user_id")
        plain = pika.BasicProperties(**{text: getattr(got, text) for text in texts})
    assert repr({name: getattr(got, name) for name in vars(plain)}) == repr(vars(plain))  # NaN equals nothing
    assert not hasattr(got, "none_such")


_LINE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    st.builds(EventMessage, _LINE, _LINE, _LINE, _LINE, st.integers(0, 253_402_300_799_999_999), _LINE, st.binary()),
    _LINE,
)
def test_an_event_has_the_properties_pika_would_write_to_the_byte(event: EventMessage, user: str) -> None:
    """The texts may hold anything; without a user there is no user_id."""
    plain = as_message(event, user or None).properties
    made = messages.of_event(event, Publication("orders.events", "order.updated", ""), user).properties
    assert b"".join(made.encode()) == b"".join(plain.encode())
    assert (made.message_id, made.headers, made.user_id) == (event.event_id, plain.headers, user or None)


@pytest.mark.parametrize(
    "wrong",
    [{"event_id": "x" * 256}, {"type": "é" * 128}, {"subject": "\ud800"}, {"time": -1_000_000}, {"time": 2**60}],
    ids=["a long id", "a long type", "no Unicode", "before 1970", "after 9999"],
)
def test_an_event_that_can_not_be_written_is_refused_before_any_byte_of_it_goes(wrong: dict[str, Any]) -> None:
    """Not cut off, and nobody else's trouble."""
    event = EventMessage("id", "type", "source", "subject", 0, "traceparent", b"")._replace(**wrong)
    with pytest.raises((ValueError, OverflowError)):
        messages.of_event(event, Publication("orders.events", "order.updated", ""))


HOSTILE = {
    **HOSTILE_HEADERS,
    "a type that there is not": b"Z1234",
    "a number that is none": b"d" + struct.pack(">d", float("nan")),
    "a string that ends too early": b"S\xff\xff\xff\xff",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=list(HOSTILE))
def test_a_header_no_decoder_takes_costs_nothing(value: bytes) -> None:
    """Neither the id is lost, nor the bytes of the header beside it, nor what is read of x-death."""
    table = entry(b"x-delivery-count", b"l" + bytes(8)) + entry(b"h", value)
    raw = encoded({"headers": counted(table), "message_id": short(b"id-1")})
    got = received(raw)
    assert got.message_id == "id-1"
    assert isinstance(got, RawProperties)
    copied = b"".join(copy(got.raw, b"", "", "q").properties.encode())
    assert entry(b"h", value) in copied
    assert death(got.raw) == Death()


@given(st.binary(max_size=40))
def test_bytes_that_are_no_properties_are_a_message_that_says_nothing(raw: bytes) -> None:
    """Bytes of any kind raise nothing, and a copy has them as they are."""
    got = received(raw)
    assert isinstance(got, RawProperties)
    assert got.raw == raw
    try:
        Properties(raw)
    except Malformed:
        assert copy(raw, b"", "", "q").properties.encode() == [raw]
        assert got.type is None or isinstance(got.type, str | bytes)


def _x_death(*fields_: bytes) -> bytes:
    return entry(b"x-death", b"A" + counted(b"F" + counted(b"".join(fields_))))


REASON, TIME = entry(b"reason", b"S" + counted(b"rejected")), entry(b"time", b"T" + struct.pack(">q", 5))
DEATHS = {
    "as RabbitMQ writes it": (_x_death(REASON, TIME), Death("rejected", 5)),
    "a time as text": (_x_death(REASON, entry(b"time", b"S" + counted(b"Thu Mar 17"))), Death("rejected")),
    "a time as a number": (_x_death(entry(b"time", b"I" + bytes(4)), REASON), Death("rejected")),
    "a time that is none": (_x_death(REASON, entry(b"time", b"V")), Death("rejected")),
    "a reason that is no text": (_x_death(entry(b"reason", b"I" + bytes(4)), TIME), Death("", 5)),
    "a reason that is not UTF-8": (_x_death(entry(b"reason", b"S" + counted(b"\xff"))), Death("\ufffd")),
    "a negative time": (_x_death(entry(b"time", b"T" + b"\xff" * 8)), Death("", -1)),
    "text": (entry(b"x-death", b"S" + counted(b"rejected")), Death()),
    "an empty list": (entry(b"x-death", b"A" + counted(b"")), Death()),
    "a list of texts": (entry(b"x-death", b"A" + counted(b"S" + counted(b"a"))), Death()),
    "a table": (entry(b"x-death", b"F" + counted(REASON)), Death()),
    "cut off": (entry(b"x-death", b"A" + counted(b"F\0\0\xff\xff")), Death()),
    "not there": (b"", Death()),
}


@pytest.mark.parametrize(("table", "said"), DEATHS.values(), ids=list(DEATHS))
def test_x_death_is_read_as_far_as_it_can_be(table: bytes, said: Death) -> None:
    """Anybody may have written it."""
    assert death(encoded({"headers": counted(table)})) == said


def test_without_the_hook_messages_are_copied_from_what_pika_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """pika's table of properties is no public part of it: who finds none uses what is."""
    table: dict[int, object] = {}
    receive_raw(table)
    assert table == {pika.BasicProperties.INDEX: RawProperties}
    monkeypatch.setitem(pika.spec.props, pika.BasicProperties.INDEX, pika.BasicProperties)
    sent = pika.BasicProperties(message_id="id-1", headers={"n": 7, "x-death": [{"reason": "rejected"}]})
    got = received(b"".join(sent.encode()))
    assert not isinstance(got, RawProperties)
    method = pika.spec.Basic.Deliver(redelivered=True)
    delivery = messages.delivered(method, got, b"body")
    assert (delivery.message_id, delivery.body, delivery.redelivered) == ("id-1", b"body", True)
    again = pika.BasicProperties().decode(b"".join(copy(delivery.properties, b"", "", "q").properties.encode()))
    assert (again.message_id, again.headers) == ("id-1", {"n": 7})
