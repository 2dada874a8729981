"""Spans of calls: of those that are answered here, and of those to another service.

Without interceptors, which cost each call more than all of this (OpenTelemetry's own adds half of an empty call). A
call that is not sampled costs a look at the last character of its trace context; where nothing is recorded, nothing.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import grpc

from ordersys.runtime.base.ids import TRACEPARENT, traceparent
from ordersys.runtime.rpc.admission import Context
from ordersys.runtime.tracing.contexts import child, is_sampled, new_root
from ordersys.runtime.tracing.spans import (
    NONE,
    Attributes,
    Kind,
    Part,
    Span,
    begun,
    is_on,
    now,
    record,
    record_shared,
    sampled,
)

Metadata: TypeAlias = tuple[tuple[str, str], ...] | None
Answered: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
_TEXT_LENGTH, _NOT_SAMPLED = 55, frozenset("02468ace")  # of a context of version 00, and its last character
# A refusal is no error of the server (semantic conventions of RPC, "gRPC").
_SERVER_ERRORS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"},
)
_IDS = slice(3, 52)
_ASKED = "call"
_OK, _CANCELLED = "OK", "CANCELLED"
# With calls of this service itself, and of no sampled trace, so that no other service begins one in their midst.
UNTRACED: Metadata = ((TRACEPARENT, traceparent()),)
"""Says so."""


class _Call(NamedTuple):
    """A call that is being answered, where spans are recorded."""

    context: str
    """Of its own span; empty where it is not sampled."""
    lasting: str | None
    """The context that it carried. What may outlive this process is a child of that: the span may be lost with it."""


_answering: ContextVar[_Call | None] = ContextVar("call", default=None)


def carried(context: Context) -> str | None:
    """The trace context that what comes of a call belongs to, None where it carries none and begins none."""
    call = _answering.get()
    return call.lasting if call else _metadata(context)


def own_span() -> str:
    """The context of the span of the call that the running task answers; empty where it has none."""
    call = _answering.get()
    return call.context if call else ""


def traced(path: str, answered: Answered) -> Answered:
    """`answered` with a span for each sampled call; `path` is /package.Service/Method."""
    if not is_on():
        return answered
    method = path.removeprefix("/")

    async def recorded(request: object, context: Context) -> Any:
        began = now()
        call, parent = _arrived(method, _metadata(context))
        _answering.set(call)
        if not call.context:
            return await answered(request, context)
        code = _CANCELLED
        try:
            answer = await answered(request, context)
            code = _OK
        except grpc.aio.AbortError:
            code = _name_of(context.code())
            raise
        finally:
            error = code if code in _SERVER_ERRORS else ""
            record(Span(method, Kind.SERVER, call.context, parent, began, now(), _attributes(method, code), (), error))
        return answer

    return recorded


@contextmanager
def calling(path: str, parent: str, context: str, server: Attributes = NONE) -> Iterator[Metadata]:
    """The metadata of the call that is made meanwhile; records its span, which is `context`, where that is sampled."""
    method = path.removeprefix("/")
    if not is_on():
        yield ((TRACEPARENT, context),) if context else None
    elif not is_sampled(context):
        yield ((TRACEPARENT, context),) if context else UNTRACED
    else:

        def ended(began: int, code: str) -> None:
            attributes = {**server, **_attributes(method, code)}
            record(Span(method, Kind.CLIENT, context, parent, began, now(), attributes, (), _error_of_client(code)))

        with _timed(ended):
            yield ((TRACEPARENT, context),)


@contextmanager
def calling_for(path: str, contexts: Sequence[str], server: Attributes = NONE) -> Iterator[Metadata]:
    """As `calling`, for a call that several traces share: its span begins a trace, linked with the sampled ones."""
    members = sampled(contexts)
    if not members:
        yield UNTRACED if is_on() else None
        return
    method, context = path.removeprefix("/"), new_root()

    def ended(began: int, code: str) -> None:
        error = _error_of_client(code)
        attributes = {**server, **_attributes(method, code)}
        whole = Span(method, Kind.CLIENT, context, "", began, now(), attributes, (), error)
        record_shared(whole, [Part(_ASKED, member, error=error) for member in members])

    with _timed(ended):
        yield ((TRACEPARENT, context),)


@contextmanager
def _timed(ended: Callable[[int, str], None]) -> Iterator[None]:
    """Tells when a call began, and the name of its status."""
    began, code = now(), _CANCELLED
    try:
        yield
        code = _OK
    except grpc.aio.AioRpcError as error:
        code = error.code().name
        raise
    finally:
        ended(began, code)


def _arrived(method: str, text: str | None) -> tuple[_Call, str]:
    """A call, which is sampled by its own word or where it begins a trace, and the context of its parent."""
    if text is not None:
        if len(text) == _TEXT_LENGTH and text[-1] in _NOT_SAMPLED:
            return _Call("", text), ""
        context = traceparent(text)
        if text[_IDS] == context[_IDS]:
            return (_Call(child(context), context), context) if is_sampled(context) else (_Call("", text), "")
    root = begun(method)  # it carries none, or what is none
    return _Call(root, root or text), ""


def _name_of(code: Any) -> str:
    return code.name if isinstance(code, grpc.StatusCode) else str(code)


def _attributes(method: str, code: str) -> Attributes:
    return {"rpc.system.name": "grpc", "rpc.method": method, "rpc.status_code": code}


def _error_of_client(code: str) -> str:
    return "" if code == _OK else code


def _metadata(context: Context) -> str | None:
    """The trace context a call carries, as it stands there."""
    for name, value in context.invocation_metadata() or ():
        if name == TRACEPARENT and isinstance(value, str):
            return value
    return None
