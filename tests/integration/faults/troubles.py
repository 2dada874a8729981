"""Faults of what lies between the processes, and beneath them: network, broker, disk, impatient clients, poison."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import pika
import psutil
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.topology import Subscription, subscriptions, topology
from ordersys.local.system import SERVICES
from tests.integration.faults.facts import Finding, Kind
from tests.integration.faults.fault import Act, Fault, Scene, stops
from tests.integration.faults.manner import Hurried
from tests.integration.faults.network import Away, Dribble, HalfOpen, RepliesLost, Slow, Weather

_LINKS = ("client", "hop", "amqp")
_WEATHERS: dict[str, Callable[[], Weather]] = {
    "away": Away,
    "half-open": HalfOpen,
    "replies lost": RepliesLost,
    "slow": lambda: Slow(0.02),
    "one byte at a time": Dribble,
}
_DATABASES = ("product", "order", "notification-service-1", "notification-service-2")
_LOCKED_SECONDS = 10.0
_POISONS = 20
_STORM = 300
_DECLARED_AGAIN_SECONDS = 7.0  # every 5 s, whoever is connected does
_DEAD_SECONDS = 15.0
_POLL = 0.1


def network_faults() -> Iterator[Fault]:
    """Each weather on each link, and connections that break."""
    for link in _LINKS:
        yield Fault(f"reset of {link}", _resets(link))
        for name, weather in _WEATHERS.items():
            yield Fault(f"{name} on {link}", _weather(link, weather))
    for service in SERVICES:
        yield Fault(f"stop {service} while the broker is silent", _stops_in_silence(service))


def broker_faults() -> Iterator[Fault]:
    """What somebody takes away from the broker while it works."""
    for taken in subscriptions():
        missing = frozenset({taken.consumer})
        yield Fault(f"queue of {taken.consumer} deleted", _deletes_queue(taken), misses=missing)
        yield Fault(f"bindings of {taken.consumer} deleted", _deletes_bindings(taken), misses=missing)
    everybody = frozenset([*(taken.consumer for taken in subscriptions()), *(e.name for e in topology().exchanges)])
    for exchange in topology().exchanges:
        yield Fault(f"exchange {exchange.name} deleted", _deletes_exchange(exchange.name), misses=everybody)
    yield Fault("poison", _poison)


def other_faults() -> Iterator[Fault]:
    """Clients in a hurry, databases somebody else holds, and disks that take nothing more."""
    yield Fault("clients in a hurry", lambda scene: (), Hurried())
    yield Fault("storm of connections", _storm)
    for name in _DATABASES:
        yield Fault(f"database {name} locked", _locks(name))
    for service in SERVICES:
        yield Fault(f"disk of {service} full", _fills_disk(service))


def _resets(link: str) -> Act:
    def act(scene: Scene) -> Sequence[Finding]:
        for _ in range(5):
            scene.stage.links[link].reset()
            time.sleep(scene.dice.uniform(0.0, 0.4))
        return ()

    return act


def _weather(link: str, weather: Callable[[], Weather]) -> Act:
    def act(scene: Scene) -> Sequence[Finding]:
        scene.stage.links[link].weather = weather()
        if isinstance(scene.stage.links[link].weather, Away):
            scene.stage.links[link].reset()
        scene.last(2.2, 8.0)
        scene.stage.links[link].clear()
        return ()

    return act


def _stops_in_silence(service: str) -> Act:
    """It ends in time although nobody answers its farewell."""

    def act(scene: Scene) -> Sequence[Finding]:
        scene.stage.links["amqp"].weather = HalfOpen()
        return stops(service)(scene)

    return act


def _at_the_broker(work: Callable[[BlockingChannel], object], seconds: float = 1.0) -> Act:
    def act(scene: Scene) -> Sequence[Finding]:
        connection = pika.BlockingConnection(pika.URLParameters(scene.stage.amqp_url))
        work(connection.channel())
        connection.close()
        scene.last(seconds, seconds + 2.0)
        return ()

    return act


def _deletes_queue(taken: Subscription) -> Act:
    return _at_the_broker(lambda channel: channel.queue_delete(taken.queue))


def _deletes_exchange(name: str) -> Act:
    return _at_the_broker(lambda channel: channel.exchange_delete(name))


def _deletes_bindings(taken: Subscription) -> Act:
    def work(channel: BlockingChannel) -> None:
        for binding in topology().bindings:
            if binding.destination == taken.queue:
                channel.queue_unbind(taken.queue, binding.source, binding.routing_key)

    return _at_the_broker(work, _DECLARED_AGAIN_SECONDS)


def _poison(scene: Scene) -> Sequence[Finding]:
    """Messages that are no events among healthy ones: they, and nothing else, end in the dead-letter queues."""
    connection = pika.BlockingConnection(pika.URLParameters(scene.stage.amqp_url))
    channel = connection.channel()
    for number in range(_POISONS):
        properties = pika.BasicProperties(message_id=f"poison-{number}", type="nonsense", delivery_mode=2)
        channel.basic_publish("orders.created", "order.created", scene.dice.randbytes(20), properties)
        time.sleep(scene.dice.uniform(0.0, 0.05))
    found = [_dead(channel, taken.dead_letter_queue) for taken in subscriptions()]
    connection.close()
    return [Finding(Kind.LOST, text) for text in found if text]


def _dead(channel: BlockingChannel, queue: str) -> str:
    """Takes the poison out of a dead-letter queue; what is wrong about it, nothing when it is all there."""
    ids: list[str] = []
    until = time.monotonic() + _DEAD_SECONDS
    while len(ids) < _POISONS and time.monotonic() < until:
        method, properties, _ = channel.basic_get(queue, auto_ack=True)
        if method is None or properties is None:
            time.sleep(_POLL)
        else:
            ids.append(str(properties.message_id))
    expected = [f"poison-{number}" for number in range(_POISONS)]
    return "" if sorted(ids) == sorted(expected) else f"{queue} has {ids}"


def _locks(name: str) -> Act:
    """Another process holds the write lock of a database for 10 s."""

    def act(scene: Scene) -> Sequence[Finding]:
        file = scene.stage.databases / f"{name}.db"
        with closing(sqlite3.connect(file, timeout=_LOCKED_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            time.sleep(_LOCKED_SECONDS)
            database.execute("ROLLBACK")
        return ()

    return act


def _storm(scene: Scene) -> Sequence[Finding]:
    """Many connect to the Product Service; half of them say what nobody understands, the others nothing."""
    host, _, port = scene.stage.service("product_service").address.rpartition(":")
    with ExitStack() as open_ones:
        for number in range(_STORM):
            one = open_ones.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                one.sendall(scene.dice.randbytes(100))
        scene.last(1.0, 5.0)
    return ()


def _fills_disk(service: str) -> Act:
    """No file of a service may grow any more: every write of its database fails, and its log's too."""

    def act(scene: Scene) -> Sequence[Finding]:
        process = psutil.Process(scene.stage.pid(service))
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (1, before[1]))
        scene.last(2.0, 10.0)
        process.rlimit(psutil.RLIMIT_FSIZE, before)
        return ()

    return act
