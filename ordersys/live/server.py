"""The web server of the page: on this machine alone, for whoever has its key.

All of it is for reading but two kinds of POST: spans, from whoever has the key for them (traces_web.py), and what is to
be broken, from whoever has the token for that, where `breaking` is on (breaking.py).

Loopback is shared by all users of a machine, and by every web page that its browsers show. So there is a key, which is
made at random for each run and is nowhere on the disk. It stands in the link behind `#`: that part of an address is
sent to no server, and no other page is told it as a referrer. The page takes it out of the address, and shows it with
each request. A request for another host is refused: by DNS rebinding a foreign page could else read what this one may.
"""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple

import grpc
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ordersys.contract.addresses import Address
from ordersys.live.board import Board, Crowded
from ordersys.live.breaking import PATH as BREAKING
from ordersys.live.breaking import Breaking
from ordersys.live.snapshot import Document
from ordersys.live.traces_web import PATH as TRACES
from ordersys.live.traces_web import TraceRoutes
from ordersys.local.live_link import link, new_key
from ordersys.local.ports import LOOPBACK

_log = logging.getLogger(__name__)
MOST_MALFORMED = 5
"""Malformed requests that are logged in a minute: anybody on the machine can send any number of them."""
_MINUTE_SECONDS = 60.0
_MALFORMED = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
_METHODS = ("GET", "HEAD")
_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}
_FILES = (
    *("index.html", "style.css", "breaking.css", "waterfall.css", "icon.svg"),
    *("main.js", "stream.js", "flow.js", "lists.js", "verdict.js", "dom.js", "breaking.js", "waterfall.js"),
)
_POLICY = "Content-Security-Policy"
_HEADERS = {
    _POLICY: ("default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_OF_CONTRACT = "frame-ancestors 'none'"
"""Of the page of the contract, which has a policy of its own in it. Of two the stricter one counts."""
_RETRY_MILLISECONDS = 1000
_PACE_SECONDS = 0.25
_STILL_HERE_SECONDS = 15.0
_SLOW_SECONDS = 10.0
"""A page that takes nothing for so long is dropped; it comes back by itself, and gets the state of then."""
_STOP_SECONDS = 1.0
Details = Callable[[str], Awaitable[Document]]
"""Reads an order with all that was recorded of it. Raises AioRpcError."""


class _Static(NamedTuple):
    content_type: str
    octets: bytes


class _RequestLog(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp, in which a malformed request would be a traceback with the words of who sent it."""

    def __init__(self) -> None:
        super().__init__(_log, {})
        self._minute = time.monotonic()
        self._logged = self._left_out = 0

    def exception(self, msg: object, *args: object, exc_info: Any = True, **others: Any) -> None:
        """Logs an error; one of a malformed request as a line, if there were few in this minute."""
        if not isinstance(exc_info, _MALFORMED):
            super().exception(msg, *args, exc_info=exc_info, **others)
            return
        now = time.monotonic()
        if now - self._minute >= _MINUTE_SECONDS:
            self._minute, self._logged = now, 0
        if self._logged >= MOST_MALFORMED:
            self._left_out += 1
            return
        before = f"; {self._left_out:,} more before it" if self._left_out else ""
        _log.warning("a malformed HTTP request was refused: %s%s", type(exc_info).__name__, before)
        self._logged, self._left_out = self._logged + 1, 0


class Server:
    """Serves the page from `board`, on a port of the loopback interface."""

    def __init__(self, board: Board, details: Details, port: int, key: str, traces_key: str = "") -> None:
        """`traces_key` is for programs that send spans and read waterfalls; by default nobody knows it."""
        self._board, self._details = board, details
        self._breaking: Breaking | None = None
        self._port, self._key = port, key
        self._static = dict(_read_static())
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/", self._page)
        app.router.add_get("/contract", self._contract)
        app.router.add_get("/{name}", self._page)
        app.router.add_get("/live/events", self._stream)
        app.router.add_get("/live/orders/{order}", self._order)
        TraceRoutes(details, self._knows_key, traces_key or new_key()).add_to(app)
        app.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,  # requests have the key in them
            logger=_RequestLog(),
            shutdown_timeout=_STOP_SECONDS,
            auto_decompress=False,  # which knows no bound
            handler_cancellation=True,  # a stream that was closed is no reader any more, though nothing is written
        )

    def allow(self, breaking: Breaking) -> None:
        """Has it pass on what somebody wants broken; to be called before `start`."""
        self._breaking = breaking
        self._runner.app.router.add_post(BREAKING, breaking.handle)

    async def start(self) -> None:
        """Listens. Raises OSError."""
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port, reuse_address=True).start()
        (self._port,) = {address[1] for address in self._runner.addresses}

    async def stop(self) -> None:
        """Ends all streams and stops to listen."""
        self._board.close()
        await self._runner.cleanup()

    @property
    def link(self) -> str:
        """The address of the page, with its key. Whoever has it may look."""
        return link(Address(LOOPBACK, self._port), self._key, self._breaking.token if self._breaking else "")

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.headers.get("Host", "").lower() not in {f"{LOOPBACK}:{self._port}", f"localhost:{self._port}"}:
            return web.Response(status=421, text=f"this is {LOOPBACK}:{self._port}, and nobody else\n")
        may_change = self._breaking is not None and self._breaking.expects(request)
        if request.method not in _METHODS and request.path != TRACES and not may_change:
            return web.Response(status=405, headers={"Allow": ", ".join(_METHODS)}, text="this page only reads\n")
        return await handler(request)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """The files of the page, for everybody: they hold nothing of the system."""
        static = self._static.get(request.match_info.get("name", "index.html"))
        if static is None:
            return web.Response(status=404, text="there is no such page\n")
        return web.Response(body=static.octets, content_type=static.content_type, charset="utf-8")

    async def _contract(self, request: web.Request) -> web.StreamResponse:
        """The contract to read; it is public."""
        page = (files("ordersys.api") / "contract.html").read_bytes()
        headers = {_POLICY: _OF_CONTRACT}
        return web.Response(body=page, content_type=_TYPES["html"], charset="utf-8", headers=headers)

    async def _order(self, request: web.Request) -> web.StreamResponse:
        if not self._knows_key(request):
            return _refused()
        try:
            document = await self._details(request.match_info["order"])
        except grpc.aio.AioRpcError as error:
            missing = error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
            return web.json_response({"error": error.details() or error.code().name}, status=404 if missing else 503)
        return web.json_response(document)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Server-Sent Events: all sections first, or those that have changed since the browser was here before."""
        if not self._knows_key(request):
            return _refused()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        try:
            with self._board.reader():
                await response.prepare(request)
                if request.method != "HEAD":
                    await self._send(request, response)
        except Crowded:
            return web.Response(status=503, headers={"Retry-After": "5"}, text="too many pages are open; close one\n")
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        number = self._board.number(request.headers.get("Last-Event-ID", ""))
        text = f"retry: {_RETRY_MILLISECONDS}\n\n"
        with suppress(ConnectionError):
            while not self._board.closed:
                try:
                    async with asyncio.timeout(_SLOW_SECONDS):
                        await response.write(text.encode())
                except TimeoutError:
                    if request.transport is not None:
                        request.transport.abort()
                    return
                await asyncio.sleep(_PACE_SECONDS)
                change = await self._board.after(number, _STILL_HERE_SECONDS)
                number = change.number
                data = json.dumps(change.sections, separators=(",", ":"))
                text = f"id: {self._board.name(number)}\ndata: {data}\n\n" if change.sections else ": still here\n\n"

    def _knows_key(self, request: web.Request) -> bool:
        """The key is part of the query: an EventSource can send no header of its own."""
        given = request.query.get("key", "").encode(errors="surrogateescape")
        return hmac.compare_digest(given, self._key.encode())


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update({name: value for name, value in _HEADERS.items() if name not in response.headers})
    response.headers.popall("Server", None)


def _read_static() -> Mapping[str, _Static]:
    folder = files("ordersys.live") / "static"
    return {name: _Static(_TYPES[name.rpartition(".")[2]], (folder / name).read_bytes()) for name in _FILES}


def _refused() -> web.Response:
    return web.Response(status=403, text="open the link that was printed when the page was started: it has the key\n")
