"""The drawing of the system: services, exchanges, queues and the ways between them, derived from the contract. Pure.

Nothing of it is written by hand: a service that the contract adds, or a subscriber, is drawn without a change here.
Coordinates are columns, from the left, and rows, from the top, in units of a box with its distance; rows may be halves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract.access import access, service_name
from ordersys.contract.descriptors import Files
from ordersys.contract.topology import (
    event_exchanges,
    events,
    grpc_services,
    publication,
    subscriptions,
    topology,
)

CLIENT, SERVICE, EXCHANGE, QUEUE, DEAD_LETTERS, SUBSCRIBER = (
    "client",
    "service",
    "exchange",
    "queue",
    "dead-letters",
    "subscriber",
)
FEEDS, REJECTED = ("feeds",), ("rejected",)
_READS = ("Get", "List")
_ROWS = 2
"""Of each subscriber: its queue, and below that the one of its dead letters."""


class Node(NamedTuple):
    """A box: its kind, the name it has in the contract, and its place."""

    name: str
    kind: str
    column: int
    row: float


class Edge(NamedTuple):
    """A way from one box to another, and what goes there: RPCs, events, or `feeds`, `rejected`."""

    source: str
    target: str
    labels: tuple[str, ...]


class Graph(NamedTuple):
    """Boxes and ways."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph(of: Files | None = None) -> Graph:
    """The drawing of the whole contract: of this one, or of the files named."""
    edges = tuple(_merged([*_calls(of), *_publications(of), *_feeds(of), *_deliveries(of)]))
    rows = _rows_of_queues(of)
    columns = _columns(of, edges)
    for name in sorted(columns, key=lambda name: -columns[name]):  # from the right: each beside what it leads to
        if name not in rows:
            leads = [edge for edge in edges if edge.source == name and edge.target in rows and edge.labels != FEEDS]
            rows[name] = sum(rows[edge.target] for edge in leads) / len(leads) if leads else 0.0
    kinds = _kinds(of)
    nodes = (Node(name, kind, columns[name], round(rows[name], 2)) for name, kind in kinds.items())
    return Graph(tuple(nodes), edges)


def _kinds(of: Files | None) -> Mapping[str, str]:
    """The kind of each box, by name."""
    subscribed = subscriptions(of)
    return {
        CLIENT: CLIENT,
        **dict.fromkeys(_services(of), SERVICE),
        **{exchange.name: EXCHANGE for exchange in event_exchanges(of)},
        **{subscription.queue: QUEUE for subscription in subscribed},
        **{subscription.dead_letter_queue: DEAD_LETTERS for subscription in subscribed},
        **{subscription.consumer: SUBSCRIBER for subscription in subscribed},
    }


def _services(of: Files | None) -> Sequence[str]:
    """The services that publish events."""
    return list(dict.fromkeys(service_name(publication(event).publisher) for event in events(of).values()))


def _calls(of: Files | None) -> Iterator[Edge]:
    """The RPCs that change something: by customers, and by services that the contract names as callers."""
    publishers = _services(of)
    for service in grpc_services(of):
        name = service_name(service.full_name)
        if name not in publishers:
            continue
        for method in service.methods:
            allowed = access(method)
            if method.name.startswith(_READS):
                continue
            if Role.ROLE_CUSTOMER in allowed.roles:
                yield Edge(CLIENT, name, (method.name,))
            for caller in sorted(allowed.services):
                yield Edge(service_name(caller), name, (method.name,))


def _publications(of: Files | None) -> Iterator[Edge]:
    for event in events(of).values():
        published = publication(event)
        yield Edge(service_name(published.publisher), published.exchange, (event.name,))


def _feeds(of: Files | None) -> Iterator[Edge]:
    for binding in topology(of).bindings:
        if binding.to_exchange:
            yield Edge(binding.source, binding.destination, FEEDS)


def _deliveries(of: Files | None) -> Iterator[Edge]:
    for subscription in subscriptions(of):
        labels = tuple(event.rpartition(".")[2] for event in subscription.handlers)
        yield Edge(subscription.exchange, subscription.queue, labels)
        yield Edge(subscription.queue, subscription.consumer, labels)
        yield Edge(subscription.queue, subscription.dead_letter_queue, REJECTED)


def _merged(edges: Sequence[Edge]) -> Iterator[Edge]:
    """One way between two boxes, with all that goes there."""
    labels: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        labels.setdefault((edge.source, edge.target), []).extend(edge.labels)
    for (source, target), shared in labels.items():
        yield Edge(source, target, tuple(dict.fromkeys(shared)))


def _rows_of_queues(of: Files | None) -> dict[str, float]:
    rows: dict[str, float] = {}
    for number, subscription in enumerate(subscriptions(of)):
        rows[subscription.queue] = rows[subscription.consumer] = float(_ROWS * number)
        rows[subscription.dead_letter_queue] = float(_ROWS * number + 1)
    return rows


def _columns(of: Files | None, edges: Sequence[Edge]) -> dict[str, int]:
    """As far to the right as the longest way that leads there; queues and subscribers each in one column."""
    kinds = _kinds(of)
    columns = dict.fromkeys(kinds, 0)
    inner = [edge for edge in edges if kinds[edge.target] in (SERVICE, EXCHANGE)]
    for _ in kinds:  # the longest way has no more edges than there are boxes
        for edge in inner:
            columns[edge.target] = max(columns[edge.target], columns[edge.source] + 1)
    last = max(column for name, column in columns.items() if kinds[name] in (CLIENT, SERVICE, EXCHANGE))
    beyond = {QUEUE: last + 1, DEAD_LETTERS: last + 1, SUBSCRIBER: last + 2}
    return {name: beyond.get(kinds[name], column) for name, column in columns.items()}
