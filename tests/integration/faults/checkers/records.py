"""Records: each consumer has recorded what its exchange brought, once, and says what came late."""

from collections import Counter
from collections.abc import Iterator

from ordersys.contract.events import Event
from ordersys.contract.times import microseconds
from ordersys.contract.topology import subscriptions
from tests.integration.faults.checkers.observations import Finding, Kind, Observations

EXCHANGES = {subscription.consumer: subscription.exchange for subscription in subscriptions()}


def recorded_as_told(observations: Observations) -> Iterator[Finding]:
    """Everything heard is recorded by whoever takes it, and nothing else is."""
    for consumer, exchange in EXCHANGES.items():
        received = {event.event_id: event for event in observations.received.get(exchange, ())}
        recorded = {record.event_id: record for record in observations.recorded.get(consumer, ())}
        for event_id in received.keys() - recorded.keys():
            if happened(received[event_id]) >= observations.missed_before.get(consumer, 0):
                yield Finding(Kind.LOST, f"{event_id} is not recorded by {consumer}")
        for event_id in recorded.keys() - received.keys() if exchange not in observations.missed_before else ():
            yield Finding(Kind.DUPLICATED, f"{consumer} has recorded {event_id}, which was not heard on {exchange}")
        for event_id in received.keys() & recorded.keys():
            if recorded[event_id].event.value != received[event_id].body:
                yield Finding(Kind.LOST, f"{consumer} has recorded {event_id} otherwise than it was told")


def recorded_once(observations: Observations) -> Iterator[Finding]:
    """The recorded row is the effect: one for each event."""
    for consumer, recorded in observations.recorded.items():
        for event_id, times in Counter(record.event_id for record in recorded).items():
            for _ in range(times - 1):
                yield Finding(Kind.DUPLICATED, f"{consumer} has recorded {event_id} twice")


def late_and_not_said(observations: Observations) -> Iterator[Finding]:
    """An event recorded after a newer version of its order is marked as late, and nothing else is."""
    for consumer, recorded in observations.recorded.items():
        newest: dict[str, int] = {}
        for record in sorted(recorded, key=lambda record: record.sequence):
            if record.late != (record.version < newest.get(record.order_id, 0)):
                yield Finding(Kind.LOST, f"{consumer} says of {record.event_id}: late is {record.late}")
            newest[record.order_id] = max(record.version, newest.get(record.order_id, 0))


def happened(event: Event) -> int:
    """The time of the change an event tells of, in microseconds since 1970."""
    message = event.message
    return microseconds(message.order.update_time if event.version else message.reject_time)
