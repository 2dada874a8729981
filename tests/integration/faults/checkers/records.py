"""Records: each consumer has recorded what its exchange brought, once, and says what came late."""

from collections import Counter
from collections.abc import Iterator

from ordersys.contract.events import Event
from ordersys.contract.times import microseconds
from ordersys.contract.topology import subscriptions
from tests.integration.faults.checkers.observations import Facts, Finding, Kind

EXCHANGES = {taken.consumer: taken.exchange for taken in subscriptions()}


def recorded_as_told(facts: Facts) -> Iterator[Finding]:
    """Everything heard is recorded by whoever takes it, and nothing else is."""
    for consumer, exchange in EXCHANGES.items():
        heard = {event.event_id: event for event in facts.heard.get(exchange, ())}
        recorded = {one.event_id: one for one in facts.recorded.get(consumer, ())}
        for event_id in heard.keys() - recorded.keys():
            if happened(heard[event_id]) >= facts.missed_before.get(consumer, 0):
                yield Finding(Kind.LOST, f"{event_id} is not recorded by {consumer}")
        for event_id in recorded.keys() - heard.keys() if exchange not in facts.missed_before else ():
            yield Finding(Kind.DUPLICATED, f"{consumer} has recorded {event_id}, which was not heard on {exchange}")
        for event_id in heard.keys() & recorded.keys():
            if recorded[event_id].event.value != heard[event_id].body:
                yield Finding(Kind.LOST, f"{consumer} has recorded {event_id} otherwise than it was told")


def recorded_once(facts: Facts) -> Iterator[Finding]:
    """The recorded row is the effect: one for each event."""
    for consumer, recorded in facts.recorded.items():
        for event_id, times in Counter(one.event_id for one in recorded).items():
            for _ in range(times - 1):
                yield Finding(Kind.DUPLICATED, f"{consumer} has recorded {event_id} twice")


def late_and_not_said(facts: Facts) -> Iterator[Finding]:
    """What is recorded after a newer version of its order is marked as late, and nothing else is."""
    for consumer, recorded in facts.recorded.items():
        newest: dict[str, int] = {}
        for one in sorted(recorded, key=lambda one: one.sequence):
            if one.late != (one.version < newest.get(one.order_id, 0)):
                yield Finding(Kind.LOST, f"{consumer} says of {one.event_id}: late is {one.late}")
            newest[one.order_id] = max(one.version, newest.get(one.order_id, 0))


def happened(event: Event) -> int:
    """When what an event tells of happened, in microseconds since 1970."""
    message = event.message
    return microseconds(message.order.update_time if event.version else message.reject_time)
