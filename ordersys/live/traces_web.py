"""The receiver of spans, and the waterfalls made of them, as routes of the page's server.

Spans come by OTLP over HTTP, as any service in any language exports them, and with a key of their own: what holds the
key may add spans and read waterfalls, and nothing else of the page. Answers to exporters, errors among them, are those
of the protocol (OTLP 1.x, "OTLP/HTTP Response"): `google.rpc.Status` in protobuf.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
from aiohttp import web
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from ordersys.live import traces_waterfall
from ordersys.live.traces import Received, Traces

try:
    from ordersys.live import traces_otlp
except ImportError:  # the page was installed without it: it works, and says how to get waterfalls
    traces_otlp = None  # type: ignore[assignment]

PATH = "/v1/traces"
_PROTOBUF = "application/x-protobuf"
_PLAIN, _GZIP = "identity", "gzip"
_BEARER = "bearer"
_MOST_WAITING_BYTES = 32 * 1024 * 1024
"""Of the requests that wait to be read, with the one that is: four of the largest, some hundreds of exporters."""
_REQUEST_BYTES = 64 * 1024  # that each counts beside its body: small ones may not be without number
_AGAIN_SECONDS = 1
_MOST_TRACES = 20
"""Of one order, the newest: one for each change of it."""
_MOST_LINKED = 200
"""Traces that are linked with one: each is read whole. An order alone has some ten, its waterfall 500 rows at most."""
_INSTALL = "pip install 'ordersys[live]', or from a clone pip install '.[live]'"
_MISSING = f"no waterfall: opentelemetry-proto is missing; {_INSTALL}"
_SILENT = (
    "no waterfall: no service has sent a span since {began:%Y-%m-%d %H:%M:%S} UTC, when this page began; what was"
    " before is gone. `ordersys.local --live` has its services send some where the SDK of OpenTelemetry is installed"
    f" ({_INSTALL}) and no OTEL_ variable says otherwise"
)
_NOT_HELD = (
    "the trace of this order is not held here: it was not sampled, is on its way, or went as newer ones came. This page"
    " holds spans since {began:%Y-%m-%d %H:%M:%S} UTC; what was before is gone"
)
Details = Callable[[str], Awaitable[object]]
KnowsKey = Callable[[web.Request], bool]


class _Busy(Exception):
    """Too much waits to be read."""


class TraceRoutes:
    """Takes spans in, and tells the waterfall of an order. `details` raises AioRpcError where there is no order."""

    def __init__(self, details: Details, knows_key: KnowsKey, key: str) -> None:
        self._details, self._knows_key, self._key = details, knows_key, key
        self._traces = Traces()
        self._began = datetime.now(UTC)
        self._reader = ThreadPoolExecutor(1, "spans")
        """Reads requests, one at a time: a large one takes seconds, in which the page goes on."""
        self._waiting = 0
        """Bytes of the requests that it has not read yet."""

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        app.router.add_post(PATH, self._receive)
        app.router.add_get("/live/orders/{order}/trace", self._waterfall)
        app.on_cleanup.append(self._stop)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if not self._knows_bearer(request):
            return _refusal(401, Code.UNAUTHENTICATED, "the key of the traces is missing: authorization=Bearer KEY")
        if traces_otlp is None:
            return _refusal(501, Code.UNIMPLEMENTED, _MISSING)
        encoding = request.headers.get("Content-Encoding", _PLAIN).strip().lower()
        if request.content_type != _PROTOBUF or encoding not in (_PLAIN, _GZIP):
            return _refusal(415, Code.INVALID_ARGUMENT, f"the body has to be {_PROTOBUF}, as it is or packed by gzip")
        return await self._take(request, encoding == _GZIP)

    async def _take(self, request: web.Request, is_packed: bool) -> web.Response:
        try:
            octets = await _body(request, traces_otlp.MOST_BYTES)
            spans, refused = await self._read(octets, is_packed)
        except _Busy:
            refusal = _refusal(503, Code.UNAVAILABLE, "too many spans wait to be read; send these again")
            refusal.headers["Retry-After"] = str(_AGAIN_SECONDS)
            return refusal
        except traces_otlp.TooLarge:
            most = f"{traces_otlp.MOST_BYTES:,} bytes, or {traces_otlp.MOST_SPANS:,} spans"
            return _refusal(413, Code.RESOURCE_EXHAUSTED, f"the body has more than {most}; send fewer spans at a time")
        except traces_otlp.Malformed as error:
            return _refusal(400, Code.INVALID_ARGUMENT, str(error))
        refused += self._traces.add(spans, time.monotonic())
        return web.Response(body=traces_otlp.answer(refused), content_type=_PROTOBUF)

    async def _read(self, octets: bytes, is_packed: bool) -> tuple[Sequence[Received], int]:
        """The spans of a request, and the number of those refused. Raises _Busy, and what traces_otlp does."""
        size = len(octets) + _REQUEST_BYTES
        if self._waiting and self._waiting + size > _MOST_WAITING_BYTES:
            raise _Busy
        self._waiting += size
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, _received, octets, is_packed)
        finally:
            self._waiting -= size

    async def _stop(self, app: web.Application) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _waterfall(self, request: web.Request) -> web.StreamResponse:
        if not self._knows_key(request) and not self._knows_bearer(request):
            text = "the key is missing: open the link that was printed, or use `ordersys trace`"
            return web.json_response({"error": text, "reason": "REFUSED"}, status=403)
        order = request.match_info["order"]
        if document := self._document(order.lower()):
            return web.json_response(document)
        if traces_otlp is None:
            return self._none("EXTRA_MISSING", _MISSING)
        try:
            await self._details(order)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                return self._none("ORDER_NOT_FOUND", error.details() or error.code().name)
        reason, text = ("TRACE_NOT_HELD", _NOT_HELD) if len(self._traces) else ("NO_TRACES", _SILENT)
        return self._none(reason, text.format(began=self._began))

    def _none(self, reason: str, text: str) -> web.Response:
        """No waterfall, which is no error of the request: a page that waits for one asks again and again."""
        return web.json_response({"error": text, "reason": reason, "held": len(self._traces), "traces": []})

    def _document(self, order: str) -> dict[str, Any] | None:
        """The waterfalls of an order, the oldest first; None where no trace of it is held."""
        traces = self._traces
        held = traces.of_order(order)
        if not held:
            return None
        waterfalls = [self._of_trace(order, trace) for trace in held[-_MOST_TRACES:]]
        return {
            "order": order,
            "quiet": max(int((time.monotonic() - max(map(traces.heard, held))) * 1000), 0),
            "traces": sorted(waterfalls, key=lambda waterfall: waterfall["began"]),
        }

    def _of_trace(self, order: str, trace: bytes) -> dict[str, Any]:
        own = [traces_otlp.span(held) for held in self._traces.spans(trace)]
        others = self._traces.linked(trace)
        shown = others[:_MOST_LINKED]
        linked = [traces_otlp.span(held) for other in shown for held in self._traces.spans(other)]
        counts = {"linked": len(shown), "omitted_linked": len(others) - len(shown)}
        return {**traces_waterfall.waterfall(order, own, linked), **counts}

    def _knows_bearer(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != _BEARER:
            return False
        key = given.strip(" ").encode(errors="surrogateescape")  # octets as they came, which may be no UTF-8
        return hmac.compare_digest(key, self._key.encode())


def _received(octets: bytes, is_packed: bool) -> tuple[Sequence[Received], int]:
    """The same, as the thread reads it."""
    return traces_otlp.received(traces_otlp.unpacked(octets) if is_packed else octets)


async def _body(request: web.Request, most: int) -> bytes:
    """The body, as far as it is not larger than `most`. Raises TooLarge."""
    if (request.content_length or 0) > most:
        raise traces_otlp.TooLarge
    octets = bytearray()
    async for chunk in request.content.iter_any():
        octets += chunk
        if len(octets) > most:
            raise traces_otlp.TooLarge
    return bytes(octets)


def _refusal(status: int, code: "Code.ValueType", message: str) -> web.Response:
    """An error for an exporter."""
    body = Status(code=code, message=message).SerializeToString()
    return web.Response(status=status, body=body, content_type=_PROTOBUF)
