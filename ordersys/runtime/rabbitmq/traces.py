"""Spans of events: made and published by the one side, processed by the others.

An event carries the context of its creation, which is a child of its order's: so it stands in the outbox and on the
wire (semantic conventions of messaging, "creation context"). Its span is recorded when the event is confirmed, by
whichever process publishes it: from the time of the change until the window began that brought it to the broker.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ordersys.contract import topology
from ordersys.contract.topology import Publication
from ordersys.runtime.base.ids import traceparent
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Fate, PublishResult
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, Outgoing
from ordersys.runtime.tracing.contexts import child, is_sampled, new_root, relative
from ordersys.runtime.tracing.spans import (
    Attributes,
    Kind,
    Link,
    Part,
    Span,
    is_on,
    now,
    record,
    record_shared,
    several,
)

_SYSTEM, _OPERATION, _TYPE = "messaging.system", "messaging.operation.name", "messaging.operation.type"
_DESTINATION, _MESSAGE_ID = "messaging.destination.name", "messaging.message.id"
_ROUTING_KEY, _COUNT = "messaging.rabbitmq.destination.routing_key", "messaging.batch.message_count"
_TAG = "messaging.rabbitmq.message.delivery_tag"
_REDELIVERED = "ordersys.redelivered"  # the conventions have no name for it
_ERRORS = {Fate.NACKED: "nacked", Fate.RETURNED: "returned", Fate.OPEN: "unconfirmed", Fate.IMPOSSIBLE: "impossible"}
_SENT = frozenset({Fate.CONFIRMED, *_ERRORS})
# The header as publishers of ours and most others lay it out: its name, a long string, 55 bytes (AMQP 0-9-1 §4.2.5).
# Looked for as bytes: to read all headers of each delivery would cost more than all the rest that is done with one.
_HEADER = b"\x0btraceparentS\0\0\0\x37"
_LENGTH, _NOT_SAMPLED = 55, frozenset(b"02468ace")
_processing: ContextVar[Mapping[object, str]] = ContextVar("processing", default=MappingProxyType({}))


class Tagged(Protocol):
    """A delivery with the tag it is settled by."""

    @property
    def tag(self) -> int: ...  # noqa: D102

    @property
    def delivery(self) -> AmqpDelivery: ...  # noqa: D102


class Settled(Protocol):
    """The disposition of a delivery."""

    @property
    def value(self) -> str: ...  # noqa: D102


def published(events: Sequence[Outgoing], outcomes: Sequence[PublishResult], seconds: float) -> None:
    """Records a window of events that was published in that time, where one of them is of a sampled trace."""
    if not is_on():
        return
    pairs = zip(events, outcomes, strict=True)
    members = [(each, result) for each, result in pairs if is_sampled(each.event.traceparent) and result.fate in _SENT]
    if not members:
        return
    ended = now()
    began = ended - int(seconds * 1e9)
    for each, result in members:
        if result == CONFIRMED:
            _record_creation(each, began)
    counts = {name: sum(outcome.fate is fate for outcome in outcomes) for fate, name in _ERRORS.items()}
    attributes = {
        **_about("publish", "send"),
        **several(_COUNT, len(events)),
        **{f"ordersys.{name}": count for name, count in counts.items() if count},
    }
    whole = Span("publish", Kind.CLIENT, new_root(), "", began, ended, attributes)
    record_shared(whole, [_part(each, result.fate) for each, result in members])


def _record_creation(outgoing: Outgoing, published_at: int) -> None:
    event = outgoing.event
    name = _destination(outgoing.to.exchange, outgoing.to.routing_key)
    attributes = {**_about("create", "create"), **_one(outgoing)}
    parent = relative(event.traceparent, event.event_id)
    record(
        Span(f"create {name}", Kind.PRODUCER, event.traceparent, parent, event.time * 1000, published_at, attributes)
    )


def _part(outgoing: Outgoing, fate: Fate) -> Part:
    created = outgoing.event.traceparent
    return Part(
        f"publish {_destination(outgoing.to.exchange, outgoing.to.routing_key)}",
        created,
        {**_about("publish", "send"), **_one(outgoing)},
        Kind.CLIENT,
        _ERRORS.get(fate, ""),
        Link(created, {_MESSAGE_ID: outgoing.event.event_id}),
    )


def _one(outgoing: Outgoing) -> Attributes:
    return {
        _DESTINATION: _destination(outgoing.to.exchange, outgoing.to.routing_key),
        _ROUTING_KEY: outgoing.to.routing_key,
        _MESSAGE_ID: outgoing.event.event_id,
    }


def _about(operation: str, kind: str) -> Attributes:
    return {_SYSTEM: "rabbitmq", _OPERATION: operation, _TYPE: kind}


def _destination(*parts: str) -> str:
    """The name of a destination: exchange, routing key and queue, as far as they are known."""
    return ":".join(filter(None, parts))


def processing(event_id: object) -> str:
    """The context of the span in which the running task processes an event; empty where it is not sampled."""
    return _processing.get().get(event_id, "")


class _Member(NamedTuple):
    """A sampled delivery: its place in the portion, its creation context, that of its own span."""

    place: int
    created: str
    context: str


class Processing:
    """The sampled deliveries of a portion, from `begin` on."""

    def __init__(self, queue: str, portion: Sequence[Tagged], members: Sequence[_Member]) -> None:
        self._queue = queue
        self._portion = portion
        self._members = members
        self._began = now()

    def recorded(self, dispositions: "Sequence[Settled] | None") -> None:
        """Records a span for each; `dispositions` are None where they could not be recorded, and come again."""
        ended = now()
        for place, created, context in self._members:
            tag, delivery = self._portion[place].tag, self._portion[place].delivery
            exchange, routing_key = _origin(delivery.exchange, delivery.type)
            name = _destination(exchange, routing_key, self._queue)
            disposition = dispositions[place].value if dispositions is not None else "return"
            attributes = {**_about("process", "process"), _DESTINATION: name, _TAG: tag}
            attributes |= {_ROUTING_KEY: routing_key} if routing_key else {}
            attributes |= {_MESSAGE_ID: delivery.message_id} if isinstance(delivery.message_id, str) else {}
            attributes |= {_REDELIVERED: True} if delivery.redelivered else {}
            error = "" if disposition == "ack" else disposition
            span = Span(f"process {name}", Kind.CONSUMER, context, created, self._began, ended, attributes)
            record(span._replace(links=(Link(created),), error=error))

    def settled(self) -> None:
        """Records that they were acknowledged or refused, all of the portion together."""
        attributes = {**_about("ack", "settle"), _DESTINATION: self._queue, **several(_COUNT, len(self._portion))}
        links = [Link(member.context) for member in self._members]
        time = now()
        record(Span(f"ack {self._queue}", Kind.CLIENT, new_root(), "", time, time, attributes, links))


def begin(queue: str, portion: Sequence[Tagged]) -> Processing | None:
    """Begins the spans of a portion's sampled deliveries, None where there are none."""
    if not is_on():
        return None
    members = list(_members(portion))
    _processing.set({portion[place].delivery.message_id: context for place, _, context in members})
    return Processing(queue, portion, members) if members else None


def _members(portion: Sequence[Tagged]) -> Iterator[_Member]:
    for place, tagged in enumerate(portion):
        if created := creation_context(tagged.delivery.properties):
            yield _Member(place, created, child(created))


def creation_context(properties: bytes) -> str:
    """The trace context in the properties of a message where that is sampled, else empty."""
    begin_ = properties.find(_HEADER) + len(_HEADER)
    text = properties[begin_ : begin_ + _LENGTH]
    if begin_ < len(_HEADER) or len(text) < _LENGTH or text[-1] in _NOT_SAMPLED:
        return ""
    context = traceparent(text.decode(errors="replace"))
    return context if is_sampled(context) else ""


@lru_cache(maxsize=100)
def _origin(exchange: str, event_type: object) -> tuple[str, str]:
    """The exchange that a delivery came through, and the routing key it has there by the contract, if any."""
    event = topology.events().get(event_type) if isinstance(event_type, str) else None
    declared = topology.publication(event) if event is not None else Publication("", "", "")
    return exchange, declared.routing_key if declared.exchange == exchange else ""
