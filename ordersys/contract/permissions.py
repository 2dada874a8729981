"""The permissions that each service needs in RabbitMQ, derived from what the contract has it publish and take.

A user has the name of its service. None may configure: in RabbitMQ that is also the right to delete. The declarer, a
user of its own, may declare the whole topology, and publishes nothing to a topic exchange. RabbitMQ: "Access Control".
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from ordersys.contract.access import service_name
from ordersys.contract.topology import (
    Binding,
    Publication,
    Subscription,
    Topology,
    events,
    publication,
    subscriptions,
    topology,
)

DECLARER = "topology"
"""The user that declares the topology. No service runs as this user."""
_DEFAULT_EXCHANGE = "amq.default"
"""The name under which RabbitMQ checks permissions on the exchange that AMQP names with an empty string."""
_NOTHING = "^$"
_TOPIC = "topic"
# Those of Erlang's `re`, and of Python's. In a topic permission RabbitMQ replaces {username}, {vhost} and {client_id}.
_SPECIAL = str.maketrans({character: f"\\{character}" for character in r"\.^$*+?{}[]|()"})


@dataclass(frozen=True)
class TopicPermissions:
    """The routing keys that a user may publish with to a topic exchange, and bind queues of its own to it by."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True)
class Permissions:
    """The permissions of a user in a virtual host, as regular expressions on the names of exchanges and queues."""

    user: str
    configure: str
    write: str
    read: str
    topics: tuple[TopicPermissions, ...]
    """One for each topic exchange: without any, a user may use each routing key of it."""


@cache
def contract_permissions() -> tuple[Permissions, ...]:
    """The permissions of every user of the contract: services in the order of their names, then the declarer."""
    return permissions(topology(), [publication(event) for event in events().values()], subscriptions())


def permissions(
    declared: Topology, publications: Iterable[Publication], subscribed: Iterable[Subscription]
) -> tuple[Permissions, ...]:
    """The permissions of each service that publishes or subscribes, in the order of their names, and of the declarer.

    A service that does both has both.
    """
    rights: dict[str, _Rights] = {}
    for published in publications:
        rights.setdefault(service_name(published.publisher), _Rights()).publish(declared, published)
    for subscription in subscribed:
        rights.setdefault(subscription.consumer, _Rights()).subscribe(declared, subscription)
    declarer = _Rights()
    declarer.declare(declared)
    users = [*sorted(rights.items()), (DECLARER, declarer)]
    return tuple(_expressed(user, right, declared) for user, right in users)


def pattern(names: Iterable[str]) -> str:
    """The regular expression that matches exactly these names. RabbitMQ's own are not anchored."""
    alternatives = sorted({name.translate(_SPECIAL) for name in names})
    return f"^({'|'.join(alternatives)})$" if alternatives else _NOTHING


@dataclass
class _Rights:
    """Names, before they are expressed as patterns: of exchanges and queues, and of routing keys by topic exchange."""

    configure: set[str] = field(default_factory=set)
    write: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    written_keys: dict[str, set[str]] = field(default_factory=dict)
    read_keys: dict[str, set[str]] = field(default_factory=dict)

    def publish(self, declared: Topology, published: Publication) -> None:
        """An event, and what the exchange feeds: its publisher binds that again when somebody has unbound it."""
        self.write.add(published.exchange)
        self.written_keys.setdefault(published.exchange, set()).add(published.routing_key)
        for binding in declared.bindings:
            if binding.to_exchange and binding.source == published.exchange:
                self._bind(binding)

    def subscribe(self, declared: Topology, subscription: Subscription) -> None:
        """A queue, its dead letters, and its bindings, which the subscriber makes again."""
        self.read.update((subscription.queue, subscription.dead_letter_queue))
        self.write.add(subscription.replay_exchange or _DEFAULT_EXCHANGE)
        for binding in declared.bindings:
            if not binding.to_exchange and binding.destination == subscription.queue:
                self._bind(binding)

    def declare(self, declared: Topology) -> None:
        """The whole topology. RabbitMQ wants to read what dead-letters, and to write where its dead letters go."""
        names = {exchange.name for exchange in declared.exchanges} | {queue.name for queue in declared.queues}
        to = [queue.arguments.get("x-dead-letter-exchange") for queue in declared.queues]
        self.configure |= names
        self.write |= names
        self.read |= names
        self.write |= {str(exchange) or _DEFAULT_EXCHANGE for exchange in to if exchange is not None}
        for binding in declared.bindings:
            self._bind(binding)

    def _bind(self, binding: Binding) -> None:
        self.write.add(binding.destination)
        self.read.add(binding.source)
        self.read_keys.setdefault(binding.source, set()).add(binding.routing_key)


def _expressed(user: str, rights: _Rights, declared: Topology) -> Permissions:
    topics = [exchange.name for exchange in declared.exchanges if exchange.type == _TOPIC]
    return Permissions(
        user, pattern(rights.configure), pattern(rights.write), pattern(rights.read), tuple(_topics(topics, rights))
    )


def _topics(exchanges: Iterable[str], rights: _Rights) -> Iterator[TopicPermissions]:
    for exchange in exchanges:
        yield TopicPermissions(exchange, _keys(rights.written_keys, exchange), _keys(rights.read_keys, exchange))


def _keys(keys: Mapping[str, set[str]], exchange: str) -> str:
    return pattern(keys.get(exchange, ()))
