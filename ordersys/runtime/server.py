"""A gRPC server that holds every request against the contract before a servicer sees it.

Handlers come from the descriptors: bytes -> message -> rules -> servicer. Whatever goes wrong ends in a status
of the contract; what nobody foresaw in INTERNAL with an error id, never with a class name or a text of ours.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract import descriptors
from ordersys.contract.errors import Refused, invalid, refuse
from ordersys.contract.validation import violations
from ordersys.runtime.crash import crash_point
from ordersys.runtime.settings import Settings

_log = logging.getLogger(__name__)
_IDENTITY_ONLY = 1  # bit set of GRPC_COMPRESS_NONE: a compressed request could grow without bound
_STATUS_DETAILS = "grpc-status-details-bin"
_MOST_UNTAKEN_BYTES = 16 * 1024 * 1024
# What a client may take to speak HTTP/2 at all, and to send the request of a call it has begun.
_OPEN_MILLISECONDS = 5_000
_REQUEST_SECONDS = 5.0
_PING_MILLISECONDS = 30_000  # a peer that is silent for that long is asked whether it is still there
_PONG_MILLISECONDS = 10_000
_AGE_MILLISECONDS = 3_600_000  # what a client has not taken by then is thrown away; others connect again unnoticed
_PARTING_MILLISECONDS = 30_000
Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Awaitable[Message]]


class PortTaken(OSError):
    """The address can't be listened on; the text names it."""


class Server:
    """Serves services of the contract, and health, on one address."""

    def __init__(self, address: str, settings: Settings) -> None:
        self.address = address
        self._server = grpc.aio.server(options=_options(settings))
        self._calls = _Calls(settings.max_concurrent_calls)
        self._reflection = settings.reflection
        self._health = health.HealthServicer()
        self._names = [""]
        add_HealthServicer_to_server(self._health, self._server)

    def add(self, service: ServiceDescriptor, servicer: object) -> None:
        """Serves `service`, each RPC by the method of `servicer` with its name."""
        handlers = {m.name: _handler(m, getattr(servicer, m.name), self._calls) for m in service.methods}
        self._server.add_registered_method_handlers(service.full_name, handlers)
        self._names.append(service.full_name)

    async def start(self) -> None:
        """Listens, not yet healthy. Raises PortTaken."""
        if self._reflection:
            names = (*self._names[1:], health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
            reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._server)
        await self.healthy(False)
        await _try(self.address)
        self._server.add_insecure_port(self.address)
        await self._server.start()
        crash_point("server.started")

    async def healthy(self, serving: bool) -> None:
        """Says of every service whether it works (grpc.health.v1)."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)

    async def report(self, works: Callable[[], Awaitable[bool]]) -> None:
        """Asks `works` and says what it answers."""
        await self.healthy(await works())

    async def stop(self, grace: float) -> None:
        """Says not healthy, takes no more calls, and gives those under way `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


async def _try(address: str) -> None:
    """Asked of the system first, which says why not; grpc would say that it failed."""
    host, _, port = address.rpartition(":")
    try:
        trial = await asyncio.start_server(lambda reader, writer: None, host.strip("[]"), int(port))
    except OSError as error:
        reason = (error.strerror or str(error)).rpartition("): ")[2]
        raise PortTaken(f"{address} can't be listened on: {reason}; choose another address") from error
    trial.close()
    await trial.wait_closed()


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # Some more than are admitted: those are told when to come again, which grpc would not.
        ("grpc.max_concurrent_streams", 2 * settings.max_concurrent_calls),
        # What is not even looked at yet waits in order, and makes those behind it wait: as many may come at once as are
        # admitted, of more than that grpc itself sends away some, and from half as many again on all (CANCELLED).
        ("grpc.server.max_pending_requests", settings.max_concurrent_calls),
        ("grpc.server.max_pending_requests_hard_limit", 3 * settings.max_concurrent_calls // 2),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", 1000 * settings.idle_seconds),
        ("grpc.server_handshake_timeout_ms", _OPEN_MILLISECONDS),
        ("grpc.max_connection_age_ms", _AGE_MILLISECONDS),
        ("grpc.max_connection_age_grace_ms", _PARTING_MILLISECONDS),
        ("grpc.keepalive_time_ms", _PING_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", _PONG_MILLISECONDS),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ]


class _Calls:
    """The calls under way: a context for each, refused when there are too many."""

    def __init__(self, most: int) -> None:
        self._left = most
        self.untaken = _Untaken()

    def check(self) -> None:
        """Raises Refused when there is no room for another one."""
        if self._left == 0:
            raise refuse(ErrorReason.TOO_MANY_CALLS)

    def __enter__(self) -> None:
        self.check()
        self._left -= 1

    def __exit__(self, *_: object) -> None:
        self._left += 1


class _Untaken:
    """The bytes of pages on their way, by connection: a client that does not take them gets no more of them."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()

    def add(self, page: bytes, context: Context) -> None:
        """Counts a page that is to go out. Raises Refused when too many wait already."""
        peer = context.peer()
        if self._bytes[peer] > _MOST_UNTAKEN_BYTES:
            raise refuse(ErrorReason.TOO_MANY_CALLS)
        self._bytes[peer] += len(page)
        taken: Any = partial(self._taken, peer, len(page))
        context.add_done_callback(taken)

    def _taken(self, peer: str, octets: int, _: object) -> None:
        self._bytes[peer] -= octets
        if not self._bytes[peer]:
            del self._bytes[peer]


def _handler(method: MethodDescriptor, behaviour: Behaviour, calls: _Calls) -> Any:
    """Bytes to bytes: what grpc can't decode or encode it would answer with a class name.

    To grpc its request is a stream, which looks the same on the wire: so it may be refused unread, and waited for
    no longer than a client may take.
    """
    request_class = descriptors.message_class(method.input_type)
    answers_pages = "page_size" in method.input_type.fields_by_name

    async def handle(_: object, context: Context) -> bytes:
        try:
            calls.check()
            raw = await _raw(context)
            with calls:
                response = await behaviour(_request(request_class, raw), context)
                crash_point("server.answering")
                answer = response.SerializeToString()
                if answers_pages:
                    calls.untaken.add(answer, context)
                return answer
        except Refused as refused:
            status = refused.status
        except Exception as error:  # noqa: BLE001 - logged, and answered without a word of it
            status = _internal(descriptors.path(method), error)
        await _abort(context, status)
        raise AssertionError("abort raises")

    return grpc.stream_unary_rpc_method_handler(handle)


async def _raw(context: Context) -> bytes:
    """The bytes of the request, when they come, and in time."""
    raw = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REQUEST_SECONDS):
            raw = await context.read()
    if not isinstance(raw, bytes):
        raise refuse(ErrorReason.UNDECODABLE_REQUEST)
    return raw


def _request(request_class: type[Message], raw: bytes) -> Message:
    try:
        request = request_class.FromString(raw)
    except DecodeError as error:
        raise refuse(ErrorReason.UNDECODABLE_REQUEST) from error
    if broken := violations(request):
        raise invalid(broken)
    return request


def _internal(path: str, error: Exception) -> Status:
    error_id = str(uuid.uuid4())
    _log.error("%s failed, error_id %s", path, error_id, exc_info=error)
    return refuse(ErrorReason.INTERNAL_ERROR, error_id=error_id).status


def metadata(context: Context, key: str) -> str | None:
    """The text a call carries under `key`, None when it carries none."""
    for name, value in context.invocation_metadata() or ():
        if name == key and isinstance(value, str):
            return value
    return None


async def _abort(context: Context, status: Status) -> None:
    details = ((_STATUS_DETAILS, status.SerializeToString()),)
    await context.abort(_CODES[status.code], status.message, details)


_CODES = {code.value[0]: code for code in grpc.StatusCode}
