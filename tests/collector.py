"""A collector of spans and metrics for tests: OTLP over HTTP; it may be slow, or say nothing at all."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1 import trace_pb2

_POLL_SECONDS = 0.05
Value = str | int


class Link(NamedTuple):
    """A link of a span."""

    trace: str
    span: str
    attributes: Mapping[str, Value]


class Span(NamedTuple):
    """A span as it was exported; ids in hexadecimal, times in nanoseconds since 1970."""

    service: str
    name: str
    kind: str
    trace: str
    span: str
    parent: str
    start: int
    end: int
    attributes: Mapping[str, Value]
    links: Sequence[Link]
    is_error: bool

    @property
    def context(self) -> tuple[str, str]:
        """Its trace and itself, as links name it."""
        return self.trace, self.span


class Export(NamedTuple):
    """The metrics of a process as they were exported, with what it says of itself."""

    resource: Mapping[str, Value]
    metrics: Sequence[Metric]


class Collector:
    """Collects spans and metrics at `endpoint`. `answer` is called before each answer: it may take its time."""

    def __init__(self, answer: Callable[[], object]) -> None:
        collector = self
        self._spans: list[Span] = []
        self.exports: list[Export] = []
        """All metrics that came, the newest last."""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer()
                said: ExportTraceServiceResponse | ExportMetricsServiceResponse
                if self.path.endswith("/v1/metrics"):
                    collector.exports += _exports(ExportMetricsServiceRequest.FromString(body))
                    said = ExportMetricsServiceResponse()
                else:
                    collector._spans += _spans(ExportTraceServiceRequest.FromString(body))
                    said = ExportTraceServiceResponse()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(said.SerializeToString())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self, trace: str = "") -> list[Span]:
        """The spans of a trace, or all, as they have come so far."""
        return [span for span in list(self._spans) if trace in ("", span.trace)]

    def wait(self, trace: str, names: Sequence[str], seconds: float = 30.0) -> list[Span]:
        """The spans of a trace, once there are that many of those names; others may be among them."""
        until = time.monotonic() + seconds
        while True:
            spans = self.spans(trace)
            left = list(names)
            for span in spans:
                if span.name in left:
                    left.remove(span.name)
            if not left:
                return spans
            assert time.monotonic() < until, f"{left} have not come: {sorted(span.name for span in spans)}"
            time.sleep(_POLL_SECONDS)


@contextmanager
def collecting(answer: Callable[[], object] = lambda: None) -> Iterator[Collector]:
    """A collector, until the end of the block."""
    collector = Collector(answer)
    thread = threading.Thread(target=collector.server.serve_forever, args=(_POLL_SECONDS,))
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        service = str(_values(of_resource.resource.attributes).get("service.name", ""))
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    service,
                    span.name,
                    trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _values(span.attributes),
                    [Link(link.trace_id.hex(), link.span_id.hex(), _values(link.attributes)) for link in span.links],
                    span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                )


def _exports(request: ExportMetricsServiceRequest) -> Iterator[Export]:
    for of_resource in request.resource_metrics:
        metrics = [metric for of_scope in of_resource.scope_metrics for metric in of_scope.metrics]
        yield Export(_values(of_resource.resource.attributes), metrics)


def _values(attributes: Sequence[KeyValue]) -> Mapping[str, Value]:
    return {each.key: each.value.string_value or each.value.int_value for each in attributes}
