"""Spans: which are made, whose children they are, where they go; and that there are none where nobody asks."""

import logging
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult, TraceIdRatioBased

from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest
from ordersys.contract.events import EventMessage
from ordersys.contract.topology import Publication
from ordersys.product_service.saga import Saga, in_doubt
from ordersys.product_service.traces import record_ended, span_of
from ordersys.runtime.base import collectors
from ordersys.runtime.base.ids import TRACEPARENT, traceparent, uuid7
from ordersys.runtime.metrics import instruments
from ordersys.runtime.metrics.table import SPANS_DROPPED
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Fate, PublishResult
from ordersys.runtime.rabbitmq.messages import RawProperties, of_event
from ordersys.runtime.rabbitmq.traces import creation_context, published
from ordersys.runtime.rpc.traces import UNTRACED, calling, calling_for, carried, own_span, traced
from ordersys.runtime.storage.errors import StorageUnavailable
from ordersys.runtime.storage.traces import Written, committed, step
from ordersys.runtime.tracing import spans
from ordersys.runtime.tracing.contexts import child, is_sampled, new_root, relative
from ordersys.runtime.tracing.exporting import Exporting
from ordersys.runtime.tracing.spans import Kind, Link, Part, Span
from ordersys.runtime.tracing.starting import chosen, recording
from tests.collector import collecting

METHOD = "package.Service/Method"
SECONDS = 20.0
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
CONTEXTS = st.builds(
    lambda trace, span, flag: f"00-{trace:032x}-{span:016x}-0{flag}",
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.integers(0, 1),
)


class Recorded:
    """A recorder that keeps what it is given; `begins` says whether it begins traces."""

    def __init__(self, begins: bool = False) -> None:
        self.spans: list[Span] = []
        self.begins = begins

    def record(self, span: Span) -> None:
        self.spans.append(span)

    def begun(self, name: str) -> str:
        return new_root() if self.begins else ""


class Carrying:
    """The context of a call that carries these trace contexts, and ends with that code."""

    def __init__(self, *texts: str, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        self._texts = texts
        self._code = code

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("other", "x"), *((TRACEPARENT, text) for text in self._texts)]

    def code(self) -> grpc.StatusCode:
        return self._code


class Outgoing:
    """An event of a trace, and where it goes."""

    def __init__(self, context: str) -> None:
        self.event = EventMessage(f"{secrets.token_hex(4)}.1", "t", "s", "order", 1_000_000, context, b"")
        self.to = Publication("orders.created", "order.created", "p")


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A recorder that begins no trace by itself."""
    recorder = Recorded()
    spans.record_by(recorder)
    yield recorder
    spans.record_by(None)


@given(CONTEXTS, st.text())
def test_a_relative_leads_back_and_stays_in_its_trace(context: str, name: str) -> None:
    """One of the two, found in a row, tells the other."""
    other = relative(context, name)
    assert relative(other, name) == context
    assert (other[:36], other[52:]) == (context[:36], context[52:])
    assert traceparent(other) == other != context


def test_two_things_of_one_trace_are_different_spans() -> None:
    """The orders of a batch have one parent."""
    context = new_root()
    assert len({relative(context, str(number)) for number in range(1000)}) == 1000
    assert is_sampled(context)
    assert is_sampled(child(context))


def test_where_nothing_is_recorded_contexts_go_on_as_they_are(recorded: Recorded) -> None:
    """So nothing has a parent that nobody records."""
    context = new_root()
    unsampled = traceparent()
    assert spans.outliving(unsampled, "id") == unsampled
    assert spans.outliving(context, "id") == relative(context, "id")
    spans.record_by(None)
    assert spans.outliving(context, "id") == context


def test_what_is_shared_and_each_part_of_it_are_linked(recorded: Recorded) -> None:
    """Both ways, and each part stays in its own trace."""
    parents = [new_root() for _ in range(3)]
    spans.record_shared(Span("all", Kind.INTERNAL, new_root(), "", 5, 9), [Part("part", parent) for parent in parents])
    whole, *parts = recorded.spans
    assert [link.context for link in whole.links] == [part.context for part in parts]
    assert [(part.parent, part.context[:36], part.start, part.end) for part in parts] == [
        (parent, parent[:36], 5, 9) for parent in parents
    ]
    assert all(part.links == (Link(whole.context),) for part in parts)


def test_a_commit_is_recorded_for_its_sampled_items_only(recorded: Recorded) -> None:
    """And not at all where there are none; a commit that failed says so."""

    @step("work", lambda item, _: [item])
    def operation(connection: Any, items: list[str]) -> list[str]:
        return items

    def unknown(connection: Any, items: list[str]) -> list[str]:
        return items

    unsampled, context = traceparent(), new_root()
    committed("owner", "sqlite", 1, [Written(operation, [unsampled], [None]), Written(unknown, [context], [None])])
    assert not recorded.spans
    failed = StorageUnavailable("full")
    committed("owner", "sqlite", 1, [Written(operation, [unsampled, context], [None, failed])])
    whole, part = recorded.spans
    assert (whole.name, whole.attributes) == ("commit owner", {"db.system.name": "sqlite", "ordersys.batch.items": 2})
    assert (part.name, part.parent, part.error) == ("work", context, "StorageUnavailable")


def test_a_commit_is_looked_at_only_where_spans_are_recorded_and_once(recorded: Recorded) -> None:
    """Each commit passes here; nothing is made for one without a sampled item, not even a list of what was written."""
    looked: list[str] = []

    def contexts(item: str, _: object) -> list[str]:
        looked.append(item)
        return [item]

    @step("work", contexts)
    def operation(connection: Any, items: list[str]) -> list[str]:
        return items

    def writes() -> Iterator[Written]:
        yield Written(operation, [traceparent(), traceparent()], [None, None])

    committed("owner", "sqlite", 1, writes())
    assert (len(looked), recorded.spans) == (2, [])
    spans.record_by(None)
    unused = writes()
    committed("owner", "sqlite", 1, unused)
    assert len(looked) == 2
    assert len(list(unused)) == 1


def saga(traceparent: str, call: str = "", resumed: bool = False) -> Saga:
    """A placement in a trace."""
    order_id = uuid7()
    return Saga("r", CreateOrderRequest(request_id=order_id, order_id=order_id), {}, traceparent, resumed, call)


def test_a_saga_is_beneath_its_call_or_beneath_what_that_was_a_child_of(recorded: Recorded) -> None:
    """Of one that another process has begun the call's span may be lost; nothing hangs on it then."""
    foreign = child(new_root())
    call, root = child(foreign), new_root()
    sagas = [saga(foreign, call), saga(foreign, resumed=True), saga(root, root), saga(root, resumed=True)]
    record_ended([*sagas, saga(traceparent()), saga(foreign)], [b"order"] * 5 + [in_doubt()])
    assert [span.context for span in recorded.spans] == [span_of(each) for each in sagas]
    assert [span.parent for span in recorded.spans] == [call, foreign, root, ""]
    assert [link.context for link in recorded.spans[-1].links] == [root]


async def _answered(_: object, context: Any) -> tuple[str | None, str]:
    if context.code() is not grpc.StatusCode.OK:
        raise grpc.aio.AbortError
    return carried(context), own_span()


async def test_a_sampled_call_has_a_span_beneath_its_callers(recorded: Recorded) -> None:
    """All it leads to is a child of the context that it carried, which outlives it."""
    context = new_root()
    lasting, own = await traced(f"/{METHOD}", _answered)(None, Carrying(context))  # type: ignore[arg-type]
    (span,) = recorded.spans
    assert (span.name, span.kind, span.context, span.parent) == (METHOD, Kind.SERVER, own, context)
    assert lasting == context
    assert span.attributes == {"rpc.system.name": "grpc", "rpc.method": METHOD, "rpc.status_code": "OK"}


@pytest.mark.parametrize(
    "texts",
    [
        ("00-{0}-{1}-00",),
        ("00-{0}-{1}-02",),
        ("00-{0}-{1}-fe",),
        ("01-{0}-{1}-02-more",),
        (),
        ("nonsense",),
        ("00-{0}-{1}-01-more",),
        ("00-{2}-{1}-01",),
    ],
)
async def test_a_call_that_is_not_sampled_has_none(recorded: Recorded, texts: tuple[str, ...]) -> None:
    """By bit 0 alone; nor one without a context that is one, unless the sampler begins a trace."""
    texts = tuple(text.format(secrets.token_hex(16), secrets.token_hex(8), "0" * 32) for text in texts)
    context: Any = Carrying(*texts)
    assert await traced(f"/{METHOD}", _answered)(None, context) == ((texts or (None,))[0], "")
    assert not recorded.spans


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
async def test_bit_0_alone_says_that_a_call_is_sampled(recorded: Recorded, flags: str) -> None:
    """OpenTelemetry sends 03 where the trace id is random."""
    context: Any = Carrying(f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{flags}")
    await traced(f"/{METHOD}", _answered)(None, context)
    assert len(recorded.spans) == 1


@pytest.mark.parametrize("texts", [(), ("nonsense",)])
async def test_a_call_without_a_trace_begins_one_where_it_is_sampled(
    recorded: Recorded, texts: tuple[str, ...]
) -> None:
    """Its own span is the root, and what it leads to is beneath that."""
    recorded.begins = True
    context: Any = Carrying(*texts)
    lasting, own = await traced(f"/{METHOD}", _answered)(None, context)
    (span,) = recorded.spans
    assert (span.parent, span.context) == ("", own)
    assert lasting == own


@pytest.mark.parametrize(
    ("code", "error"),
    [(grpc.StatusCode.FAILED_PRECONDITION, ""), (grpc.StatusCode.INTERNAL, "INTERNAL")],
)
async def test_a_refusal_is_no_error_of_the_server(recorded: Recorded, code: grpc.StatusCode, error: str) -> None:
    """By the conventions for RPCs."""
    context: Any = Carrying(new_root(), code=code)
    with pytest.raises(grpc.aio.AbortError):
        await traced(f"/{METHOD}", _answered)(None, context)
    (span,) = recorded.spans
    assert (span.attributes["rpc.status_code"], span.error) == (code.name, error)


async def test_where_nothing_is_recorded_a_call_costs_nothing() -> None:
    """Not even a function more."""
    assert traced(f"/{METHOD}", _answered) is _answered


def test_a_shared_call_begins_a_trace_only_for_sampled_orders(recorded: Recorded) -> None:
    """Else it says that nobody behind it need begin one."""
    with calling_for(f"/{METHOD}", [traceparent()]) as metadata:
        assert metadata == UNTRACED
    assert not recorded.spans
    context = new_root()
    with calling_for(f"/{METHOD}", [traceparent(), context]) as metadata:
        assert metadata is not None
    whole, part = recorded.spans
    assert metadata == ((TRACEPARENT, whole.context),)
    assert (part.name, part.parent) == ("call", context)
    spans.record_by(None)
    with calling_for(f"/{METHOD}", [context]) as metadata:
        assert metadata is None


def test_a_call_that_fails_says_how(recorded: Recorded) -> None:
    """To a client any status but OK is an error."""
    context = new_root()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
    with pytest.raises(grpc.aio.AioRpcError), calling(f"/{METHOD}", context, child(context)):
        raise error
    (span,) = recorded.spans
    assert (span.kind, span.parent, span.error) == (Kind.CLIENT, context, "UNAVAILABLE")


def test_an_event_is_made_once_it_is_published_and_each_try_is_told(recorded: Recorded) -> None:
    """Its span and its parent are those that stand in the row, whichever process publishes it."""
    parent = new_root()
    event = Outgoing("")
    event.event = event.event._replace(traceparent=relative(parent, event.event.event_id))
    published([event, Outgoing(traceparent())], [PublishResult(Fate.NACKED), CONFIRMED], 0.5)
    window, part = recorded.spans
    assert (window.name, part.parent, part.error) == ("publish", event.event.traceparent, "nacked")
    assert window.attributes["ordersys.nacked"] == 1
    assert window.attributes["messaging.batch.message_count"] == 2
    published([event], [CONFIRMED], 0.5)
    created = recorded.spans[2]
    assert (created.context, created.parent) == (event.event.traceparent, parent)
    assert created.kind is Kind.PRODUCER
    assert [link.context for link in window.links] == [created.context]


@pytest.mark.parametrize(
    ("context", "is_seen"),
    [("00-{0}-{1}-01", True), ("00-{0}-{1}-03", True), ("00-{0}-{1}-00", False), ("00-{2}-{1}-01", False)],
)
def test_a_delivery_is_sampled_by_its_creation_context(context: str, is_seen: bool) -> None:
    """As the header has it, which others may have written."""
    context = context.format(secrets.token_hex(16), secrets.token_hex(8), "0" * 32)
    event = Outgoing(context)
    properties = of_event(event.event, event.to).properties
    assert isinstance(properties, RawProperties)
    assert creation_context(properties.raw) == (traceparent(context) if is_seen else "")


@given(st.binary())
def test_any_properties_are_looked_through(raw: bytes) -> None:
    """They are written by anybody who may publish."""
    assert creation_context(raw) == ""
    assert creation_context(b"\x0btraceparentS\0\0\0\x37" + raw) == ""


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        (ENDPOINT, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, ""),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, "otlp"),
    ],
)
def test_the_environment_says_whether_spans_go_somewhere(environment: dict[str, str], exporter: str) -> None:
    """By the variables of OpenTelemetry."""
    assert chosen(environment) == exporter


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings in the log."""
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("missing", ["opentelemetry", "requests"])
def test_an_endpoint_without_the_sdk_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    """With the way out; the service runs all the same. Some releases of the exporters bring no `requests`."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for module in ("ordersys.runtime.tracing.exporting", "ordersys.runtime.base.collectors"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("ordersys.runtime.base.collectors")
    for module in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with recording("x"):
        assert not spans.is_on()
    (warning,) = warnings(caplog)
    assert missing in warning
    assert "is missing; pip install 'ordersys[otel]'" in warning


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_TRACES_EXPORTER": "zipkin"}, {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}],
)
def test_an_exporter_that_is_none_of_ours_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, environment: dict[str, str]
) -> None:
    """Nothing is sent to a port that speaks something else."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with recording("x"):
        assert not spans.is_on()
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "x"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
    ],
)
def test_what_the_sdk_refuses_costs_the_traces_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str
) -> None:
    """With a warning in a sentence."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    with recording("x"):
        assert not spans.is_on()
    (warning,) = warnings(caplog)
    assert "no traces are recorded: the SDK of OpenTelemetry refuses what its variables say" in warning


@pytest.mark.parametrize(("sampler", "begins"), [("always_on", True), ("parentbased_always_off", False)])
def test_the_sampler_of_the_environment_decides_at_the_root(
    monkeypatch: pytest.MonkeyPatch, sampler: str, begins: bool
) -> None:
    """All of a sampled trace is recorded whatever it says."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        with closing(Exporting("service", console=False)) as exporting:
            assert bool(exporting.begun("name")) is begins
            exporting.record(Span("name", Kind.SERVER, new_root(), new_root(), 1, 2))
        assert [span.name for span in collector.spans()] == ["name"]


def test_a_call_that_begins_no_trace_makes_nothing_of_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a draw: ninety-nine in a hundred are such."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with closing(Exporting("service", console=False)) as exporting:
        for made in ("SpanContext", "ReadableSpan", "TraceIdRatioBased.should_sample"):
            monkeypatch.setattr(f"ordersys.runtime.tracing.exporting.{made}", _refuse)
        begun = [exporting.begun("name") for _ in range(4000)]
        monkeypatch.undo()
    # Seven standard deviations of 27.
    assert abs(sum(map(bool, begun)) - 1000) < 190
    # The others who ask the SDK about the same trace decide the same.
    sampler = TraceIdRatioBased(0.25)
    decisions = {sampler.should_sample(None, int(context[3:35], 16), "").decision for context in begun if context}
    assert decisions == {Decision.RECORD_AND_SAMPLE}


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("made for a call that is not sampled")


@pytest.mark.parametrize("is_derived", [True, False])
def test_a_sampler_of_somebody_else_is_asked(monkeypatch: pytest.MonkeyPatch, is_derived: bool) -> None:
    """Though it is derived from the SDK's own, or has what those have."""

    class Derived(TraceIdRatioBased):
        def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
            return SamplingResult(Decision.DROP)

    class Parted(Derived):
        _root = TraceIdRatioBased(1.0)

    sampler = Derived(1.0) if is_derived else Parted(1.0)
    monkeypatch.setattr("opentelemetry.sdk.trace.sampling._get_from_env_or_default", lambda: sampler)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with closing(Exporting("service", console=False)) as exporting:
        assert exporting.begun("name") == ""


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_spans_for_this_machine_go_past_a_proxy(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Their headers may have a key."""
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.endpoint}/v1/traces")
        with closing(Exporting("service", console=False)) as exporting:
            exporting.record(Span("name", Kind.SERVER, new_root(), "", 1, 2))
        assert [span.name for span in collector.spans()] == ["name"]


@pytest.mark.parametrize(
    ("endpoint", "asks"),
    [
        ("", False),
        ("http://localhost:4318", False),
        ("http://127.3.2.1:4318", False),
        ("http://[::1]:4318", False),
        ("https://collector.example:4318", True),
        ("http://192.0.2.1", True),
        ("http://[oops", True),
    ],
)
def test_a_collector_elsewhere_is_found_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, asks: bool
) -> None:
    """Through its proxy, where there is one."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    assert collectors.session("METRICS").trust_env is asks


@pytest.mark.parametrize("length", ["", "content-length: 99999999999999\r\n", "transfer-encoding: chunked\r\n"])
def test_an_answer_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, length: str) -> None:
    """Nor kept: a collector is somebody else's. Its status is what counts."""
    came: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        came.append(connection.recv(65_536))
        connection.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        with suppress(OSError):  # hung up on, as it should be
            while not over.is_set():
                connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://{}:{}".format(*listening.getsockname()))
        exporter = OTLPSpanExporter(session=collectors.session("TRACES"))
        exporting = threading.Thread(target=lambda: results.append(exporter.export([])))
        results: list[SpanExportResult] = []
        exporting.start()
        try:
            with closing(listening.accept()[0]) as connection:
                talking = threading.Thread(target=talk, args=(connection,))
                talking.start()
                exporting.join(SECONDS)
                assert results == [SpanExportResult.SUCCESS]
                talking.join(SECONDS)
                assert not talking.is_alive()
        finally:
            over.set()


def test_a_short_answer_leaves_the_connection_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake for each export would cost more than the export."""
    clients = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            clients.add(self.client_address)
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
            exporter = OTLPSpanExporter(session=collectors.session("TRACES"))
            assert [exporter.export([]) for _ in range(3)] == [SpanExportResult.SUCCESS] * 3
            exporter.shutdown()  # type: ignore[no-untyped-call] # in the SDK
        finally:
            server.shutdown()
            serving.join()
    assert len(clients) == 1


def test_the_links_of_a_span_are_limited_by_the_variable_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest stay, as the SDK has it."""
    links = [Link(new_root()) for _ in range(5)]
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "2")
        with closing(Exporting("service", console=False)) as exporting:
            exporting.record(Span("name", Kind.CLIENT, new_root(), "", 1, 2, {}, links))
        (came,) = collector.spans()
    assert [link.span for link in came.links] == [link.context[36:52] for link in links[3:]]


def test_spans_that_find_no_collector_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """So an alert can tell."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    binder = instruments.switch_on("service")
    try:
        with closing(Exporting("service", console=False)) as exporting:
            for _ in range(3):
                exporting.record(Span("name", Kind.SERVER, new_root(), "", 1, 2))
        _, text = binder.exposed("")
        assert "ordersys_spans_dropped_total 3.0" in text.decode()
    finally:
        instruments.switch_off()


class Slow(SpanExporter):
    """An exporter that waits in each export until it is let go, and then does as it is told."""

    def __init__(self, *results: SpanExportResult | Exception) -> None:
        self.results = [*results]
        self.exported = 0
        self.asked = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.release()
        assert self.let_go.acquire(timeout=SECONDS)
        result = self.results.pop(0) if self.results else SpanExportResult.SUCCESS
        if isinstance(result, Exception):
            raise result
        self.exported += len(spans) if result is SpanExportResult.SUCCESS else 0
        return result


@pytest.fixture
def dropped() -> Iterator[Callable[[], float]]:
    """Metrics are on; the number of spans that were lost so far."""
    binder = instruments.switch_on("service")
    try:
        yield lambda: next(
            sample.value for metric, samples in binder.collected() if metric is SPANS_DROPPED for sample in samples
        )
    finally:
        instruments.switch_off()


def slowly(monkeypatch: pytest.MonkeyPatch, exporter: Slow, room: int) -> Exporting:
    """The spans of a process that go by `exporter`, eight at once."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(room))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setattr("ordersys.runtime.tracing.exporting.ConsoleSpanExporter", lambda: exporter)
    return Exporting("service", console=True)


def record(exporting: Exporting, count: int) -> None:
    """Records so many spans."""
    for _ in range(count):
        exporting.record(Span("name", Kind.SERVER, new_root(), "", 1, 2))


@pytest.mark.parametrize(
    "first", [SpanExportResult.SUCCESS, SpanExportResult.FAILURE, RuntimeError()], ids=["room", "collector", "exporter"]
)
def test_each_span_is_exported_or_counted_as_lost(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    dropped: Callable[[], float],
    first: SpanExportResult | Exception,
) -> None:
    """It had no room, nobody took it, or the exporter broke; said once, and once that it is over."""
    caplog.set_level(logging.INFO, "ordersys")
    exporter = Slow(first)
    with closing(slowly(monkeypatch, exporter, room=20)) as exporting:
        record(exporting, 8)
        assert exporter.asked.acquire(timeout=SECONDS)
        record(exporting, 100)
        assert dropped() == 80
        exporter.let_go.release(100)
    failed = 0 if first is SpanExportResult.SUCCESS else 8
    assert (exporter.exported, dropped()) == (28 - failed, 80 + failed)
    said = [entry.message for entry in caplog.records if entry.name.startswith("ordersys")]
    assert ["are lost" in message for message in said] == [True, False]
    assert said[-1] == f"spans are exported again; {80 + failed} were lost"


def test_what_is_not_exported_at_the_end_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, dropped: Callable[[], float]
) -> None:
    """With what is being exported just then: nobody waits to see whether it arrives."""
    exporter = Slow()
    with closing(slowly(monkeypatch, exporter, room=20)) as exporting:
        record(exporting, 12)
        assert exporter.asked.acquire(timeout=SECONDS)
    exporter.let_go.release(100)
    assert dropped() == 12
    assert warnings(caplog) == ["12 spans are lost: there was no time left to export them"]


def test_a_missing_part_of_the_package_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a folder says what else it needs."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delitem(sys.modules, "ordersys.runtime.tracing.exporting")
    monkeypatch.setitem(sys.modules, "ordersys.runtime.tracing.reporting", None)
    with pytest.raises(ImportError, match=r"ordersys\.runtime\.tracing\.reporting"), recording("x"):
        pass


def test_a_span_comes_to_the_collector_as_it_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, parent, times, and all links of a full window, of which the SDK by itself keeps 128."""
    parent = new_root()
    links = [Link(new_root(), {"messaging.message.id": str(number)}) for number in range(1000)]
    span = Span("name", Kind.CLIENT, child(parent), parent, 1000, 3000, {"a": "b", "n": 3}, links, "nacked")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "another-name")
        with closing(Exporting("service", console=False)) as exporting:
            exporting.record(span)
        (came,) = collector.spans()
    assert (came.service, came.name, came.kind, came.is_error) == ("another-name", "name", "CLIENT", True)
    assert f"00-{came.trace}-{came.span}-01" == span.context
    assert came.parent == parent[36:52]
    assert (came.start, came.end) == (1000, 3000)
    assert came.attributes == {"a": "b", "n": 3, "error.type": "nacked"}
    sent = [(link.context[36:52], link.attributes) for link in links]
    assert [(link.span, link.attributes) for link in came.links] == sent
