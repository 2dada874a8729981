"""A broker that is there and refuses: somebody has to know, and nobody else has to suffer."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.topology import subscriptions
from ordersys.local import ports
from ordersys.runtime.rabbitmq.reconnecting import opened
from ordersys.runtime.rabbitmq.urls import parse
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.integration.place import ALL, NONE, NOT_SERVING, SECONDS, SERVING, Place, running, soon

pytestmark = pytest.mark.timeout(240)
QUEUES = {subscription.consumer: subscription.queue for subscription in subscriptions()}
FIRST, SECOND = QUEUES["notification-service-1"], QUEUES["notification-service-2"]
(DEAD,) = (subscription.dead_letter_queue for subscription in subscriptions() if subscription.queue == FIRST)
FANOUT = "orders.created"


class Missing(NamedTuple):
    """A permission that was not granted: which of configure, write and read is missed, by whom, and on what."""

    module: str
    granted: tuple[str, str, str]
    permission: str
    resource: str
    declared: bool
    """True when somebody else has declared everything before."""

    @property
    def connections(self) -> int:
        """The number of connections that say so, each for itself: a subscriber has one for its dead letters, too."""
        return 2 if self.module.startswith("notification") else 1


MISSING = [
    Missing("order_service", (NONE, ALL, ALL), "configure", "orders.", False),
    Missing("order_service", (ALL, NONE, ALL), "write", FANOUT, True),
    Missing("product_service", (NONE, NONE, NONE), "configure", "orders.", False),
    Missing("notification_service_1", (ALL, ALL, NONE), "read", QUEUES["notification-service-1"], True),
    Missing("notification_service_1", (NONE, ALL, ALL), "configure", "orders.", False),
]


@pytest.mark.parametrize("missing", MISSING, ids=lambda missing: f"{missing.permission} of {missing.module}")
def test_a_missing_permission_is_told_once_by_name_and_not_serving(
    missing: Missing, place: Place, tmp_path: Path
) -> None:
    """Until somebody grants it: then everything that waited is published, without a hand."""
    if missing.declared:
        place.declare()
    place.grant(*missing.granted)
    publishes = missing.module == "order_service"
    with running(missing.module, tmp_path / "service", place.url) as service:
        if publishes:
            service.create()
        soon(lambda: len(service.said("error")) == missing.connections)
        said = service.said("error")
        assert all(missing.permission in line for line in said)
        assert any(missing.resource in line for line in said)
        before = place.refusals
        soon(lambda: place.refusals >= before + 3)  # it keeps trying
        assert service.said("error") == said
        assert "secret" not in service.log.read_text()
        soon(lambda: service.health() == NOT_SERVING)
        place.grant(ALL, ALL, ALL)
        soon(lambda: service.health() == SERVING)
        if publishes:
            soon(lambda: service.waiting() == 0)
            assert [place.count(queue) for queue in QUEUES.values()] == [1, 1]


def test_whoever_may_not_declare_uses_what_is_declared(place: Place, tmp_path: Path) -> None:
    """The least a publisher and a subscriber need: write on the exchanges, read on the queue."""
    place.declare()
    place.grant(NONE, "^orders", "^notification-service-1")
    with (
        running("order_service", tmp_path / "orders", place.url) as orders,
        running("notification_service_1", tmp_path / "notifications", place.url) as notifications,
    ):
        soon(lambda: notifications.health() == SERVING)
        orders.create()
        soon(lambda: orders.waiting() == 0)
        assert orders.health() == SERVING
        soon(lambda: place.count(QUEUES["notification-service-1"]) == 0)
        assert place.count(QUEUES["notification-service-2"]) == 1
        assert orders.said("error") == notifications.said("error") == []


def test_a_queue_that_is_declared_otherwise_is_told_of_and_not_published_to(place: Place, tmp_path: Path) -> None:
    """It may lose what the contract says is kept: events wait until somebody has put it right."""
    queue = QUEUES["notification-service-1"]
    with place.channel() as channel:
        channel.queue_declare(queue, durable=True)
    place.grant(ALL, ALL, ALL)
    with running("order_service", tmp_path / "service", place.url) as service:
        service.create()
        (said,) = soon(lambda: service.said("error"))
        assert queue in said and "not as the contract states it" in said
        soon(lambda: service.health() == NOT_SERVING)
        assert service.waiting() == 1
        with place.channel() as channel:
            channel.queue_delete(queue)
        soon(lambda: service.health() == SERVING and service.waiting() == 0)
        assert place.count(queue) == 1


class StatusError(NamedTuple):
    """A way the topology comes to be refused for good while it is in use, and the way that is mended."""

    queue: str
    configure: str
    begin: Callable[[Place, str], None]
    end: Callable[[Place, str], None]


def _permit(place: Place, _: str) -> None:
    place.permit(ALL, ALL, ALL)


def _declare(place: Place, _: str) -> None:
    place.declare()


REFUSED = {
    "a queue is deleted, and made anew by somebody else": StatusError(FIRST, NONE, Place.delete, _declare),
    "a queue is deleted, and may be made anew later": StatusError(SECOND, NONE, Place.delete, _permit),
    "a queue is declared otherwise, and deleted later": StatusError(FIRST, ALL, Place.make_otherwise, Place.delete),
    "the dead letters' queue is declared otherwise": StatusError(DEAD, ALL, Place.make_otherwise, Place.delete),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_while_the_topology_is_refused_nothing_is_published(refused: StatusError, place: Place, tmp_path: Path) -> None:
    """NOT_SERVING, and the events wait; when it is mended each comes to each queue it is owed to, once and in order."""
    place.declare()
    place.grant(refused.configure, ALL, ALL)
    with running("order_service", tmp_path / "service", place.url) as service:
        soon(lambda: service.health() == SERVING)
        service.create()
        soon(lambda: service.waiting() == 0)
        refused.begin(place, refused.queue)
        soon(lambda: service.health() == NOT_SERVING)
        had = {queue: place.taken(queue) for queue in QUEUES.values() if queue in place.queues}
        orders = [service.create() for _ in range(30)]
        service.pay(orders[0])
        before = place.refusals
        soon(lambda: place.refusals >= before + 2)  # it keeps trying
        assert service.waiting() == 31
        assert service.health() == NOT_SERVING
        assert {queue: place.taken(queue) for queue in had} == {queue: [] for queue in had}
        (said,) = service.said("error")
        assert refused.queue in said
        refused.end(place, refused.queue)
        soon(lambda: service.waiting() == 0 and service.health() == SERVING)
        creations = [f"{order.id}.1" for order in orders]
        assert place.taken(FIRST) == creations
        assert place.taken(SECOND) == [*creations, f"{orders[0].id}.2"]
        assert service.waiting("outbox_late") == 0


def test_a_service_that_holds_its_events_stops_and_publishes_them_after_its_next_start(
    place: Place, tmp_path: Path
) -> None:
    """SIGTERM waits for no broker: exit status 0 within the grace period, and what is owed stays on disk."""
    place.declare()
    place.grant(NONE, ALL, ALL)
    with running("order_service", tmp_path / "service", place.url) as service:
        soon(lambda: service.health() == SERVING)
        place.delete(FIRST)
        soon(lambda: service.health() == NOT_SERVING)
        orders = [service.create() for _ in range(3)]
        assert service.stop() == 0
        assert service.waiting() == 3
    with running("order_service", tmp_path / "service", place.url) as service:
        soon(lambda: service.health() == NOT_SERVING)
        assert service.waiting() == 3
        place.permit(ALL, ALL, ALL)
        soon(lambda: service.waiting() == 0)
        assert place.taken(FIRST) == place.taken(SECOND) == [f"{order.id}.1" for order in orders]


OTHERWISE = {
    "the dead letters' queue, before its start": (DEAD, True),
    "the dead letters' queue, while it runs": (DEAD, False),
    "its queue, while it runs": (FIRST, False),
}


@pytest.mark.parametrize(("queue", "before"), OTHERWISE.values(), ids=OTHERWISE)
def test_a_subscriber_is_not_serving_while_a_queue_of_its_own_is_declared_otherwise(
    queue: str, before: bool, place: Place, tmp_path: Path
) -> None:
    """It may lose what the contract says is kept. What is delivered is recorded meanwhile, and nobody else suffers."""
    place.declare()
    place.grant(ALL, ALL, ALL)
    if before:
        place.make_otherwise(queue)
    with (
        running("notification_service_1", tmp_path / "first", place.url) as service,
        running("notification_service_2", tmp_path / "second", place.url) as other,
    ):
        if not before:
            soon(lambda: service.health() == SERVING)
            place.make_otherwise(queue)
        soon(lambda: any(queue in line for line in service.said("error")))
        soon(lambda: service.health() == NOT_SERVING)
        with closing(Injector(place.url)) as injector:
            injector.deliver("notification-service-1", OrderCreated(order=(order := sample_order())))
        soon(lambda: service.heard(order.id))
        soon(lambda: other.health() == SERVING)
        assert service.health() == NOT_SERVING
        assert other.said("error") == []
        place.delete(queue)
        soon(lambda: service.health() == SERVING)


def test_a_wrong_password_is_told_once_and_not_serving(place: Place, tmp_path: Path) -> None:
    """A broker that is there and lets nobody in is not one that is away."""
    place.grant(ALL, ALL, ALL)
    place.node.control("change_password", place.name, "another")
    with running("order_service", tmp_path / "service", place.url) as service:
        (said,) = soon(lambda: service.said("error"))
        assert "refuses the user or the password" in said
        soon(lambda: service.health() == NOT_SERVING)
        place.node.control("change_password", place.name, "secret")
        soon(lambda: service.health() == SERVING)
        assert len(service.said("error")) == 1


PARKED = {
    "whose exchange is gone": "UPDATE outbox SET exchange = 'exchange-of-yesterday' WHERE sequence = 2",
    "that a release before has named": "UPDATE outbox SET exchange = '', type = 'yesterday' WHERE sequence = 2",
    "that is too large for the broker": "UPDATE outbox SET body = zeroblob(40000000) WHERE sequence = 2",
    "that is no AMQP at all": "UPDATE outbox SET routing_key = hex(zeroblob(200)) WHERE sequence = 2",
}


@pytest.mark.parametrize("change", PARKED.values(), ids=PARKED)
def test_an_event_that_cant_be_published_is_parked_and_those_behind_it_go(
    change: str, place: Place, tmp_path: Path
) -> None:
    """Named in the log with the reason, kept on disk; what comes after it of its order waits for it."""
    place.node.control("eval", "application:set_env(rabbit, max_message_size, 20000000).")
    queue = QUEUES["notification-service-1"]
    folder = tmp_path / "service"
    with running("order_service", folder, f"amqp://127.0.0.1:{ports.free(1)[0]}/%2F") as service:
        orders = [service.create() for _ in range(4)]
        service.pay(orders[1])
    with closing(sqlite3.connect(folder / "order.db")) as database:
        database.execute(change)
        database.commit()
    place.grant(ALL, ALL, ALL)
    with running("order_service", folder, place.url) as service:
        soon(lambda: service.waiting() == 0)
        others = {order.id for order in (*orders[:1], *orders[2:])}
        assert {event_id[:-2] for event_id in _drained(place, queue, others, SECONDS)} == others
        (said,) = soon(lambda: service.said("error"))
        assert f"{orders[1].id}.1" in said
        assert service.waiting("outbox_late") == 2
        late = {service.create().id}
        assert {event_id[:-2] for event_id in _drained(place, queue, late, SECONDS)} >= late
        assert service.health() == SERVING


async def test_to_publish_nothing_takes_no_time_and_costs_no_session(place: Place) -> None:
    """The broker has nothing to answer, and is not silent for that."""
    place.grant(ALL, ALL, ALL)
    async with opened(parse(place.url), "test") as session:
        assert await asyncio.wait_for(session.publish([]), 2) == []
        assert not session.closed.done()


def test_a_full_queue_keeps_nothing_from_the_others(place: Place, tmp_path: Path) -> None:
    """The other queue gets each event within 30 s, and few of them twice; nothing is lost when there is room again."""
    full, other = QUEUES["notification-service-1"], QUEUES["notification-service-2"]
    place.declare()
    place.grant(ALL, ALL, ALL)
    pattern = f"^{full.replace('.', '[.]')}$"
    place.node.control("set_policy", "-p", place.name, "--apply-to", "queues", "full", pattern, '{"max-length":1}')
    with running("order_service", tmp_path / "service", place.url) as service:
        orders = {service.create().id for _ in range(400)}
        seen = _drained(place, other, orders, seconds=30)
        assert {event_id[:-2] for event_id in seen} >= orders
        assert service.health() == SERVING
        assert len(seen) < 2 * len(orders)
        place.node.control("clear_policy", "-p", place.name, "full")
        soon(lambda: service.waiting() == service.waiting("outbox_late") == 0)
        assert place.count(full) >= len(orders)


def test_a_routing_key_that_is_forbidden_concerns_its_events_only(place: Place, tmp_path: Path) -> None:
    """They are parked, with the way out; all others are published within 30 s, and they when it is granted."""
    place.declare()
    place.node.control("set_topic_permissions", "-p", place.name, place.name, "orders.events", "^order[.]created$", ALL)
    place.grant(ALL, ALL, ALL)
    with running("order_service", tmp_path / "service", place.url) as service:
        changed = [service.create() for _ in range(40)]
        for order in changed:
            service.pay(order)
        orders = {order.id for order in changed} | {service.create().id for _ in range(100)}
        seen = _drained(place, SECOND, orders, seconds=30)
        assert {event_id[:-2] for event_id in seen} == orders
        assert len(seen) < 2 * len(orders)
        soon(lambda: service.waiting() == 0)
        assert service.waiting("outbox_late") == len(changed)
        soon(lambda: service.health() == NOT_SERVING)
        assert all("set_topic_permissions" in line and "order.updated" in line for line in service.said("error"))
        late = service.create().id
        assert _drained(place, SECOND, {late}, SECONDS)[-1] == f"{late}.1"
        place.node.control("clear_topic_permissions", "-p", place.name, place.name)
        soon(lambda: service.waiting("outbox_late") == 0 and service.health() == SERVING)
        assert {f"{order.id}.2" for order in changed} <= set(place.taken(SECOND))


def _drained(place: Place, queue: str, orders: set[str], seconds: float) -> list[str]:
    """The event ids of what comes out of a queue until each order was seen, or it takes too long."""
    seen: list[str] = []
    until = time.monotonic() + seconds
    with place.channel() as channel:
        while not orders <= {event_id[:-2] for event_id in seen} and time.monotonic() < until:
            method, properties, _ = channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None:
                time.sleep(0.05)
            else:
                seen.append(str(properties.message_id))
    return seen
