"""Alerts of a real system in a real Prometheus: each trouble that is planted has its own fire, and no other.

They need not last, and what is to be seen for minutes is seen for seconds: that limits and times are kept is for
promtool (tests/unit/test_observability.py).
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import DiscardDeadLettersRequest
from ordersys.contract.addresses import Address, parse
from ordersys.local import ports
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created
from tests.integration import test_metrics as troubles
from tests.integration.api import SECONDS as CALL_SECONDS
from tests.integration.api import new_id
from tests.integration.order_service import OrderService, order_service
from tests.integration.test_metrics import Stage
from tests.integration.test_prometheus import CONFIGURATION, configure
from tests.prometheus import Prometheus, programs_or_skip, running
from tests.running import repeated
from tools.observability.alerts import ALERTS, RATE_INTERVAL, Alert

pytestmark = pytest.mark.timeout(300)
stage = troubles.stage
SECONDS = 60.0
"""For what is seen within half a minute at most."""
RATE_SECONDS = "10s"
"""Long enough for a single nack to be seen where scrapes, one a second, are late; and afterwards it is seen so long."""
LIMITS: Mapping[str, str] = {"OrdersysOutboxStuck": "> 8", "OrdersysSagasInDoubt": "> 2", "OrdersysQueueLong": "> 0"}
"""Of alerts that otherwise wait for minutes, in seconds, or for 10,000 messages; an event that is nacked once is
published sooner."""
WITHOUT_BROKER = {"OrdersysNoPublisher", "OrdersysOutboxStuck"}
"""They fire, sooner or later, where there is no broker at all."""


class Watch(NamedTuple):
    """A system, and the Prometheus that watches it."""

    stage: Stage
    prometheus: Prometheus


def settled(prometheus: Prometheus, expected: Set[str], besides: Set[str] = frozenset()) -> set[str]:
    """The names of the alerts that fire, without those of `besides`, as soon as they are `expected`, or after SECONDS.

    Another one may be among them for a moment: a connection that is made again is away until then.
    """
    until = time.monotonic() + SECONDS
    while (fired := firing(prometheus) - besides) != expected and time.monotonic() < until:
        time.sleep(0.2)
    return fired


def firing(prometheus: Prometheus) -> set[str]:
    """The names of the alerts that fire."""
    return {alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"]}


def impatient(alert: Alert) -> Alert:
    """The alert without its time, with a limit that is reached in seconds."""
    measure = alert.measure.replace(f"[{RATE_INTERVAL}]", f"[{RATE_SECONDS}]")
    return alert._replace(measure=measure, limit=LIMITS.get(alert.name, alert.limit), lasts="0s")


@pytest.fixture(scope="module")
def watch(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Looked at each second."""
    programs_or_skip()
    folder = tmp_path_factory.mktemp("alerts")
    configure(folder, stage.system.metrics, [impatient(alert) for alert in ALERTS])
    with running(folder, folder / CONFIGURATION) as prometheus:
        yield Watch(stage, prometheus)


class Trouble(NamedTuple):
    """A trouble that lasts as long as its context, and the alerts that fire."""

    plant: Callable[[Stage], AbstractContextManager[None]]
    fires: set[str]


@contextmanager
def dead_lettered(stage: Stage) -> Iterator[None]:
    """A dead letter, which somebody discards in the end."""
    with troubles.dead_lettered(stage):
        yield
    letters = [letter.id for letter in stage.api.dead_letters(1)]
    request = DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=letters)
    stage.api.letters[1].DiscardDeadLetters(request, timeout=CALL_SECONDS)


@contextmanager
def unbalanced(stage: Stage) -> Iterator[None]:
    """Somebody has written into the database."""
    product_id = stage.api.new_product(10)
    change = "UPDATE products SET held = held + ? WHERE product_id = ?"
    with closing(sqlite3.connect(stage.system.folder / "databases" / "product.db", isolation_level=None)) as other:
        other.execute(change, (3, product_id))
        try:
            yield
        finally:
            other.execute(change, (-3, product_id))


@contextmanager
def late(stage: Stage) -> Iterator[None]:
    """Events of changes that were an hour ago, again and again: a rate begins with the second look at them."""

    def deliver() -> None:
        order = sample_order()
        order.create_time.seconds -= 3600
        order.update_time.CopyFrom(order.create_time)
        stage.deliver("notification-service-1", created(order))

    with repeated(deliver, pause_seconds=0.5):
        yield


@contextmanager
def not_taken(stage: Stage) -> Iterator[None]:
    """A subscriber that can't record what waits in its queue."""
    with troubles.unwritable(stage):
        stage.order()
        yield


@contextmanager
def parked(stage: Stage) -> Iterator[None]:
    """An event with a routing key that is none of AMQP, until somebody puts it right and starts the service anew."""
    service = stage.system.services[troubles.ORDER]
    with stage.proxy.away():
        stage.order()
        service.stop()
        routed(stage, "outbox", "hex(zeroblob(200))")
        service.start()
        service.wait_healthy()
    try:
        yield
    finally:
        service.stop()
        routed(stage, "outbox_late", "'order.created'")
        service.start()
        service.wait_healthy()


def routed(stage: Stage, table: str, routing_key: str) -> None:
    """Gives each event that waits there another routing key."""
    with closing(sqlite3.connect(stage.system.folder / "databases" / "order.db", isolation_level=None)) as database:
        database.execute(f"UPDATE {table} SET exchange = 'orders.created', routing_key = {routing_key}")  # noqa: S608


TROUBLES = {
    "a late event": Trouble(late, {"EventsLate"}),
    "a queue that nobody takes from": Trouble(not_taken, {"DatabaseNotWritable", "NotServing", "QueueLong"}),
    "a parked event": Trouble(parked, {"EventsParked", "OutboxStuck"}),
    "a nack": Trouble(troubles.nacked, {"EventsNacked"}),
    "a return": Trouble(troubles.returned, {"EventsReturned"}),
    "a stuck outbox": Trouble(troubles.refused_for_good, {"EventsReturned", "OutboxStuck"}),
    "a dead letter": Trouble(dead_lettered, {"DeadLetters"}),
    "a blocked broker": Trouble(troubles.blocked, {"BrokerBlocked", "OutboxStuck"}),
    "a broker that is away": Trouble(troubles.away, {"NoPublisher", "NoConsumer", "NotServing", "OutboxStuck"}),
    "a database that can't be written": Trouble(troubles.unwritable, {"DatabaseNotWritable", "NotServing"}),
    "stock held for nothing": Trouble(unbalanced, {"StockImbalance"}),
    # No CallsFail: the only call that fails is the first of its kind, and a rate begins with the second.
    "a process that hangs": Trouble(troubles.in_doubt, {"ProcessDown", "SagasInDoubt"}),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_a_trouble_has_its_alerts_fire_and_no_other(watch: Watch, trouble: Trouble) -> None:
    """All of them at once, until it is over."""
    expected = {f"Ordersys{name}" for name in trouble.fires}
    watch.stage.calm()
    assert settled(watch.prometheus, set()) == set()
    with trouble.plant(watch.stage):
        assert settled(watch.prometheus, expected) == expected


# An Order Service alone, without a broker


class Alone(NamedTuple):
    """A trouble of one Order Service, or of so many that have nothing in common; settings, and what is done to them."""

    plant: Callable[[OrderService], AbstractContextManager[None]]
    fires: set[str]
    settings: Mapping[str, str] = {}
    processes: int = 1


@contextmanager
def called(service: OrderService, callers: int = 1) -> Iterator[None]:
    """Orders are created by so many at a time, whatever the service answers."""

    def call() -> None:
        with suppress(grpc.RpcError):
            service.create()

    with repeated(call, callers):
        yield


@contextmanager
def failing(service: OrderService) -> Iterator[None]:
    """Calls after somebody has taken the database away, which are refused at once."""
    service.file.rename(service.file.with_suffix(".away"))
    with called(service):
        yield


@contextmanager
def crowded(service: OrderService) -> Iterator[None]:
    """More calls at a time than it takes."""
    with called(service, 8):
        yield


@contextmanager
def left_alone(_: OrderService) -> Iterator[None]:
    """Nothing more."""
    yield


ALONE = {
    "calls that fail": Alone(failing, {"CallsFail", "DatabaseNotWritable", "NotServing"}),
    "too many calls": Alone(crowded, {"TooManyCalls"}, {"ORDERSYS_MAX_CONCURRENT_CALLS": "2"}),
    "a collector that is away": Alone(
        called,
        {"SpansDropped"},
        {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        },
    ),
    "two databases of one service": Alone(left_alone, {"NoSingleLeader"}, processes=2),
}


@pytest.mark.parametrize("trouble", ALONE.values(), ids=ALONE)
def test_a_trouble_of_a_service_alone_has_its_alerts_fire_and_no_other(tmp_path: Path, trouble: Alone) -> None:
    """Besides those of the broker that is not there."""
    programs_or_skip()
    scraped: dict[str, Address] = {}
    with ExitStack() as stack:
        services = []
        for number in range(1, trouble.processes + 1):
            address = f"127.0.0.1:{ports.free(1)[0]}"
            settings = {**trouble.settings, "ORDERSYS_METRICS_ADDRESS": address}
            services.append(stack.enter_context(order_service(tmp_path / f"data-{number}", **settings)))
            scraped[f"order_service-{number}"] = parse(address)
        configure(tmp_path, scraped, [impatient(alert) for alert in ALERTS])
        prometheus = stack.enter_context(running(tmp_path, tmp_path / CONFIGURATION))
        stack.enter_context(trouble.plant(services[0]))
        expected = {f"Ordersys{name}" for name in trouble.fires}
        assert settled(prometheus, expected, besides=WITHOUT_BROKER) == expected


def test_each_alert_has_a_trouble_that_is_planted() -> None:
    """One that is added without fails here; so does a limit of one that is gone."""
    fires = [*(trouble.fires for trouble in TROUBLES.values()), *(trouble.fires for trouble in ALONE.values())]
    names = {alert.name for alert in ALERTS}
    assert {f"Ordersys{name}" for trouble in fires for name in trouble} == names
    assert LIMITS.keys() <= names
