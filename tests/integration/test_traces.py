"""Traces: a sampled order is one connected waterfall, whoever is killed in its midst, and telemetry changes nothing."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import CancelOrderRequest, PlaceOrderRequest
from ordersys.local.system import Choices, System
from ordersys.runtime import relay
from ordersys.runtime.base.failpoints import VARIABLE
from tests import virtual_host
from tests.collector import Collector, Span, collecting
from tests.golden_spans import CREATED, OF_AN_ORDER, PLACED, SHARED
from tests.integration.api import RECONNECTING, SECONDS, Api, answered, eventually, new_id, placing
from tests.integration.conftest import quietly
from tests.integration.order_service import OrderService, order_service

UPDATED = "orders.events:order.updated"
FROM_ORDER_ON = [f"create {CREATED}", f"publish {CREATED}", "record", "record"]
PROCESSED = [f"process {CREATED}:notification-service-{number}.v1" for number in (1, 2)]
PLACEMENT = ["saga place_order", "reserve", "call", "create", "confirm", *FROM_ORDER_ON]
SLOW_SECONDS = 2.0
KNOWN_AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
METRICS_TOO = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "50"}


class Root(NamedTuple):
    """The context a client's calls carry."""

    trace: str
    span: str
    flags: str = "01"

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The metadata of its calls."""
        return (("traceparent", f"00-{self.trace}-{self.span}-{self.flags}"),)


class Traced(NamedTuple):
    """A system whose spans are collected."""

    system: System
    collector: Collector
    settings: dict[str, str]


def root(flags: str = "01") -> Root:
    """A context nobody has used."""
    return Root(secrets.token_hex(16), secrets.token_hex(8), flags)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """A whole system that begins no trace by itself."""
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        given = virtual_host.given()
        url = stack.enter_context(virtual_host.emptied(given)) if given else None
        settings = {
            **KNOWN_AT_ONCE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "ORDERSYS_CALL_TIMEOUT_SECONDS": "5",
        }
        choices = Choices(amqp_url=url, settings=settings)
        system = stack.enter_context(System(tmp_path_factory.mktemp("traced"), quietly, choices))
        yield Traced(system, collector, settings)


@pytest.fixture
def calls(traced: Traced) -> Iterator[Api]:
    """Calls to that system."""
    with Api(traced.system.environment) as api:
        yield api


def place(api: Api, request: PlaceOrderRequest, of: Root) -> Order:
    """Places an order within a trace."""
    return api.products.PlaceOrder(request, timeout=SECONDS, metadata=of.metadata).order


def orphans(spans: Sequence[Span], of: Root) -> list[Span]:
    """The spans of which the parent is neither known nor the client's."""
    known = {span.span for span in spans} | {of.span}
    return [span for span in spans if span.parent not in known]


def assert_connected(spans: Sequence[Span], of: Root) -> None:
    """Each span is a child of one that is known, or of the client's, and belongs to its trace."""
    cut = [(span.service, span.name, span.parent) for span in orphans(spans, of)]
    assert not cut
    assert {span.trace for span in spans} == {of.trace}


def only(spans: Sequence[Span], name: str) -> Span:
    """The one span of that name."""
    (span,) = [span for span in spans if span.name == name]
    return span


def test_a_sampled_order_is_one_connected_waterfall(traced: Traced, calls: Api) -> None:
    """Client, call, saga, commits, event, publishing, both subscribers, records: each beneath what caused it."""
    of = root()
    order = place(calls, placing({calls.new_product(1): 1}), of)
    spans = traced.collector.wait(of.trace, [PLACED, *PLACEMENT])
    assert_connected(spans, of)
    saga, created = only(spans, "saga place_order"), only(spans, f"create {CREATED}")
    assert only(spans, PLACED).parent == of.span
    assert saga.parent == only(spans, PLACED).span
    for name in ("reserve", "call", "create", "confirm"):
        assert only(spans, name).parent == saga.span
    assert created.parent == saga.span
    assert created.attributes["messaging.message.id"] == f"{order.id}.1"
    assert only(spans, f"publish {CREATED}").parent == created.span
    processed = [only(spans, name) for name in PROCESSED]
    assert {span.parent for span in processed} == {created.span}
    assert all([link[:2] for link in span.links] == [created.context] for span in processed)
    assert {span.parent for span in spans if span.name == "record"} == {span.span for span in processed}
    assert not any(span.is_error for span in spans)


def test_the_names_and_attributes_of_spans_are_these(traced: Traced, calls: Api) -> None:
    """Those of the conventions, and few: dashboards of others are made of them."""
    of = root()
    place(calls, placing({calls.new_product(1): 1}), of)
    spans = traced.collector.wait(of.trace, [PLACED, *PLACEMENT])
    assert {span.name: (span.kind, set(span.attributes)) for span in spans} == OF_AN_ORDER
    assert only(spans, PLACED).attributes["rpc.status_code"] == "OK"
    shared = eventually(lambda: linked_to(traced.collector, of, len(SHARED)))
    kinds = {span.name: (span.kind, set(span.attributes) - {"ordersys.batch.items"}) for span in shared}
    assert kinds == SHARED


def linked_to(collector: Collector, of: Root, names: int) -> list[Span] | None:
    """The spans of other traces that are linked to this one, once they have that many names."""
    spans = [span for span in collector.spans() if any(link.trace == of.trace for link in span.links)]
    others = [span for span in spans if span.trace != of.trace]
    return others if len({span.name for span in others}) >= names else None


def test_what_orders_share_is_linked_with_each_of_them(traced: Traced, calls: Api) -> None:
    """Of orders placed at once: each has its own trace; a commit, call or window knows those it served, and they it."""
    product = calls.new_product(100)
    roots = [root() for _ in range(20)]
    with ThreadPoolExecutor(len(roots)) as pool:
        list(pool.map(lambda of: place(calls, placing({product: 1}), of), roots))
    traces = {of.trace: traced.collector.wait(of.trace, [PLACED, *PLACEMENT]) for of in roots}
    everything = {span.context: span for span in traced.collector.spans()}
    most = 0
    for of in roots:
        assert_connected(traces[of.trace], of)
        for span in traces[of.trace]:
            for link in span.links:
                other = everything[link[:2]]
                if other.trace != of.trace:
                    assert span.context in [link[:2] for link in other.links] or other.name == "publish"
                    assert of.trace in {link.trace for link in other.links}
                    most = max(most, len({link.trace for link in other.links}))
    assert most > 1, "none of twenty orders shared anything"


def test_orders_of_one_call_are_sagas_of_one_trace(traced: Traced, calls: Api) -> None:
    """A change, too: its saga is under the call that asked for it, its event under the Order Service's call."""
    of = root()
    order = place(calls, placing({calls.new_product(5): 1}), of)
    change = root()
    request = CancelOrderRequest(request_id=new_id(), order_id=order.id)
    calls.products.CancelOrder(request, timeout=SECONDS, metadata=change.metadata)
    names = ["saga change_order", "reserve", "change", "confirm", f"create {UPDATED}", f"publish {UPDATED}", "record"]
    spans = traced.collector.wait(change.trace, [*names, "ordersys.api.product.v1.ProductService/CancelOrder"])
    assert_connected(spans, change)
    asked = [span for span in spans if span.name == "ordersys.api.order.v1.OrderService/UpdateOrder"]
    assert {span.kind for span in asked} == {"CLIENT", "SERVER"}
    assert only(spans, f"create {UPDATED}").parent in {span.span for span in asked}


@pytest.mark.parametrize("flags", ["00", "02"])
def test_what_is_not_sampled_makes_no_span(traced: Traced, calls: Api, flags: str) -> None:
    """Only bit 0 counts; nor does what carries no trace, where the sampler begins none."""
    of = root(flags)
    product = calls.new_product(10)
    place(calls, placing({product: 1}), of)
    calls.place({product: 1})
    after = root("03")
    place(calls, placing({product: 1}), after)
    traced.collector.wait(after.trace, [PLACED, *PLACEMENT])
    assert not traced.collector.spans(of.trace)
    assert not [span for span in traced.collector.spans() if not span.parent and span.kind == "SERVER"]


@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
def test_the_command_line_begins_the_trace_of_an_order(traced: Traced, calls: Api, sampler: str) -> None:
    """It decides whether the services record it, though these by themselves begin none."""
    product = calls.new_product(1)
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": traced.collector.endpoint, "OTEL_TRACES_SAMPLER": sampler}
    done = subprocess.run(
        [sys.executable, "-m", "ordersys.grpc_client", "--json", "place", f"{product}=1", "--customer", "anna"],
        env={**os.environ, **traced.system.environment, **asked},
        check=True,
        capture_output=True,
    )
    order = json.loads(done.stdout)["id"]
    if sampler == "always_on":
        saga = eventually(lambda: [s for s in traced.collector.spans() if order in s.attributes.values()])[0]
        spans = traced.collector.wait(saga.trace, [PLACED, *PLACEMENT])
        assert_connected(spans, Root(saga.trace, only(spans, PLACED).parent))
    else:
        after = root()
        place(calls, placing({calls.new_product(1): 1}), after)
        traced.collector.wait(after.trace, [PLACED, *PLACEMENT])
        assert not [span for span in traced.collector.spans() if order in str(span.attributes)]


@contextmanager
def dying(traced: Traced, name: str, point: str) -> Iterator[None]:
    """A service that kills itself at that point; afterwards it runs as before."""
    service = traced.system.services[name]
    service.stop()
    environment = {**os.environ, **traced.system.environment, **traced.settings, VARIABLE: point}
    with (
        subprocess.Popen([sys.executable, "-m", f"ordersys.{name}"], env=environment, stdout=subprocess.DEVNULL) as it,
        grpc.insecure_channel(service.address, RECONNECTING) as channel,
    ):
        try:
            eventually(lambda: serves(health_pb2_grpc.HealthStub(channel)))
            yield
            assert it.wait(SECONDS) == -signal.SIGKILL
        finally:
            it.kill()
    service.start()
    service.wait_healthy()


def serves(health: health_pb2_grpc.HealthStub) -> bool:
    """True where a process says SERVING; false while it can't be reached."""
    try:
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)  # type: ignore[attr-defined]
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("product_service", "placement.begun"),
        ("product_service", "placement.called"),
        ("order_service", "order.created"),
        ("order_service", "outbox.published"),
        ("notification_service_1", "consumer.delivered"),
        ("notification_service_1", "consumer.recorded"),
        ("notification_service_2", "consumer.delivered"),
        ("notification_service_2", "consumer.recorded"),
    ],
)
def test_an_order_stays_connected_when_a_service_is_killed(traced: Traced, calls: Api, name: str, point: str) -> None:
    """kill -9 in its midst: what the process had not told is lost with it, and nothing else hangs on that.

    All that is told is of the client's trace, and beneath its span; both subscribers have processed the event.
    """
    of = root()
    request = placing({calls.new_product(1): 1})
    with dying(traced, name, point), suppress(grpc.RpcError):  # its service dies
        place(calls, request, of)
    eventually(lambda: answered(calls, request))
    spans = traced.collector.wait(of.trace, ["saga place_order", *FROM_ORDER_ON, *PROCESSED])
    # A subscriber may have told of its commit, and not of the delivery, which ends later, when it is killed in between.
    cut = [span for span in orphans(spans, of) if (span.name, span.service) == ("record", name.replace("_", "-"))]
    assert len(cut) <= (point == "consumer.recorded")
    whole = [span for span in spans if span not in cut]
    assert_connected(whole, of)
    (created,) = {span.span for span in whole if span.name == f"create {CREATED}"}
    assert {span.parent for span in whole if span.name in PROCESSED} == {created}
    assert {span.service for span in whole if span.name == "record"} == {f"notification-service-{n}" for n in (1, 2)}


def test_a_service_that_is_called_without_a_trace_begins_one_where_the_sampler_says_so(tmp_path: Path) -> None:
    """The root decides, by the standard settings; its spans are of that service by its name."""
    with collecting() as collector:
        settings = {**KNOWN_AT_ONCE, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        with order_service(tmp_path / "data", **settings) as service:
            service.create()
            assert service.stop() == 0
        (called,) = [span for span in collector.spans() if span.kind == "SERVER"]
        assert (called.parent, called.service) == ("", "order-service")
        assert {span.trace for span in collector.spans() if span.name == "create"} == {called.trace}


def silent() -> None:
    """Answers after a minute, long after the test."""
    time.sleep(60)


def slow() -> None:
    """Answers after longer than anything here may take."""
    time.sleep(2 * SLOW_SECONDS)


@pytest.mark.parametrize("trouble", ["away", "silent", "slow"])
def test_a_collector_in_trouble_changes_no_answer_and_no_stop_time(tmp_path: Path, trouble: str) -> None:
    """No call waits for it, and the process ends little later; the log says once what is lost, of spans and metrics."""
    with collecting(silent if trouble == "silent" else slow) as collector:
        endpoint = "http://127.0.0.1:1" if trouble == "away" else collector.endpoint
        telemetry = {
            **KNOWN_AT_ONCE,
            **METRICS_TOO,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        with order_service(tmp_path / "with", **telemetry) as service:
            assert max(call_seconds(service) for _ in range(100)) < SLOW_SECONDS
            if trouble == "away":
                eventually(lambda: service.says("spans can't be exported"))
                eventually(lambda: service.says("metrics can't be exported"))
            assert max(call_seconds(service) for _ in range(100)) < SLOW_SECONDS  # something waits when it is to end
            # Without a broker the relay ends at once or after its time, as it just tries to connect or does not.
            assert stop_seconds(service) < relay._CLOSE_SECONDS + SLOW_SECONDS


def call_seconds(service: OrderService) -> float:
    """The time that a call takes, which is answered."""
    began = time.monotonic()
    order = service.create()
    took = time.monotonic() - began
    assert service.has(order)
    return took


def stop_seconds(service: OrderService) -> float:
    """The time in which it ends, in good order."""
    began = time.monotonic()
    assert service.stop() == 0
    return time.monotonic() - began


def test_nothing_of_opentelemetry_is_loaded_where_nobody_asks(tmp_path: Path) -> None:
    """Not even where it is installed: it costs memory, and time at the start."""
    program = (
        "import sys; from ordersys.order_service import __main__\n"
        "from ordersys.runtime.tracing.starting import recording\n"
        "with recording('x'): print(sorted(m for m in sys.modules if m.startswith('opentelemetry')))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
