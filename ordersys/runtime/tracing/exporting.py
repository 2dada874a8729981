"""Spans on their way to a collector, by the SDK of OpenTelemetry.

Its variables are read by the SDK itself: the sampler, the batches, the resource, the endpoint and its headers. Spans
wait in a queue of bounded length and go by a thread of their own; whoever records one waits for nothing.
"""

import logging
import os
import threading
from importlib.metadata import PackageNotFoundError, version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, ParentBasedTraceIdRatio, Sampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ordersys.runtime.base import collectors
from ordersys.runtime.tracing.contexts import root_of
from ordersys.runtime.tracing.reporting import Reporting
from ordersys.runtime.tracing.spans import Kind, Span

_log = logging.getLogger(__name__)
_PACKAGE = __name__.partition(".")[0]
# Of the conventions whose names are used (rpc.status_code and the like, see docs/operations.md).
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.45.0"
_FLUSH_SECONDS = 1.0  # for what waits at the end: the SDK's own shutdown takes 8 to 10 s where a collector is away
# A window has up to 1000 events. The SDK keeps 128 links, the newest, and drops the others without a word.
_MOST_LINKS, _MOST_LINKS_VARIABLE = 1000, "OTEL_SPAN_LINK_COUNT_LIMIT"
_ROOM, _ROOM_VARIABLE = 2048, "OTEL_BSP_MAX_QUEUE_SIZE"  # spans that may wait, as by the conventions
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)  # as all that is recorded
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_KINDS = {kind: SpanKind[kind.name] for kind in Kind}
_BY_PARENT = (ParentBased, ParentBasedTraceIdRatio)
_REMOTE = frozenset({Kind.SERVER, Kind.CONSUMER})


class Exporting:
    """Takes the spans of the process of `service` to a collector, or to the standard output."""

    def __init__(self, service: str, console: bool) -> None:
        # Told once, in a sentence, by `Reporting`: the exporter would log each try.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._resource = _resource(service)
        self._scope = InstrumentationScope(_PACKAGE, _version(), _SCHEMA_URL)
        limits = SpanLimits() if os.environ.get(_MOST_LINKS_VARIABLE) else SpanLimits(max_links=_MOST_LINKS)
        self._most_links = limits.max_links
        # The sampler of the environment decides where a trace begins. Whatever is recorded here belongs to one that is
        # sampled, or to several of them.
        self._roots = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
        self._bound = _bound(self._roots)
        exporter: SpanExporter = (
            ConsoleSpanExporter() if console else OTLPSpanExporter(session=collectors.session("TRACES"))
        )
        room = _room()
        self._reporting = Reporting(exporter, room)
        self._waiting = BatchSpanProcessor(self._reporting, room)

    def record(self, span: Span) -> None:
        """Takes a span. Raises nothing: whoever records one is about to answer a call."""
        try:
            ended = self._ended(span)
            if self._reporting.admits():
                self._waiting.on_end(ended)
        except Exception:  # noqa: BLE001 - logged; what was done is done, whether it is told or not
            _log.exception("a span could not be recorded: %s", span.name)

    def _ended(self, span: Span) -> ReadableSpan:
        """A span as the SDK exports it.

        One that its tracer begins and ends takes three times as long: it has ended before anybody is told, so it needs
        no lock, no context and no sampler (docs/performance.md, "What metrics and traces cost").
        """
        links = span.links if self._most_links is None else span.links[max(0, len(span.links) - self._most_links) :]
        return ReadableSpan(
            name=span.name,
            context=_context(span.context),
            parent=_context(span.parent, span.kind in _REMOTE) if span.parent else None,
            resource=self._resource,
            attributes={**span.attributes, "error.type": span.error} if span.error else span.attributes,
            links=[Link(_context(link.context), link.attributes) for link in links],
            kind=_KINDS[span.kind],
            status=_ERROR if span.error else _UNSET,
            start_time=span.start,
            end_time=span.end,
            instrumentation_scope=self._scope,
        )

    def begun(self, name: str) -> str:
        """The context of a trace that begins with the span `name`; empty where none is to be recorded."""
        trace = os.urandom(16)
        return root_of(trace.hex()) if self._samples(int.from_bytes(trace), name) else ""

    def _samples(self, trace: int, name: str) -> bool:
        if self._bound is not None:
            return trace & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound
        return self._roots.should_sample(None, trace, name, SpanKind.SERVER).decision is Decision.RECORD_AND_SAMPLE

    def close(self) -> None:
        """Sends what waits, for a second at most; what is left is lost."""
        flushing = threading.Thread(target=self._waiting.shutdown, name="traces", daemon=True)
        flushing.start()
        flushing.join(_FLUSH_SECONDS)
        self._reporting.abandon()


def _room() -> int:
    """The spans that may wait, as the environment says. Raises ValueError where that is no number."""
    given = os.environ.get(_ROOM_VARIABLE, "").strip()
    try:
        return int(given or _ROOM)
    except ValueError:
        raise ValueError(f"{_ROOM_VARIABLE} is no number: {given!r}") from None


def _bound(sampler: Sampler) -> int | None:
    """A trace is sampled where the lower half of its id is less; None where the sampler itself has to be asked.

    Asked about each call of which one in a hundred is recorded, the SDK takes as long as all else a call pays for
    traces. The name of what decides about roots is not public: should it change, the sampler is asked. So is one that
    somebody has derived from these.
    """
    of_roots = getattr(sampler, "_root", None) if type(sampler) in _BY_PARENT else sampler
    return of_roots.bound if type(of_roots) is TraceIdRatioBased else None


def _resource(service: str) -> Resource:
    """The service, as the environment names it or else by its own name."""
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own = {} if named else {"service.name": service}
    return Resource.create({**own, "service.version": _version()})


def _version() -> str:
    """That of the installed package; a checkout that is run as it is has none."""
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return ""


def _context(context: str, remote: bool = False) -> SpanContext:
    _, trace, span, _ = context.split("-")
    return SpanContext(int(trace, 16), int(span, 16), remote, _SAMPLED)
