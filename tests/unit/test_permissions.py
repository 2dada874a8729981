"""The permissions of each service: all that the contract has it do, and nothing of another's."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.contract.access import service_name
from ordersys.contract.permissions import (
    DECLARER,
    Permissions,
    TopicPermissions,
    contract_permissions,
    pattern,
    permissions,
)
from ordersys.contract.topology import (
    Binding,
    Exchange,
    Publication,
    Queue,
    Subscription,
    Topology,
    events,
    publication,
    subscribers,
    subscription,
    subscriptions,
    topology,
)

NAMES = st.text(st.sampled_from("ab.-_1{}()[]|\\^$*+?#/' é"), min_size=1, max_size=8)
OWN = {p.user: p for p in contract_permissions()}


def named(declared: Topology) -> list[str]:
    """The names of all exchanges and queues."""
    return [exchange.name for exchange in declared.exchanges] + [queue.name for queue in declared.queues]


RESOURCES = named(topology())
KEYS = sorted({publication(event).routing_key for event in events().values()} | {"#", "*", "order.*", "other"})


class Need(NamedTuple):
    """A permission that a method needs: on a resource, or on a routing key of a topic exchange."""

    kind: str
    name: str
    routing_key: str | None = None


def bound(binding: Binding, types: dict[str, str]) -> Iterator[Need]:
    """The needs of whoever binds (RabbitMQ: Access Control)."""
    yield Need("write", binding.destination)
    yield Need("read", binding.source)
    if types[binding.source] == "topic":
        yield Need("read", binding.source, binding.routing_key)


def needs(user: str, declared: Topology, published: list[Publication], subscribed: list[Subscription]) -> set[Need]:
    """The needs of a user, method by method."""
    types = {exchange.name: exchange.type for exchange in declared.exchanges}
    needed: set[Need] = set()
    for event in (p for p in published if service_name(p.publisher) == user):
        needed.add(Need("write", event.exchange))
        if types[event.exchange] == "topic":
            needed.add(Need("write", event.exchange, event.routing_key))
        for binding in declared.bindings:
            if binding.to_exchange and binding.source == event.exchange:
                needed.update(bound(binding, types))
    for own in (s for s in subscribed if s.consumer == user):
        needed |= {Need("read", own.queue), Need("read", own.dead_letter_queue)}
        needed.add(Need("write", own.replay_exchange or "amq.default"))
        for binding in declared.bindings:
            if not binding.to_exchange and binding.destination == own.queue:
                needed.update(bound(binding, types))
    return needed


def allowed(granted: Permissions, resources: list[str], keys: list[str]) -> set[Need]:
    """All that RabbitMQ lets a user do, among these resources and routing keys."""
    by_name = {
        Need(kind, name)
        for kind, expression in (("configure", granted.configure), ("write", granted.write), ("read", granted.read))
        for name in (*resources, "amq.default")
        if re.search(expression, name)
    }
    by_key = {
        Need(kind, topic.exchange, key)
        for topic in granted.topics
        for kind, expression in (("write", topic.write), ("read", topic.read))
        for key in keys
        if re.search(expression, key)
    }
    return by_name | by_key


@pytest.mark.parametrize("user", sorted(OWN.keys() - {DECLARER}))
def test_a_service_may_do_what_it_needs_and_nothing_else(user: str) -> None:
    """Among all that the contract names."""
    published = [publication(event) for event in events().values()]
    needed = needs(user, topology(), published, list(subscriptions()))
    assert allowed(OWN[user], RESOURCES, KEYS) == needed


def test_no_service_may_declare_or_delete_anything() -> None:
    """To configure is to delete; that is for the declarer, who is no service."""
    assert {p.user for p in contract_permissions() if p.configure != "^$"} == {DECLARER}


def test_the_declarer_may_declare_everything_and_publish_no_event_to_a_topic_exchange() -> None:
    """Bindings included, whose routing keys it may read."""
    granted = allowed(OWN[DECLARER], RESOURCES, KEYS)
    assert {Need("configure", name) for name in RESOURCES} <= granted
    types = {exchange.name: exchange.type for exchange in topology().exchanges}
    assert {need for binding in topology().bindings for need in bound(binding, types)} <= granted
    assert {topic.write for topic in OWN[DECLARER].topics} == {"^$"}


def test_each_user_has_a_record_for_each_topic_exchange() -> None:
    """Without a record RabbitMQ allows all routing keys."""
    topics = [exchange.name for exchange in topology().exchanges if exchange.type == "topic"]
    for granted in contract_permissions():
        assert [topic.exchange for topic in granted.topics] == topics


def test_a_user_has_the_name_of_its_service() -> None:
    """The same one that certificates and logs have; a subscriber is known to the contract by that name, too."""
    publishers = {service_name(publication(event).publisher) for event in events().values()}
    assert OWN.keys() == {DECLARER, *publishers, *(s.consumer for s in subscriptions())}
    assert [service_name(s.full_name) for s in subscribers()] == [subscription(s).consumer for s in subscribers()]


FIRST, SECOND = "notification-service-1", "notification-service-2"
Q1, Q2 = r"notification-service-1\.v1", r"notification-service-2\.v1"
DLQ1, DLQ2 = r"notification-service-1\.dead-letters\.v1", r"notification-service-2\.dead-letters\.v1"
R1, R2 = r"notification-service-1\.replay\.v1", r"notification-service-2\.replay\.v1"
ALL = rf"{DLQ1}|{R1}|{Q1}|{DLQ2}|{R2}|{Q2}|orders\.created|orders\.events"
TAKEN = r"^(order\.created|order\.rejected|order\.updated)$"
EXPECTED = {
    FIRST: ("^$", rf"^({R1}|{Q1})$", rf"^({DLQ1}|{R1}|{Q1}|orders\.created)$", "^$", "^$"),
    SECOND: ("^$", rf"^({R2}|{Q2})$", rf"^({DLQ2}|{R2}|{Q2}|orders\.events)$", "^$", TAKEN),
    "order-service": ("^$", r"^(orders\.created|orders\.events)$", r"^(orders\.created)$", r"^(order\.updated)$", "^$"),
    "product-service": ("^$", r"^(orders\.events)$", "^$", r"^(order\.rejected)$", "^$"),
    DECLARER: (f"^({ALL})$", rf"^(amq\.default|{ALL})$", f"^({ALL})$", "^$", TAKEN),
}


def test_the_permissions_are_those_of_the_design() -> None:
    """Configure, write, read; then write and read of routing keys at orders.events."""
    assert {
        user: (p.configure, p.write, p.read, *((topic.write, topic.read) for topic in p.topics))
        for user, p in OWN.items()
    } == {user: (*expected[:3], expected[3:]) for user, expected in EXPECTED.items()}


@given(st.lists(NAMES, max_size=5), NAMES)
def test_a_pattern_matches_exactly_the_names_it_was_made_of(names: list[str], other: str) -> None:
    """Also where they have characters of regular expressions; of no names it matches none."""
    expression = pattern(names)
    assert [name for name in names if not re.search(expression, name)] == []
    near = [wrong for name in names for wrong in (f"{name[:-1]}x{name[-1:]}", f"{name}x", name[1:])]
    strangers = {name for name in [other, *near] if name} - set(names)
    assert [name for name in strangers if re.search(expression, name)] == []


@st.composite
def invented(draw: st.DrawFn) -> tuple[Topology, list[Publication], list[Subscription]]:
    """A topology that somebody else might state, with the events and subscriptions in it."""
    names = draw(st.lists(NAMES, min_size=6, max_size=10, unique=True))
    count = draw(st.integers(1, len(names) - 4))
    exchanges = tuple(Exchange(name, draw(st.sampled_from(["fanout", "topic", "direct"]))) for name in names[:count])
    queues = names[count : len(names) - len(names[count:]) % 2]
    known = st.sampled_from(names[:count])
    replays = st.one_of(st.just(""), known)
    pairs = list(pairwise(queues))[::2]
    subscribed = [
        Subscription(f"service-{n}", draw(known), queue, dead, draw(replays), {})
        for n, (queue, dead) in enumerate(pairs)
    ]
    publishers = st.sampled_from(["x.Service-0", "x.Other", "x.Third"])
    published = draw(st.lists(st.builds(Publication, known, NAMES, publishers), max_size=4))
    bindings = [
        *(Binding(a, b, True, draw(NAMES)) for a, b in pairwise(names[:count]) if draw(st.booleans())),
        *(Binding(s.exchange, s.queue, False, draw(NAMES)) for s in subscribed),
    ]
    return Topology(exchanges, tuple(Queue(q, {}) for q in queues), tuple(bindings)), published, subscribed


@given(invented())
def test_in_any_topology_a_service_may_do_what_it_needs_and_nothing_else(
    stated: tuple[Topology, list[Publication], list[Subscription]],
) -> None:
    """Also where names have regular expressions in them, and where a service publishes and subscribes."""
    declared, published, subscribed = stated
    keys = sorted({p.routing_key for p in published} | {b.routing_key for b in declared.bindings} | {"a.b", "#"})
    services = {service_name(p.publisher) for p in published} | {s.consumer for s in subscribed}
    granted = permissions(declared, published, subscribed)
    assert [p.user for p in granted] == [*sorted(services), DECLARER]
    for own in granted[:-1]:
        assert allowed(own, named(declared), keys) == needs(own.user, declared, published, subscribed)


def test_names_with_characters_of_regular_expressions_are_escaped() -> None:
    """A dot is a dot."""
    assert pattern(["a.b"]) == r"^(a\.b)$"
    assert not re.search(pattern(["a.b"]), "axb")
    assert pattern([]) == "^$"
    assert TopicPermissions("e", pattern(["{username}"]), "^$").write == r"^(\{username\})$"
