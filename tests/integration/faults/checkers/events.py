"""Events: one for every change, a change for every one, and each tells what was answered."""

from collections.abc import Iterator, Sequence

from ordersys.contract.events import Event
from ordersys.contract.times import microseconds
from tests.integration.faults.checkers.observations import CREATED, TOPIC, Finding, Kind, Observations, answered_orders
from tests.integration.faults.workload.history import KEPT, Outcome


def change_without_event(observations: Observations) -> Iterator[Finding]:
    """Each version is told of on the topic exchange, the first on the fanout exchange too, and each refusal."""
    announced = {
        exchange: {(e.order_id, e.version) for e in events} for exchange, events in observations.received.items()
    }
    for order in observations.orders:
        for version in range(1, order.version + 1):
            for exchange in (CREATED, TOPIC) if version == 1 else (TOPIC,):
                audible = microseconds(order.create_time) >= observations.missed_before.get(exchange, 0)
                if audible and (order.id, version) not in announced.get(exchange, set()):
                    yield Finding(Kind.LOST, f"version {version} of order {order.id} was not heard on {exchange}")
    announced_refusals = {event.message.customer_id for event in _rejections(observations)}
    for operation in observations.asked("PlaceOrder") if TOPIC not in observations.missed_before else ():
        refused = operation.outcome is Outcome.FAIL and operation.reason == KEPT
        if refused and operation.request.customer_id not in announced_refusals:
            yield Finding(Kind.LOST, f"the refusal of operation {operation.number} was not heard")


def event_without_change(observations: Observations) -> Iterator[Finding]:
    """A change that an event tells of is there; a refusal told of was one, and is told of once."""
    for exchange, events in observations.received.items():
        for event in _distinct(events):
            there = observations.by_id.get(event.order_id)
            if event.version and (there is None or there.version < event.version):
                yield Finding(Kind.DUPLICATED, f"{event.event_id} on {exchange} tells of a change that is not there")
    owners = {operation.request.customer_id: operation for operation in observations.asked("PlaceOrder")}
    announced: set[str] = set()
    for event in _rejections(observations):
        owner = owners.get(event.message.customer_id)
        possible = owner and (owner.outcome is Outcome.UNKNOWN or owner.reason == KEPT)
        if not possible or event.message.customer_id in announced:
            yield Finding(Kind.DUPLICATED, f"{event.event_id} tells of a refusal that was none, or once more")
        announced.add(event.message.customer_id)


def told_otherwise(observations: Observations) -> Iterator[Finding]:
    """The order in an event is, to the byte, the order that was answered and, at the end, the one there is."""
    announced = {(e.order_id, e.version): e.message.order for e in observations.received.get(TOPIC, ()) if e.version}
    answered = [order for operation in observations.operations for order in answered_orders(operation)]
    for order in (*answered, *observations.orders):
        if announced.get((order.id, order.version), order) != order:
            yield Finding(Kind.LOST, f"version {order.version} of order {order.id} is told of otherwise")


def forged(observations: Observations) -> Iterator[Finding]:
    """An event that comes again comes as it was, and one on the fanout exchange is the one on the topic exchange."""
    bodies: dict[str, bytes] = {}
    for events in observations.received.values():
        for event in events:
            if bodies.setdefault(event.event_id, event.body) != event.body:
                yield Finding(Kind.DUPLICATED, f"two events are called {event.event_id}")


def told_in_disorder(observations: Observations) -> Iterator[Finding]:
    """The versions of an order come for the first time in their order, whichever process publishes them.

    What comes again comes whenever it likes, and a queue of a cluster that refuses an event may have it after the next.
    """
    for exchange, events in observations.received.items():
        if observations.may_overtake or exchange in observations.missed_before:
            continue
        newest: dict[str, int] = {}
        for event in _distinct(events):
            if event.version < (last := newest.get(event.order_id, 0)):
                yield Finding(Kind.LOST, f"{event.event_id} first came from {exchange} after version {last}")
            newest[event.order_id] = max(event.version, last)


def told_back_in_time(observations: Observations) -> Iterator[Finding]:
    """No version of an order is from before the one before it, whatever the clock of the process that made it."""
    times = {
        (event.order_id, event.version): microseconds(event.message.order.update_time)
        for event in observations.received.get(TOPIC, ())
        if event.version
    }
    for (order_id, version), moment in times.items():
        if moment < times.get((order_id, version - 1), 0):
            yield Finding(Kind.LOST, f"version {version} of order {order_id} is from before version {version - 1}")


def repeated(observations: Observations) -> int:
    """The events that came again, which is allowed: at least once."""
    return sum(len(events) - len(_distinct(events)) for events in observations.received.values())


def _rejections(observations: Observations) -> Iterator[Event]:
    return (e for e in _distinct(observations.received.get(TOPIC, ())) if e.type.endswith("OrderRejected"))


def _distinct(events: Sequence[Event]) -> list[Event]:
    """Each once, in the order in which they came first."""
    return list({event.event_id: event for event in events}.values())
