"""Breaking changes of the topology: for brokers that have the old one declared, for subscribers, for any listener."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ordersys.contract.descriptors import Files
from ordersys.contract.topology import Subscription, events, publication, subscriptions, topology
from tools.compat.changes import changes

_PUBLICATION = {
    "exchange": "Whoever listens to exchange {before} misses {name}, which is published to {now}.",
    "routing_key": "Whoever has bound routing key {before} misses {name}, which carries {now}.",
    "publisher": "Whoever takes the events of {before} misses {name}, which is published by {now}.",
}
_SUBSCRIPTION = {
    "exchange": "Existing brokers keep the binding to {before}: there {name} gets its events, besides those of {now}.",
    "queue": "Messages left in queue {before} have no consumer any more: {name} consumes {now}.",
    "dead_letter_queue": "Whoever watches dead-letter queue {before} misses those of {name}, which go to {now}.",
}


def findings(released: Files, current: Files) -> Iterator[str]:
    """A sentence for each exchange, queue, event and subscription that is not what it was."""
    yield from _declared(_arguments(released), _arguments(current))
    yield from _feeds(released, current)
    yield from _events(released, current)
    yield from _subscriptions(_by_consumer(released), _by_consumer(current))


def _declared(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, arguments in old.items():
        if name not in new:
            yield f"{name[0].upper()}{name[1:]} is no longer declared: existing brokers keep it, new ones lack it."
        for argument, before, now in changes(arguments, new.get(name, arguments)):
            yield f"A broker that has {name} declared answers 406 to every service ({argument}: {before} → {now})."


def _feeds(released: Files, current: Files) -> Iterator[str]:
    before, now = _fed(released), _fed(current)
    known = {exchange.name for exchange in topology(released).exchanges}
    for source, fed in sorted(before - now):
        yield f"Whoever listens to exchange {fed} misses what is published to {source}, which feeds it no longer."
    for source, fed in sorted(now - before):
        if fed in known:
            yield f"Whoever listens to exchange {fed} gets what is published to {source} too, which feeds it now."


def _events(released: Files, current: Files) -> Iterator[str]:
    there = events(current)
    for name, event in events(released).items():
        if name not in there:
            yield f"Subscribers of {name} get none any more: it is no event now."
            continue
        for fact, before, now in changes(asdict(publication(event)), asdict(publication(there[name]))):
            yield _PUBLICATION[fact].format(name=name, before=before, now=now)


def _subscriptions(old: Mapping[str, Subscription], new: Mapping[str, Subscription]) -> Iterator[str]:
    for consumer, before in old.items():
        if consumer not in new:
            yield f"Subscriber {consumer} gets no events any more: it has no subscription."
            continue
        now = new[consumer]
        for event in sorted(before.handlers.keys() - now.handlers.keys()):
            yield f"Subscriber {consumer} dead-letters {event}, which it takes no longer."
        for fact, was, becomes in changes(asdict(before), asdict(now)):
            if fact in _SUBSCRIPTION:
                yield _SUBSCRIPTION[fact].format(name=consumer, before=was, now=becomes)


def _arguments(of: Files) -> dict[str, Mapping[str, Any]]:
    """The arguments of each exchange and queue, by its name as it stands in a sentence."""
    declared = topology(of)
    exchanges: dict[str, Mapping[str, Any]] = {f"exchange {e.name}": {"type": e.type} for e in declared.exchanges}
    return exchanges | {f"queue {queue.name}": queue.arguments for queue in declared.queues}


def _fed(of: Files) -> set[tuple[str, str]]:
    return {(b.source, b.destination) for b in topology(of).bindings if b.to_exchange}


def _by_consumer(of: Files) -> dict[str, Subscription]:
    return {subscription.consumer: subscription for subscription in subscriptions(of)}
