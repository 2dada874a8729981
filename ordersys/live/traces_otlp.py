"""OTLP, the protocol that spans come by: its messages read down to what is held and shown.

The one module of the page that knows opentelemetry-proto, which comes with the extra.
"""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from ordersys.live.traces import Received
from ordersys.live.traces_waterfall import Span, Value, order_of

MOST_BYTES = 8 * 1024 * 1024
"""Of a request, before and after decompression: far more than the 512 spans that an exporter sends at a time."""
MOST_SPANS = 20_000
"""Of a request; resources and scopes count alike. Empty ones take two bytes on the wire, and much more here."""
MOST_SPAN_BYTES = 256 * 1024
_TRACE_BYTES, _SPAN_BYTES = 16, 8
_LATEST = 2**63 - 1
_LONGEST = 200
_SERVICE = "service.name"


class Malformed(Exception):
    """A request that is none."""


class TooLarge(Exception):
    """A request of more than MOST_BYTES, or MOST_SPANS."""


def unpacked(octets: bytes) -> bytes:
    """The octets that gzip packed, in one member or more; of what unpacks to too much no more is unpacked than that.

    Raises Malformed, TooLarge.
    """
    if not octets:
        raise Malformed("the gzip in the body ends too soon")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(octets)) as members:
            plain = members.read(MOST_BYTES + 1)
    except EOFError as error:
        raise Malformed("the gzip in the body ends too soon") from error
    except (OSError, zlib.error) as error:
        raise Malformed("the body is not gzip, or not gzip alone, as Content-Encoding says") from error
    if len(plain) > MOST_BYTES:
        raise TooLarge
    return plain


def received(octets: bytes) -> tuple[Sequence[Received], int]:
    """The spans of a request, and the number of those that can't be held: without ids, or too large.

    Raises Malformed, TooLarge.
    """
    try:
        request = ExportTraceServiceRequest.FromString(octets)
    except DecodeError as error:
        raise Malformed("the body is no ExportTraceServiceRequest") from error
    if _count(request) > MOST_SPANS:
        raise TooLarge
    sent = [list(_spans(of_resource)) for of_resource in request.resource_spans]
    held = [span for spans in sent for span in spans if span is not None]
    return held, sum(map(len, sent)) - len(held)


def answer(refused: int) -> bytes:
    """The answer to a request; of spans that were refused it tells the number."""
    response = ExportTraceServiceResponse()
    if refused:
        response.partial_success.rejected_spans = refused
        response.partial_success.error_message = "spans without ids, too large, or too many of one trace"
    return response.SerializeToString()


def span(held: Received) -> Span:
    """The span that is held."""
    message = trace_pb2.Span.FromString(held.octets)
    start = min(message.start_time_unix_nano, _LATEST)
    return Span(
        message.trace_id.hex(),
        message.span_id.hex(),
        message.parent_span_id.hex(),
        held.service,
        message.name,
        _kind(message.kind),
        start,
        max(start, min(message.end_time_unix_nano, _LATEST)),
        _values(message.attributes),
        [(link.trace_id.hex(), link.span_id.hex()) for link in message.links],
        message.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
    )


def _count(request: ExportTraceServiceRequest) -> int:
    """The number of spans with that of resources and scopes; of too many no more are looked at."""
    count = len(request.resource_spans)
    if count > MOST_SPANS:
        return count
    count += sum(len(of_resource.scope_spans) for of_resource in request.resource_spans)
    if count > MOST_SPANS:
        return count
    scopes = (of_scope for of_resource in request.resource_spans for of_scope in of_resource.scope_spans)
    return count + sum(len(of_scope.spans) for of_scope in scopes)


def _spans(of_resource: trace_pb2.ResourceSpans) -> Iterator[Received | None]:
    """Its spans; None in the place of one that can't be held."""
    service = str(_values(of_resource.resource.attributes).get(_SERVICE, ""))[:_LONGEST]
    for of_scope in of_resource.scope_spans:
        yield from (_received(span, service) if _is_whole(span) else None for span in of_scope.spans)


def _received(span: trace_pb2.Span, service: str) -> Received:
    return Received(
        span.trace_id,
        span.span_id,
        service,
        span.SerializeToString(),
        [order] if (order := order_of(_values(span.attributes))) else [],
        [other for other in dict.fromkeys(link.trace_id for link in span.links) if other != span.trace_id],
    )


def _is_whole(span: trace_pb2.Span) -> bool:
    ids = len(span.trace_id) == _TRACE_BYTES and len(span.span_id) == _SPAN_BYTES
    return ids and any(span.trace_id) and any(span.span_id) and span.ByteSize() <= MOST_SPAN_BYTES


def _kind(kind: "trace_pb2.Span.SpanKind.ValueType") -> str:
    if kind not in trace_pb2.Span.SpanKind.values():
        return "unspecified"
    return trace_pb2.Span.SpanKind.Name(kind).removeprefix("SPAN_KIND_").lower()


def _values(attributes: Iterable[KeyValue]) -> Mapping[str, Value]:
    """Attributes that have one value: what is a list, a map or octets is left out."""
    values: dict[str, Value] = {}
    for each in attributes:
        field = each.value.WhichOneof("value")
        if field in ("string_value", "bool_value", "int_value", "double_value"):
            values[each.key] = getattr(each.value, field)
    return values
