"""A gRPC server that holds every request against the contract before a servicer sees it.

Handlers come from the descriptors: bytes -> message -> rules -> servicer. Whatever goes wrong ends in a status
of the contract; what nobody foresaw in INTERNAL with an error id, never with a class name or a text of ours.
What its clients may take of it at a time: `limits`, `admission`, `streams`, `memory_guard`.
"""

import asyncio
import errno
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_status import rpc_status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract import descriptors
from ordersys.contract.access import Caller, admit_operator
from ordersys.contract.addresses import parse
from ordersys.contract.errors import StatusError, status_error
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.futures import Grace
from ordersys.runtime.metrics.instruments import gauge
from ordersys.runtime.metrics.table import SERVING
from ordersys.runtime.rpc import connections, limits
from ordersys.runtime.rpc.admission import Admission, Arrivals, Context, UnreadResponses, most_waiting
from ordersys.runtime.rpc.answering import Answering, Behaviour
from ordersys.runtime.rpc.callers import Callers, answer_to
from ordersys.runtime.rpc.measures import ServerCalls
from ordersys.runtime.rpc.memory_guard import MemoryGuard
from ordersys.runtime.rpc.reflection import SERVICES as REFLECTION
from ordersys.runtime.rpc.reflection import Reflection
from ordersys.runtime.rpc.security import Security
from ordersys.runtime.rpc.status import foreseen
from ordersys.runtime.rpc.streams import HEALTH, Health, Streams
from ordersys.runtime.rpc.traces import traced
from ordersys.runtime.settings import Settings

_log = logging.getLogger(__name__)
CANNOT_LISTEN = "can't be listened on"
"""What each AddressInUse says: whoever started the service tells it from other trouble."""
_NO_IDENTITY = Security()
_ENTRY_BYTES = 32  # what a header counts beside its octets (RFC 9113 §6.5.2)


class AddressInUse(StartupError):
    """The address can't be listened on; the text names it."""


class Server:
    """Serves services of the contract, and health, on one address."""

    def __init__(
        self,
        address: str,
        settings: Settings,
        security: Security = _NO_IDENTITY,
        of_services: bool = False,
    ) -> None:
        """`of_services` asks whoever connects for the certificate of a service, where this one has an identity."""
        self.address = address
        self._credentials = security.credentials(of_services)
        self._port = int(address.rpartition(":")[2])
        self._server = grpc.aio.server(options=limits.options(settings, of_services))
        self._streams = Streams()
        admission = Admission(settings.max_concurrent_calls)
        self._doors = _Doors(
            Arrivals(most_waiting(settings.max_concurrent_calls)),
            admission,
            UnreadResponses(),
            self._streams,
            MemoryGuard(self._port, settings.max_memory_mib * 1024 * 1024),
            settings.max_metadata_bytes,
            security.callers(),
            ServerCalls(admission),
        )
        self._reflection = settings.reflection
        self._health = Health(self._streams)
        self._serving = gauge(SERVING)
        self._names = [""]
        self._register(
            HEALTH,
            {
                "Check": self._doors.open(HEALTH.methods_by_name["Check"], self._health.check),
                "List": self._doors.open(HEALTH.methods_by_name["List"], self._health.statuses),
                "Watch": self._doors.stream(HEALTH.methods_by_name["Watch"], self._health.watch),
            },
        )

    def add(self, service: ServiceDescriptor, servicer: object) -> None:
        """Serves `service`, each RPC by the method of `servicer` with its name."""
        self._register(service, {m.name: self._doors.call(m, getattr(servicer, m.name)) for m in service.methods})
        self._names.append(service.full_name)

    async def start(self) -> None:
        """Listens, not yet healthy. Raises AddressInUse."""
        if self._reflection:
            served = (*self._names[1:], HEALTH.full_name, *(service.full_name for service in REFLECTION))
            reflection = Reflection(served)
            for service in REFLECTION:
                (method,) = service.methods
                self._register(
                    service, {method.name: self._doors.dialogue(method, ServerReflectionRequest, reflection.answer)}
                )
        await self.healthy(False)
        await _try(self.address)
        try:
            if self._credentials is None:
                self._server.add_insecure_port(self.address)
            else:
                self._server.add_secure_port(self.address, self._credentials)
        except RuntimeError as error:  # as grpc says it, without a reason
            text = f"{self.address} {CANNOT_LISTEN}: somebody has just taken it; choose another address"
            raise AddressInUse(text) from error
        await self._server.start()
        self._doors.guard.start()
        failpoint("server.started")

    async def healthy(self, serving: bool) -> None:
        """Says of every service whether it works (grpc.health.v1)."""
        self._health.set(self._names, serving)
        self._serving.set(serving and not self._streams.stopping.is_set())

    async def report(self, works: Callable[[], Awaitable[bool]]) -> None:
        """Asks `works` and says what it answers."""
        await self.healthy(await works())

    async def stop(self, grace: Grace) -> None:
        """Says not healthy, ends streams at once, takes no more calls; those under way have what is left of `grace`."""
        self._streams.stopping.set()
        self._health.stop()
        self._serving.set(0)
        try:
            # Who does not even take the last word of a stream would keep the server from stopping.
            if held := await self._streams.end(grace.left()):
                connections.end(self._port, held)
            await self._server.stop(grace.left())
        finally:
            self._doors.guard.stop()

    def _register(self, service: ServiceDescriptor, handlers: dict[str, Any]) -> None:
        self._server.add_registered_method_handlers(service.full_name, handlers)


async def _try(address: str) -> None:
    """Asked of the system first, which says why not; grpc would say that it failed.

    Of the addresses that a name has, some may be of a kind this machine lacks: localhost is ::1, too, in its list of
    hosts, though IPv6 may be off. grpc listens on the others.
    """
    host, port = parse(address)
    try:
        addresses = {str(info[4][0]) for info in await asyncio.get_running_loop().getaddrinfo(host, port)}
        errors = [await _lacking(address_, port) for address_ in addresses]
        if all(errors):
            raise next(filter(None, errors))
    except OSError as error:
        reason = (error.strerror or str(error)).rpartition("): ")[2]
        raise AddressInUse(f"{address} {CANNOT_LISTEN}: {reason}; choose another address") from error


async def _lacking(host: str, port: int) -> OSError | None:
    """The error of an address that this machine does not have. Raises OSError for one that can't be listened on."""
    try:
        trial = await asyncio.start_server(lambda reader, writer: None, host, port)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return error
        raise
    trial.close()
    await trial.wait_closed()
    return None


class _Doors(NamedTuple):
    """The handlers of calls, and what all calls pass on their way in and out.

    Bytes to bytes: what grpc can't decode or encode it would answer with a class name. To grpc each request is a
    stream, which looks the same on the wire: so it may be refused unread, and waited for no longer than a client may
    take.
    """

    arrivals: Arrivals
    admission: Admission
    unread: UnreadResponses
    streams: Streams
    guard: MemoryGuard
    most_metadata_bytes: int
    callers: Callers
    measures: ServerCalls

    def call(self, method: MethodDescriptor, behaviour: Behaviour) -> Any:
        """A call of the contract, admitted by who makes it and by what it carries."""
        request_class = descriptors.message_class(method.input_type)
        answers_pages = "page_size" in method.input_type.fields_by_name
        answering = Answering(method, behaviour, self.callers.refused)

        async def handle(context: Context) -> bytes:
            # Before its request is read: refusing what is too much has to cost little (docs/reliability.md, "more
            # load than can be done"), and who may not call is told nothing of what he has sent.
            self.admission.check()
            caller = self._caller(context, answering.rules.admit)
            raw = await self._raw(context)
            request = _decoded(request_class, raw)
            with self.admission.admitted(len(answering.requests(request)), len(raw)):
                answer = await answering.answer(request, caller, context)
                failpoint("server.answering")
                if answers_pages:
                    self.unread.add(answer, context)
                return answer

        return grpc.stream_unary_rpc_method_handler(traced(answering.path, self._answered(method, handle)))

    def open(self, method: MethodDescriptor, behaviour: Callable[[Any, Context], Awaitable[Message]]) -> Any:
        """A call that is answered at once, however many calls are under way."""
        request_class = descriptors.message_class(method.input_type)

        async def handle(context: Context) -> bytes:
            request = _decoded(request_class, await self._raw(context))
            return (await behaviour(request, context)).SerializeToString()

        return grpc.stream_unary_rpc_method_handler(self._answered(method, handle))

    def stream(self, method: MethodDescriptor, behaviour: Callable[[Any, Context], AsyncGenerator[Message]]) -> Any:
        """One request, and answers until the server stops."""
        request_class = descriptors.message_class(method.input_type)

        async def handle(context: Context) -> None:
            with self.streams.one(context):
                request = _decoded(request_class, await self._raw(context))
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        await context.write(response.SerializeToString())
                await _stopping(context)

        return grpc.stream_stream_rpc_method_handler(self._answered(method, handle))

    def dialogue(self, method: MethodDescriptor, request_class: type[Message], answer: Callable[[Any], Message]) -> Any:
        """An answer to each request of an operator's stream, until he has had enough, or the server stops."""

        async def handle(context: Context) -> None:
            self._caller(context, admit_operator)
            with self.streams.one(context):
                async with aclosing(self.streams.requests(context)) as requests:
                    async for raw in requests:
                        self.guard.account(context.peer(), len(raw))
                        await context.write(answer(_decoded(request_class, raw)).SerializeToString())
                if self.streams.stopping.is_set():
                    await _stopping(context)

        return grpc.stream_stream_rpc_method_handler(self._answered(method, handle))

    def _answered(self, method: MethodDescriptor, handle: Callable[[Context], Awaitable[Any]]) -> Any:
        """With what `handle` answers, or the status of what goes wrong."""
        path = descriptors.path(method)

        async def answered(_: object, context: Context) -> Any:
            try:
                if _metadata_bytes(context) > self.most_metadata_bytes:
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The call has too much metadata.")
                self.guard.call(context.peer())
                return await handle(context)
            except grpc.aio.BaseError:
                raise  # aborted, or the client has gone: gRPC knows
            except Exception as error:  # noqa: BLE001 - answered by a status of the contract; a bug is logged
                refused = foreseen(error)
                self.callers.refused.log(path, refused, context)
            status = refused.status if isinstance(refused, StatusError) else _internal(path, refused)
            self.measures.refused(status)
            await context.abort_with_status(rpc_status.to_status(status))
            raise AssertionError("abort raises")

        return self.measures.timed(path, answered)

    def _caller(self, context: Context, admit: Callable[[Caller], None]) -> Caller:
        """The one who makes the call, once `admit` has admitted him."""
        caller = self.callers.of(context)
        answer_to(caller)
        admit(caller)
        return caller

    async def _raw(self, context: Context) -> bytes:
        peer = context.peer()
        raw = await self.arrivals.request(context, peer)
        self.guard.account(peer, len(raw))
        return raw


def _decoded(request_class: type[Message], raw: bytes) -> Message:
    try:
        return request_class.FromString(raw)
    except DecodeError as error:
        raise status_error(ErrorReason.UNDECODABLE_REQUEST) from error


def _internal(path: str, error: Exception) -> Status:
    error_id = str(uuid.uuid4())
    _log.error("%s failed, error_id %s", path, error_id, exc_info=error)
    return status_error(ErrorReason.INTERNAL_ERROR, error_id=error_id).status


def _metadata_bytes(context: Context) -> int:
    """As HTTP/2 counts them, without the headers that are gRPC's own."""
    return sum(len(name) + len(value) + _ENTRY_BYTES for name, value in context.invocation_metadata() or ())


async def _stopping(context: Context) -> None:
    """The end of a stream that the client has not ended."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "The server stops; call again.")
