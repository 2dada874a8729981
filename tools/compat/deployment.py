"""Compatible changes that break nobody only where they are deployed in order: events without a taker, or taken anew."""

from collections.abc import Iterator

from ordersys.contract.descriptors import Files
from ordersys.contract.topology import events, subscriptions


def notes(released: Files, current: Files) -> Iterator[str]:
    """A sentence for each such change that says what has to be done."""
    before = {subscription.consumer: subscription.handlers.keys() for subscription in subscriptions(released)}
    now = {subscription.consumer: subscription.handlers.keys() for subscription in subscriptions(current)}
    known = {event for handlers in now.values() for event in handlers}
    for name in sorted(events(current).keys() - events(released).keys() - known):
        yield f"Nobody takes {name}: the broker returns it to its publisher for ever; let a subscription take it."
    for consumer in sorted(before.keys() & now.keys()):
        for name in sorted(now[consumer] - before[consumer]):
            yield (
                f"Deploy {consumer} before every publisher: an older one dead-letters {name} as soon as a publisher"
                " has declared the new binding."
            )
