"""Metrics of a real system: they agree with the facts, and each trouble moves its own metrics and no other.

"Mutants of the observability": a trouble is planted, and the set of series that move is compared with the set that has
to, after those of ordinary work are left out.
"""

import ast
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from ordersys.contract.topology import subscriptions
from ordersys.local.rabbitmq import Node
from ordersys.local.system import Choices, System
from ordersys.runtime.metrics import table
from ordersys.runtime.metrics.table import Kind, Metric, Service
from tests.contract.harness.amqp_proxy import AmqpProxy, Verdict
from tests.contract.harness.broker_faults import BrokerFault, LostAcks, LostConfirms
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created
from tests.integration.api import SECONDS, Api, eventually, placing, reason
from tests.integration.conftest import quietly, skip_without_rabbitmq
from tools.observability.alerts import ALERTS

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parent.parent.parent
PRODUCT, ORDER, FIRST, SECOND = "product_service", "order_service", "notification_service_1", "notification_service_2"
SERVICES = {PRODUCT: Service.PRODUCT, ORDER: Service.ORDER, FIRST: Service.SUBSCRIBER, SECOND: Service.SUBSCRIBER}
QUEUES = {s.consumer.replace("-", "_"): (s.queue, s.dead_letter_queue) for s in subscriptions()}
SAMPLED_SECONDS = 1.1
"""Within which each figure of the database and the broker is a new one."""
Series = tuple[str, ...]
"""A process, a metric, and those of its labels that are TELLING."""
TELLING = ("error_type", "state", "result", "reason", "kind", "connection")
"""The labels that tell troubles apart, of any metric; over all others series are summed up."""
# Moved by work of any kind, and told by no trouble alone.
ORDINARY_METRICS = {
    m.name for m in table.TABLE if m.kind is Kind.HISTOGRAM or not m.moved_by or m is table.CONSUMED_MESSAGES
}
ORDINARY = {
    (table.SENT_MESSAGES.name, ""),
    (table.INBOX_EVENTS.name, "new"),
    (table.SAGAS_SETTLED.name, "completed", "place_order"),
}
"""The series that an order moves, of metrics that otherwise tell of trouble."""
AT_REST = {
    table.SERVING.name: 1.0,
    table.LEADER.name: 1.0,
    table.DATABASE_WRITABLE.name: 1.0,
    table.BROKER_CONNECTED.name: 1.0,
    table.BROKER_BLOCKED.name: 0.0,
    table.OUTBOX_EVENTS.name: 0.0,
    table.OUTBOX_OLDEST_SECONDS.name: 0.0,
    table.QUEUE_MESSAGES.name: 0.0,
    table.SAGAS_PENDING.name: 0.0,
    table.SAGAS_OLDEST_SECONDS.name: 0.0,
}
"""The value of a gauge where nothing is wrong and nothing waits: no trouble begins, or is over, before all have it."""
NOT_AT_REST = {table.DEAD_LETTERS_KEPT.name, table.STOCK_IMBALANCE_UNITS.name}
"""Gauges that have no such value: some letters stay, and before the first audit nobody knows."""


class Stage(NamedTuple):
    """A running system, and whatever troubles are planted with."""

    system: System
    node: Node
    proxy: AmqpProxy
    broker_url: str
    api: Api

    def deliver(self, role: str, *event: Any, **properties: Any) -> None:
        """Puts an event into the queue of a subscriber."""
        with closing(Injector(self.broker_url)) as injector:
            injector.deliver(role, *event, **properties)

    def families(self, process: str) -> list[Family]:
        """The metrics a process exposes."""
        url = f"http://{self.system.metrics[process]}/metrics"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return list(text_string_to_metric_families(answer.read().decode()))

    def seen(self, besides: str = "") -> dict[Series, float]:
        """All series that may tell of trouble, of all processes but one that can't answer."""
        seen: defaultdict[Series, float] = defaultdict(float)
        for process in SERVICES:
            families = self.families(process) if process != besides else []
            for sample in (s for family in families if _name(family) not in ORDINARY_METRICS for s in family.samples):
                labels = tuple(sample.labels[name] for name in TELLING if name in sample.labels)
                if (sample.name, *labels) not in ORDINARY:
                    seen[process, sample.name, *labels] += sample.value
        return seen

    def total(self, process: str, name: str, **labels: str) -> float:
        """The sum over the series of a metric that have these labels."""
        samples = [sample for family in self.families(process) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def order(self) -> str:
        """Places an order; its id."""
        return str(self.api.place({self.api.new_product(10): 1}).id)

    def calm(self) -> None:
        """Returns when nothing waits anywhere: two orders, since a consumer begins anew with the first it settles."""
        for _ in range(2):
            order_id = self.order()
            eventually(lambda order_id=order_id: all(self.api.heard(n, order_id) for n in (1, 2)))  # type: ignore[misc]
        time.sleep(SAMPLED_SECONDS)
        assert self.restless() == []

    def restless(self) -> list[Series]:
        """The series that show that something waits, or a trouble, for SECONDS; none as soon as all are at rest."""
        until = time.monotonic() + SECONDS
        while restless := [s for s, value in self.seen().items() if value != AT_REST.get(s[1], value)]:
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        return sorted(restless)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A system on a broker of its own, behind a proxy."""
    skip_without_rabbitmq()
    folder = tmp_path_factory.mktemp("metrics")
    with ExitStack() as stack:
        broker = stack.enter_context(System(folder / "broker", quietly, Choices(services=(), secure=False)))
        proxy = stack.enter_context(closing(AmqpProxy(broker.amqp_url)))
        settings = {"ORDERSYS_CALL_TIMEOUT_SECONDS": "2", "ORDERSYS_SWEEP_SECONDS": "1"}
        choices = Choices(amqp_url=proxy.url, secure=False, settings=settings)
        system = stack.enter_context(System(folder / "system", quietly, choices))
        api = stack.enter_context(Api(system.environment))
        yield Stage(system, broker.nodes[0], proxy, broker.amqp_url, api)


class Trouble(NamedTuple):
    """A trouble that lasts as long as its context, or is over at once; the series that move, and no others."""

    plant: Callable[[Stage], AbstractContextManager[None]]
    moves: set[Series]
    often: bool = False
    """True for one that happens again as long as it lasts: how often is no matter here."""
    silent: str = ""
    """The process that can't answer meanwhile."""


@contextmanager
def nacked(stage: Stage) -> Iterator[None]:
    """Again and again: a session that is younger than some seconds bears it, an older one is given up."""
    with stage.proxy.ruled(BrokerFault(lambda event: True, Verdict.NACK)):
        stage.order()
        yield


@contextmanager
def returned(stage: Stage) -> Iterator[None]:
    with stage.proxy.ruled(BrokerFault(lambda event: True, Verdict.RETURN, 1)):
        stage.order()
        yield


@contextmanager
def unconfirmed(stage: Stage) -> Iterator[None]:
    request = placing({stage.api.new_product(10): 1})
    lost = _LostConfirm(request.request_id)
    with stage.proxy.ruled(lost):
        stage.api.products.PlaceOrder(request, timeout=SECONDS)
        assert lost.lost.wait(SECONDS)
    yield


class _LostConfirm(LostConfirms):
    """Of whichever event comes first."""

    def published(self, publication: object) -> Verdict:
        self.met.set()
        return Verdict.PASS


@contextmanager
def refused_for_good(stage: Stage) -> Iterator[None]:
    """No queue takes the events of one order."""
    with stage.proxy.ruled(BrokerFault(lambda event: True, Verdict.RETURN)):
        stage.order()
        yield


@contextmanager
def duplicated(stage: Stage) -> Iterator[None]:
    event = created(sample_order())
    for _ in range(2):
        stage.deliver("notification-service-2", event, message_id="the same")
    yield


@contextmanager
def conflicting(stage: Stage) -> Iterator[None]:
    for order in (sample_order(), sample_order()):
        stage.deliver("notification-service-2", created(order), message_id="of two events")
    yield


@contextmanager
def dead_lettered(stage: Stage) -> Iterator[None]:
    stage.deliver("notification-service-1", created(sample_order()), b"\xff\xff")
    yield


@contextmanager
def blocked(stage: Stage) -> Iterator[None]:
    stage.node.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        stage.order()
        yield
    finally:
        stage.node.control("set_vm_memory_high_watermark", "absolute", "1GB")


@contextmanager
def away(stage: Stage) -> Iterator[None]:
    with stage.proxy.away():
        stage.order()
        yield


@contextmanager
def unwritable(stage: Stage) -> Iterator[None]:
    """Somebody else holds the lock of the database."""
    file = stage.system.folder / "databases" / "notification-service-1.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextmanager
def in_doubt(stage: Stage) -> Iterator[None]:
    """The Order Service does not answer, and nobody knows what it has done."""
    product_id = stage.api.new_product(10)
    pid = stage.system.services[ORDER].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(grpc.RpcError) as raised:
            stage.api.place({product_id: 1})
        assert reason(raised.value) == "OUTCOME_OPEN"
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def unacknowledged(stage: Stage) -> Iterator[None]:
    """An acknowledgement is lost with its connection."""
    order = sample_order()
    queue = QUEUES[FIRST][0]
    lost = LostAcks(queue, order.id)
    with stage.proxy.ruled(lost):
        stage.deliver("notification-service-1", created(order))
        assert lost.met.wait(SECONDS)
    yield


@contextmanager
def out_of_stock(stage: Stage) -> Iterator[None]:
    with pytest.raises(grpc.RpcError):
        stage.api.place({stage.api.new_product(1): 2})
    yield


SENT, OUTBOX, OLDEST = table.SENT_MESSAGES.name, table.OUTBOX_EVENTS.name, table.OUTBOX_OLDEST_SECONDS.name
RECONNECTS, CONNECTED = table.BROKER_RECONNECTS.name, table.BROKER_CONNECTED.name
INBOX, DEAD, KEPT = table.INBOX_EVENTS.name, table.DEAD_LETTERS.name, table.DEAD_LETTERS_KEPT.name
WAITS: set[Series] = {(ORDER, OUTBOX, "new"), (ORDER, OLDEST)}
TROUBLES = {
    # A session that is nacked is given up (docs/reliability.md, "the leader of the queues killed").
    "a nack": Trouble(
        nacked,
        {(ORDER, SENT, "nacked"), (ORDER, OUTBOX, "late"), (ORDER, OLDEST), (ORDER, RECONNECTS, "publisher")},
        often=True,
    ),
    "a return": Trouble(returned, {(ORDER, SENT, "returned")}),
    "a lost confirm": Trouble(
        unconfirmed,
        {
            (ORDER, SENT, "unconfirmed"),
            (ORDER, RECONNECTS, "publisher"),
            (FIRST, INBOX, "repeated"),
            (SECOND, INBOX, "repeated"),
        },
    ),
    "a stuck outbox": Trouble(
        refused_for_good, {(ORDER, SENT, "returned"), (ORDER, OUTBOX, "late"), (ORDER, OLDEST)}, often=True
    ),
    "a duplicate": Trouble(duplicated, {(SECOND, INBOX, "repeated")}),
    "two events under one id": Trouble(
        conflicting, {(SECOND, INBOX, "conflicting"), (SECOND, DEAD, "rejected"), (SECOND, KEPT)}
    ),
    "a dead letter": Trouble(dead_lettered, {(FIRST, DEAD, "rejected"), (FIRST, KEPT)}),
    "a blocked broker": Trouble(blocked, {*WAITS, (ORDER, table.BROKER_BLOCKED.name, "publisher")}),
    "a broker that is away": Trouble(
        away,
        {
            *WAITS,
            *((process, CONNECTED, "publisher") for process in (PRODUCT, ORDER)),
            *((process, CONNECTED, queue) for process in (FIRST, SECOND) for queue in QUEUES[process]),
            *((process, table.SERVING.name) for process in (FIRST, SECOND)),
        },
    ),
    "a database that can't be written": Trouble(
        unwritable, {(FIRST, table.DATABASE_WRITABLE.name), (FIRST, table.SERVING.name)}
    ),
    "a saga in doubt": Trouble(
        in_doubt,
        {
            (PRODUCT, table.SAGAS_SETTLED.name, "in_doubt", "place_order"),
            (PRODUCT, table.SAGAS_PENDING.name, "place_order"),
            (PRODUCT, table.SAGAS_OLDEST_SECONDS.name),
            (PRODUCT, table.CALLS_REFUSED.name, "OUTCOME_OPEN"),
        },
        silent=ORDER,
    ),
    "a lost acknowledgement": Trouble(
        unacknowledged,
        {(FIRST, table.REDELIVERED.name), (FIRST, INBOX, "repeated"), (FIRST, RECONNECTS, QUEUES[FIRST][0])},
    ),
    "a refusal": Trouble(out_of_stock, {(PRODUCT, table.CALLS_REFUSED.name, "OUT_OF_STOCK")}),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_a_trouble_moves_its_metrics_and_no_other(stage: Stage, trouble: Trouble) -> None:
    """As long as it lasts, seen twice: figures of the database and the broker are a second old.

    What happens once is counted once, and what is no more shows no more.
    """
    stage.calm()
    before = stage.seen(trouble.silent)

    def moved() -> set[Series]:
        now = stage.seen(trouble.silent)
        return {series for series in {*before, *now} if now.get(series, 0) != before.get(series, 0)}

    with trouble.plant(stage):
        for _ in range(2):
            until = time.monotonic() + SECONDS
            while (seen := moved()) != trouble.moves and time.monotonic() < until:
                time.sleep(0.2)
            assert (sorted(seen - trouble.moves), sorted(trouble.moves - seen)) == ([], []), "moved, and did not"
            time.sleep(SAMPLED_SECONDS)
        if not trouble.often:
            now = stage.seen(trouble.silent)
            counted = {series: now[series] - before[series] for series in trouble.moves if series[1].endswith("_total")}
            assert counted == dict.fromkeys(counted, 1)
    assert stage.restless() == []


def test_each_metric_that_tells_of_trouble_is_moved_by_one() -> None:
    """By one that is planted here, or elsewhere: whoever adds a metric says which trouble moves it."""
    moved = {series[1] for trouble in TROUBLES.values() for series in trouble.moves}
    declared = {m.name for m in table.TABLE if m.moved_by and m.kind is not Kind.HISTOGRAM}
    assert moved | MOVED_ELSEWHERE.keys() == declared
    assert not moved & MOVED_ELSEWHERE.keys()


def test_each_gauge_that_tells_of_trouble_has_its_value_without() -> None:
    """Or is known to have none."""
    gauges = {m.name for m in table.TABLE if m.moved_by and m.kind is Kind.GAUGE}
    assert AT_REST.keys() | NOT_AT_REST == gauges
    assert not AT_REST.keys() & NOT_AT_REST


_HERE, _ALERTS = "tests/integration/test_metrics.py", "tests/integration/test_alerts.py"
_REPLICAS = "tests/integration/test_replicas.py"
MOVED_ELSEWHERE = {
    table.LEADER.name: f"{_REPLICAS}::test_processes_are_restarted_one_at_a_time_while_all_orders_are_taken",
    table.QUEUE_MESSAGES.name: f"{_HERE}::test_what_a_subscriber_can_not_record_shows_in_its_queue",
    table.SWEEP_SETTLED.name: f"{_HERE}::test_a_saga_that_recovery_completes_is_counted",
    table.STOCK_IMBALANCE_UNITS.name: f"{_ALERTS}::test_a_trouble_has_its_alerts_fire_and_no_other",
    table.SPANS_DROPPED.name: f"{_ALERTS}::test_a_trouble_of_a_service_alone_has_its_alerts_fire_and_no_other",
}
"""And by which test."""


def test_a_saga_that_recovery_completes_is_counted(stage: Stage) -> None:
    """Once it is over nothing is pending, and what was in doubt is settled."""
    stage.calm()
    before = stage.total(PRODUCT, table.SWEEP_SETTLED.name, result="completed")
    with in_doubt(stage):
        pass
    eventually(lambda: stage.total(PRODUCT, table.SWEEP_SETTLED.name, result="completed") == before + 1)
    eventually(lambda: stage.total(PRODUCT, table.SAGAS_PENDING.name) == 0)


def test_what_a_subscriber_can_not_record_shows_in_its_queue(stage: Stage) -> None:
    """Once it has given it back, as long as its database can't be written; in no other queue."""
    stage.calm()

    def waiting() -> list[str]:
        """The queues in which something does."""
        name = table.QUEUE_MESSAGES.name
        queues = [(process, queue) for process in (FIRST, SECOND) for queue in QUEUES[process]]
        return [queue for process, queue in queues if stage.total(process, name, messaging_destination_name=queue)]

    with unwritable(stage):
        stage.order()
        assert eventually(waiting, 2 * SECONDS) == [QUEUES[FIRST][0]]
    eventually(lambda: not waiting(), 2 * SECONDS)


def test_after_the_demo_metrics_agree_with_the_facts(stage: Stage) -> None:
    """Orders, creations, confirms and records are one number; no queue, outbox or saga has anything left."""
    stage.calm()
    before = _facts(stage)
    done = subprocess.run(
        [sys.executable, "-m", "ordersys.grpc_client", "--json", "demo"],
        env={**os.environ, **stage.system.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    findings = json.loads(done.stdout)
    eventually(lambda: stage.total(ORDER, OUTBOX) == 0)
    counted = {name: number - before[name] for name, number in _facts(stage).items()}
    creations, changes, refusals = (findings[f"orders_{word}"] for word in ("created", "updated", "rejected"))
    assert creations > 0
    facts = {
        "placements completed": creations,
        "creations confirmed": creations,
        "creations recorded": creations,
        "changes completed": changes,
        "changes confirmed": changes,
        "refusals confirmed": refusals,
        "everything recorded": creations + changes + refusals,
        "waiting": 0,
    }
    assert counted.keys() == facts.keys()
    assert [name for name, fact in facts.items() if counted[name] != fact] == [], (counted, facts)


def test_stock_is_what_the_products_say(stage: Stage) -> None:
    """Free and held, over all of them."""
    stage.calm()
    products = stage.api.products.ListProducts(ListProductsRequest(page_size=500), timeout=SECONDS).products
    for state in ("available", "held"):
        said = sum(getattr(product, state) for product in products)
        eventually(lambda state=state, said=said: stage.total(PRODUCT, table.STOCK_UNITS.name, state=state) == said)  # type: ignore[misc]


Total = Callable[[Stage], float]


def _of(process: str, name: str, **labels: str) -> Total:
    """A total, as it is when it is asked for."""
    return lambda stage: stage.total(process, name, **labels)


def _count(process: str, metric: Metric, **labels: str) -> Total:
    """The number of observations of a histogram."""
    return _of(process, f"{metric.name}_count", **labels)


def _none(_: Stage) -> float:
    """Nothing, whatever was done."""
    return 0.0


_CREATE = "ordersys.api.order.v1.OrderService/BatchCreateOrders"
_PLACE = "ordersys.api.product.v1.ProductService/PlaceOrder"
COUNTERPARTS: Mapping[str, tuple[Total, Total]] = {
    table.SERVER_CALL_SECONDS.name: (
        _count(PRODUCT, table.SERVER_CALL_SECONDS, rpc_method=_PLACE, rpc_status_code="OK"),
        _of(PRODUCT, table.SAGAS_SETTLED.name, kind="place_order", result="completed"),
    ),
    table.CLIENT_CALL_SECONDS.name: (
        _count(PRODUCT, table.CLIENT_CALL_SECONDS, rpc_method=_CREATE),
        _count(ORDER, table.SERVER_CALL_SECONDS, rpc_method=_CREATE),
    ),
    table.CALLS_IN_FLIGHT.name: (_of(ORDER, table.CALLS_IN_FLIGHT.name), _none),
    table.PUBLISH_SECONDS.name: (
        _count(ORDER, table.PUBLISH_SECONDS),
        _count(ORDER, table.BATCH_ITEMS, batch="window"),
    ),
    table.BATCH_ITEMS.name: (_of(ORDER, f"{table.BATCH_ITEMS.name}_sum", batch="window"), _of(ORDER, SENT)),
    table.BATCH_WAIT_SECONDS.name: (
        _count(ORDER, table.BATCH_WAIT_SECONDS, batch="commit"),
        _count(ORDER, table.BATCH_ITEMS, batch="commit"),
    ),
    table.COMMIT_SECONDS.name: (
        _count(ORDER, table.COMMIT_SECONDS),
        _count(ORDER, table.BATCH_ITEMS, batch="commit"),
    ),
    table.DATABASE_READERS.name: (_of(ORDER, table.DATABASE_READERS.name), _none),
    table.EVENT_AGE_SECONDS.name: (_count(FIRST, table.EVENT_AGE_SECONDS), _of(FIRST, INBOX, result="new")),
    table.PROCESS_SECONDS.name: (
        _count(FIRST, table.PROCESS_SECONDS),
        _count(FIRST, table.BATCH_ITEMS, batch="deliveries"),
    ),
    table.CONSUMED_MESSAGES.name: (_of(FIRST, table.CONSUMED_MESSAGES.name), _of(FIRST, INBOX)),
}
"""Of metrics of ordinary work a total of each, and the total, of another metric, that has to grow by as much."""


def test_ordinary_work_moves_a_metric_as_far_as_its_counterpart(stage: Stage) -> None:
    """And that by something, unless there is to be nothing."""
    stage.calm()
    before = _totals(stage)
    stage.calm()  # with its two orders
    until = time.monotonic() + SECONDS
    while (uneven := _uneven(before, _totals(stage))) and time.monotonic() < until:
        time.sleep(0.1)
    assert uneven == {}, "(by, and its counterpart by)"


Totals = Mapping[str, tuple[float, float]]


def _totals(stage: Stage) -> Totals:
    """Of each metric of COUNTERPARTS, and of its counterpart."""
    return {name: (shown(stage), counterpart(stage)) for name, (shown, counterpart) in COUNTERPARTS.items()}


def _uneven(before: Totals, now: Totals) -> Totals:
    """By how much the two have grown where they should not have."""
    grown = {name: (now[name][0] - before[name][0], now[name][1] - before[name][1]) for name in now}
    still = {name for name, (_, counterpart) in COUNTERPARTS.items() if counterpart is _none}
    return {name: by for name, by in grown.items() if by[0] != by[1] or (by[1] == 0) != (name in still)}


def test_each_metric_of_ordinary_work_has_a_counterpart() -> None:
    """Here, or a test elsewhere; those of the client library of Prometheus need none."""
    declared = {m.name for m in table.DECLARED} & ORDINARY_METRICS
    assert COUNTERPARTS.keys() | SHOWN_ELSEWHERE.keys() == declared
    assert not COUNTERPARTS.keys() & SHOWN_ELSEWHERE.keys()


SHOWN_ELSEWHERE = {
    table.STOCK_UNITS.name: f"{_HERE}::test_stock_is_what_the_products_say",
    table.BUILD_INFO.name: "tests/unit/test_instruments.py::test_who_the_process_is_stands_in_a_metric_of_its_own",
}
"""And by which test."""


@pytest.mark.parametrize(("name", "test"), {**MOVED_ELSEWHERE, **SHOWN_ELSEWHERE}.items())
def test_a_test_elsewhere_is_about_its_metric(name: str, test: str) -> None:
    """It names the metric, or an alert about it, by itself or in parts of its module that it uses."""
    (constant,) = (
        constant for constant, value in vars(table).items() if isinstance(value, Metric) and value.name == name
    )
    alerts = [alert.name.removeprefix("Ordersys") for alert in ALERTS if name in alert.measure]
    assert re.search(rf"\b({'|'.join([name, constant, *alerts])})\b", source_of(test))


def source_of(test: str) -> str:
    """The source of a test, with the functions and constants of its module that it uses, and so on. Raises KeyError."""
    file, _, function = test.partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    parts = {name: node for node in ast.parse(source).body for name in _defined(node)}
    used: dict[str, ast.stmt] = {}
    left = [function]
    while left:
        if (name := left.pop()) not in used:
            used[name] = parts[name]
            names = {node.id for node in ast.walk(parts[name]) if isinstance(node, ast.Name)}
            left += names & parts.keys()
    return "\n".join(map(ast.unparse, used.values()))


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names of functions and constants that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Name):
            yield target.id


@pytest.mark.parametrize("process", SERVICES)
def test_a_service_exposes_what_the_table_says_and_nothing_else(stage: Stage, process: str) -> None:
    """Names, kinds and labels, as Prometheus reads them; no series more than a scrape can take."""
    stage.calm()
    families = stage.families(process)
    declared = {m.name: m for m in table.TABLE if SERVICES[process] in m.services}
    shown = {_name(family): family for family in families}
    assert declared.keys() - shown.keys() <= NOT_WITHOUT_TRACES
    assert shown.keys() - declared.keys() == set()
    for name, family in shown.items():
        assert family.type == declared[name].kind.value
        labels = {label.name for label in declared[name].labels}
        assert all({*sample.labels} - {"le"} == labels for sample in family.samples), name
    assert sum(len(family.samples) for family in families) < 1_000


NOT_WITHOUT_TRACES = {table.SPANS_DROPPED.name}


def _name(family: Family) -> str:
    """As the table has it: the library takes the end off a counter's."""
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def _facts(stage: Stage) -> Mapping[str, float]:
    """The figures of orders and events, from metrics alone."""
    sent = {
        key: sum(stage.total(p, SENT, error_type="", messaging_destination_name=key) for p in (ORDER, PRODUCT))
        for key in ("orders.created:order.created", "orders.events:order.updated", "orders.events:order.rejected")
    }
    placements, changes = (
        stage.total(PRODUCT, table.SAGAS_SETTLED.name, kind=kind, result="completed")
        for kind in ("place_order", "change_order")
    )
    return {
        "placements completed": placements,
        "creations confirmed": sent["orders.created:order.created"],
        "creations recorded": stage.total(FIRST, INBOX, result="new"),
        "changes completed": changes,
        "changes confirmed": sent["orders.events:order.updated"],
        "refusals confirmed": sent["orders.events:order.rejected"],
        "everything recorded": stage.total(SECOND, INBOX, result="new"),
        "waiting": sum(stage.total(p, name) for p in SERVICES for name in (table.QUEUE_MESSAGES.name, OUTBOX)),
    }
