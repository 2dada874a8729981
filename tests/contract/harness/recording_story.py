"""Stories of messages to a notification service: the steps there are, of a few orders."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from hypothesis import strategies as st

from ordersys.api.notification.v1.dead_letter_service_pb2 import DiscardDeadLettersRequest, ReplayDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.events import CONTENT_TYPE
from ordersys.contract.topology import events
from tests.contract.harness import strategies
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.paging import walk
from tests.contract.harness.recording_judge import Message, RecordingJudge
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.steps import Kind
from tests.contract.harness.subscriber_deliveries import NO_EVENTS
from tests.contract.harness.system_under_test import SystemUnderTest, new_id
from tests.contract.harness.valid_values import LEAST

_ORDERS = 3
_UNKNOWN_FIELD = b"\xfa\x3e\x03new"
_NOWHERE = "0" * 32
_WHICH = st.integers(0, 99)
_HOW = st.sampled_from(["published", "delivered", "delivered", "aside"])
_FOREIGN: dict[str, dict[str, Any]] = {
    "as usual": {},
    "not persistent": {"delivery_mode": 1},
    "with foreign headers": {"headers": {"traceparent": "none", "x-tries": 3, "CloudEvents:id": b"\xff"}},
    "said to be packed": {"content_encoding": "gzip"},
    "with other properties": {"app_id": "another", "priority": 9, "correlation_id": "c", "timestamp": 1},
}
"""The properties that no subscriber has to look at."""


class Way(NamedTuple):
    """The way of an event to a subscriber: where it is put, its properties beside the usual ones, its encoding."""

    how: str
    properties: str
    encoding: str


class RecordingStory(RecordingJudge):
    """Messages of any kind to a subscriber, and requests about what became of them."""

    def __init__(self, system: SystemUnderTest, role: str, injector: Injector) -> None:
        super().__init__(system, role)
        self.injector = injector
        self.orders = [new_id() for _ in range(_ORDERS)]
        self.fences = new_id()
        """The order of events that tell that all before them has been dealt with."""

    def begin(self) -> None:
        """An event of each order."""
        for number in range(_ORDERS):
            self.tell_of(OrderCreated(order=sample_order()), number, 0, Way("published", "as usual", "plain"))

    def tell_of(self, event: Any, which: int, version: int, way: Way) -> None:
        """An event of an order, at one of the first versions it may have; with an id of its own."""
        order_id, number = self.orders[which % _ORDERS], 0
        if "order" not in event.DESCRIPTOR.fields_by_name:
            event.order_id = order_id
        else:
            event.order.id = order_id
            if "previous_state" in event.DESCRIPTOR.fields_by_name:
                event.order.version = max(LEAST[event.order.state], 2) + version
            number = event.order.version
        body = _ENCODINGS[way.encoding](event)
        message = Message(new_id(), event.DESCRIPTOR.full_name, CONTENT_TYPE, body, order_id, number)
        self.send(message, way.how, **_FOREIGN[way.properties])

    def come_again(self, which: int, how: str) -> None:
        """A message that was sent before: the same id and the same body."""
        self.send(self.messages[which % len(self.messages)], "delivered" if how == "published" else how)
        self.fence()

    def come_with_another_body(self, which: int, how: str) -> None:
        """The id of an event that was sent before, with something more in it."""
        message = self.event(which)
        self.send(message._replace(body=message.body + _UNKNOWN_FIELD), "delivered" if how == "published" else how)

    def be_overtaken(self) -> None:
        """An event among the dead letters, which would be taken, until its id is recorded with another body."""
        event = OrderCreated(order=sample_order())
        event.order.id = self.orders[0]
        body = event.SerializeToString()
        message = Message(new_id(), event.DESCRIPTOR.full_name, CONTENT_TYPE, body, self.orders[0], 1)
        self.send(message, "aside")
        self.look_around()
        self.send(message._replace(body=body + _UNKNOWN_FIELD), "delivered")

    def come_under_another_id(self, which: int, how: str) -> None:
        """An event that was sent before, to the byte: a second one of its version."""
        self.send(self.event(which)._replace(event_id=new_id()), how)

    def come_as_something_else(self, which: int) -> None:
        """An event that was sent before, to the byte, but not as one."""
        self.send(self.event(which)._replace(content_type="text/plain", order_id=""), "delivered")

    def come_wrong(self, which: int, how: str) -> None:
        """Something that is no event."""
        event = OrderCreated(order=sample_order())
        wrong = list(NO_EVENTS.values())[which % len(NO_EVENTS)]
        usual = {"message_id": new_id(), "type": event.DESCRIPTOR.full_name, "content_type": CONTENT_TYPE}
        said = {**usual, **wrong}
        body = wrong.get("body", event.SerializeToString())
        message = Message(said["message_id"], said["type"], said["content_type"], body)
        self.send(message, "delivered" if how == "published" else how)

    def break_a_rule(self, event: Any, how: str) -> None:
        """An event with one rule broken, or one that the subscriber does not take."""
        message = Message(new_id(), event.DESCRIPTOR.full_name, CONTENT_TYPE, event.SerializeToString())
        self.send(message, "delivered" if how == "published" else how)

    def replay(self, which: Sequence[int]) -> None:
        """Some dead letters, one that there is not, and one twice."""
        ids = self.letter_ids(which)
        self.remove(ReplayDeadLettersRequest(request_id=new_id(), dead_letter_ids=[*ids, _NOWHERE, *ids[:1]]))
        self.fence()

    def discard(self, which: Sequence[int]) -> None:
        """Some dead letters, one that there is not, and one twice."""
        ids = self.letter_ids(which)
        self.remove(DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=[*ids[:1], _NOWHERE, *ids]))

    def ask_again(self, which: int, is_upper: bool) -> None:
        """A replay or a discarding that was asked for before."""
        if not self.answered:
            return
        request = self.answered_request(which)
        if is_upper:
            request.request_id = request.request_id.upper()
        self.remove(request)
        self.fence()

    def ask_for_another(self, which: int, is_other_call: bool) -> None:
        """The id of a request there was, for other dead letters, or in the other call."""
        if not self.answered:
            return
        request = self.answered_request(which)
        is_replay = isinstance(request, ReplayDeadLettersRequest) != is_other_call
        kind: type[Any] = ReplayDeadLettersRequest if is_replay else DiscardDeadLettersRequest
        ids = request.dead_letter_ids if is_other_call else [*self.letter_ids([which]), *request.dead_letter_ids[:1]]
        self.remove(kind(request_id=request.request_id, dead_letter_ids=ids))

    def list_records(self, which: int, size: int) -> None:
        """The records of an order, spelled in either case, on pages of any size; of one nobody heard of, none."""
        order_id = [*self.order_ids(), new_id()][which % (len(self.order_ids()) + 1)]
        expected = [record for record in self.records if record.order_id == order_id]
        for spelled in (order_id, order_id.upper()):
            query = ListNotificationsRequest(order_id=spelled)
            listed: list[Notification] = walk(self.system, self.role, query, lambda page: page.notifications, [size])
            assert listed == expected

    def end(self) -> None:
        """The list of all records, and nothing of the story left among the dead letters for whoever comes next."""
        self.compare_whole_list()
        for _ in range(0, len(self.letters), 500):
            ids = list({seen.listed.id: None for seen in self.letters})[:500]
            self.remove(DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=ids))
        self.look_around()

    # How messages are sent

    def send(self, message: Message, how: str, **properties: Any) -> None:
        """A message: published to the exchange of its event, into the subscriber's queue, or among its dead letters."""
        said = {"message_id": message.event_id, "type": message.type, "content_type": message.content_type}
        to = SUBSCRIPTIONS[self.role]
        if how == "published":
            self.injector.publish_as(str(message.type), message.body, **{**said, **properties})
        else:
            queue = to.dead_letter_queue if how == "aside" else to.queue
            self.injector.put(queue, message.body, **{**said, **properties})
        if how == "aside":
            self.expect_aside(message)
        else:
            self.expect(message)

    def fence(self) -> None:
        """An event behind all others: once it is recorded, they were dealt with."""
        order = sample_order()
        order.id = self.fences
        event = OrderCreated(order=order)
        body = event.SerializeToString()
        self.send(
            Message(new_id(), event.DESCRIPTOR.full_name, CONTENT_TYPE, body, self.fences, order.version), "delivered"
        )

    def event(self, which: int) -> Message:
        """One of the events that were sent."""
        sent = [message for message in self.messages if message.order_id and message.order_id != self.fences]
        return sent[which % len(sent)]

    def letter_ids(self, which: Sequence[int]) -> list[str]:
        """Some of the dead letters there are; of several that are one event's, if they are no more alike, one."""
        chosen = [self.letters[number % len(self.letters)] for number in which] if self.letters else []
        by_event = {seen.listed.event_id or seen.listed.id: seen.listed.id for seen in chosen}
        return list(by_event.values())

    def answered_request(self, which: int) -> Any:
        """One of the requests there were, as a copy."""
        request, _ = list(self.answered.values())[which % len(self.answered)]
        return type(request).FromString(request.SerializeToString())


def _split(event: Any) -> bytes:
    """An event in an encoding that no library writes: its fields from the last to the first, each message in halves."""
    parts = b""
    for field, value in reversed(event.ListFields()):
        part = type(event)()
        if field.is_repeated:
            getattr(part, field.name).extend(value)
            parts += part.SerializeToString()
        elif field.message_type is None:
            setattr(part, field.name, value)
            parts += part.SerializeToString()
        else:
            parts += _halves(event, field.name)
    return parts


def _halves(event: Any, field: str) -> bytes:
    """A message of an event as two, which a reader merges."""
    first, second = type(event)(), type(event)()
    getattr(second, field).CopyFrom(getattr(event, field))
    (inner, value), *_ = getattr(event, field).ListFields()
    if inner.is_repeated or inner.message_type:
        return bytes(second.SerializeToString())
    getattr(second, field).ClearField(inner.name)
    setattr(getattr(first, field), inner.name, value)
    return bytes(second.SerializeToString() + first.SerializeToString())


_ENCODINGS = {
    "plain": lambda event: event.SerializeToString(),
    "of a newer publisher": lambda event: event.SerializeToString() + _UNKNOWN_FIELD,
    "as no library has it": _split,
}


def kinds(role: str) -> Sequence[Kind]:
    """The steps of a story of a subscriber."""
    handled = [events()[name] for name in SUBSCRIPTIONS[role].handlers]
    valid = st.one_of([strategies.valid(kind) for kind in handled])
    invalid = [strategies.invalid(kind).map(lambda broken: broken.message) for kind in handled]
    wrong = [*invalid, *map(_valid, _others(handled))]
    some = st.lists(_WHICH, min_size=1, max_size=3)
    way = st.builds(Way, _HOW, st.sampled_from(sorted(_FOREIGN)), st.sampled_from(sorted(_ENCODINGS)))
    arguments = {"event": valid, "which": _WHICH, "version": st.integers(0, 4), "way": way}
    again = {"which": _WHICH, "how": _HOW}
    return (
        Kind(9, RecordingStory.tell_of, arguments),
        Kind(2, RecordingStory.come_again, again),
        Kind(1, RecordingStory.come_with_another_body, again),
        Kind(1, RecordingStory.be_overtaken),
        Kind(2, RecordingStory.come_under_another_id, again),
        Kind(1, RecordingStory.come_as_something_else, {"which": _WHICH}),
        Kind(3, RecordingStory.come_wrong, again),
        Kind(2, RecordingStory.break_a_rule, {"event": st.one_of(wrong), "how": _HOW}),
        Kind(3, RecordingStory.replay, {"which": some}),
        Kind(2, RecordingStory.discard, {"which": some}),
        Kind(1, RecordingStory.ask_again, {"which": _WHICH, "is_upper": st.booleans()}),
        Kind(1, RecordingStory.ask_for_another, {"which": _WHICH, "is_other_call": st.booleans()}),
        Kind(2, RecordingStory.list_records, {"which": _WHICH, "size": st.integers(1, 4)}),
    )


def _valid(kind: Descriptor) -> Any:
    return strategies.valid(kind)


def _others(handled: Sequence[Descriptor]) -> list[Descriptor]:
    """The events of the contract that a subscriber does not take."""
    return [kind for name, kind in events().items() if kind not in handled]
