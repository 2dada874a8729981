"""Faults of what lies between the processes, and beneath them: network, broker, impatient clients, locks."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import pika
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.topology import Subscription, event_exchanges, subscriptions, topology
from ordersys.local.system import SERVICES
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.network import Away, Condition, Dribble, HalfOpen, RepliesLost, Slow
from tests.integration.faults.faults.fault import Act, Fault, FaultContext, stops
from tests.integration.faults.workload.client_behaviour import Hurried

_LINKS = ("client", "internal", "amqp")
_WEATHERS: dict[str, Callable[[], Condition]] = {
    "away": Away,
    "half-open": HalfOpen,
    "replies lost": RepliesLost,
    "slow": lambda: Slow(0.02),
    "one byte at a time": Dribble,
}
_DATABASES = ("product", "order", "notification-service-1", "notification-service-2")
_LOCKED_SECONDS = 10.0
_STORM = 300
_HURRIED, _HURRIED_QUICKLY, _HURRIED_SECONDS = 3000, 300, 120.0
_DECLARED_AGAIN_SECONDS = 7.0  # every 5 s, whoever is connected does
_POLL = 0.1


def network_faults() -> Iterator[Fault]:
    """Each condition on each link, and connections that break."""
    for link in _LINKS:
        yield Fault(f"reset of {link}", _resets(link))
        for name, condition in _WEATHERS.items():
            yield Fault(f"{name} on {link}", _weather(link, condition))
    yield Fault("replies lost on internal calls for longer than request_ids are remembered", _outlasts_retention)
    for service in SERVICES:
        yield Fault(f"stop {service} while the broker is silent", _stops_in_silence(service))


def broker_faults() -> Iterator[Fault]:
    """Queues, bindings and exchanges deleted while the broker works."""
    for subscription in subscriptions():
        missing = frozenset({subscription.consumer})
        yield Fault(f"queue of {subscription.consumer} deleted", _deletes_queue(subscription), misses=missing)
        yield Fault(f"bindings of {subscription.consumer} deleted", _deletes_bindings(subscription), misses=missing)
    everybody = frozenset(
        [*(subscription.consumer for subscription in subscriptions()), *(e.name for e in event_exchanges())]
    )
    for exchange in event_exchanges():
        yield Fault(f"exchange {exchange.name} deleted", _deletes_exchange(exchange.name), misses=everybody)


def other_faults() -> Iterator[Fault]:
    """Clients in a hurry, and databases somebody else holds."""
    hurried = Hurried()
    yield Fault("clients in a hurry", _hurries(hurried), hurried)
    yield Fault("storm of connections", _storm)
    for name in _DATABASES:
        yield Fault(f"database {name} locked", _locks(name), files_only="PostgreSQL has no lock for a whole database")


def _resets(link: str) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        for _ in range(5):
            context.environment.reset(link)
            time.sleep(context.dice.uniform(0.0, 0.4))
        return ()

    return act


def _weather(link: str, condition: Callable[[], Condition]) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        with context.environment.weather(condition, link):
            context.last(2.2, 8.0)
        return ()

    return act


def _outlasts_retention(context: FaultContext) -> Sequence[Finding]:
    """The Product Service's calls took effect, unanswered; when it asks again, the Order Service remembers nothing.

    Instead of two days of outage its request_ids are deleted: those of the Product Service, which are UUIDs of
    version 7. Those of clients, of version 4, are promised to be remembered, and stay.
    """
    environment, names = context.environment, context.environment.setup.of("order_service")
    with environment.weather(RepliesLost, "internal"):
        context.last(2.2, 8.0)
        for name in names:
            environment.kill(name)
        environment.state.change("order_service", "DELETE FROM requests WHERE substr(request_id, 15, 1) = '7'")
        for name in names:
            environment.start(name)
    return ()


def _stops_in_silence(service: str) -> Act:
    """It ends in time although nobody answers its farewell."""

    def act(context: FaultContext) -> Sequence[Finding]:
        context.environment.links["amqp"].condition = HalfOpen()
        return stops(service, 1)(context)

    return act


def _at_the_broker(work: Callable[[BlockingChannel], object], seconds: float = 1.0) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        connection = pika.BlockingConnection(context.environment.amqp)
        work(connection.channel())
        connection.close()
        context.last(seconds, seconds + 2.0)
        return ()

    return act


def _deletes_queue(subscription: Subscription) -> Act:
    return _at_the_broker(lambda channel: channel.queue_delete(subscription.queue))


def _deletes_exchange(name: str) -> Act:
    return _at_the_broker(lambda channel: channel.exchange_delete(name))


def _deletes_bindings(subscription: Subscription) -> Act:
    def work(channel: BlockingChannel) -> None:
        for binding in topology().bindings:
            if binding.destination == subscription.queue:
                channel.queue_unbind(subscription.queue, binding.source, binding.routing_key)

    return _at_the_broker(work, _DECLARED_AGAIN_SECONDS)


def _locks(name: str) -> Act:
    """Another process holds the write lock of a database for 10 s."""

    def act(context: FaultContext) -> Sequence[Finding]:
        file = context.environment.databases / f"{name}.db"
        with closing(sqlite3.connect(file, timeout=_LOCKED_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            time.sleep(_LOCKED_SECONDS)
            database.execute("ROLLBACK")
        return ()

    return act


def _hurries(behaviour: Hurried) -> Act:
    """So many calls that each deadline, and each moment to cancel, had its turn several times."""

    def act(context: FaultContext) -> Sequence[Finding]:
        enough = behaviour.calls + (_HURRIED_QUICKLY if context.quick else _HURRIED)
        until = time.monotonic() + _HURRIED_SECONDS
        while behaviour.calls < enough:
            if time.monotonic() > until:
                return [Finding(Kind.UNRECOVERED, f"{enough - behaviour.calls} calls in a hurry were not even made")]
            time.sleep(_POLL)
        return ()

    return act


def _storm(context: FaultContext) -> Sequence[Finding]:
    """Many connect to the Product Service; half of them say what nobody understands, the others nothing."""
    host, _, port = context.environment.service("product_service").address.rpartition(":")
    with ExitStack() as open_ones:
        for number in range(_STORM):
            connection = open_ones.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                connection.sendall(context.dice.randbytes(100))
        context.last(1.0, 5.0)
    return ()
