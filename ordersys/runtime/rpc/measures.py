"""Calls in numbers: how long each takes, with which status it ends, and why it is refused (metrics/table.py)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import reason_of
from ordersys.runtime.metrics.instruments import Children, Histogram, are_on, counter, histogram, reading
from ordersys.runtime.metrics.table import CALLS_IN_FLIGHT, CALLS_REFUSED, CLIENT_CALL_SECONDS, SERVER_CALL_SECONDS
from ordersys.runtime.rpc.admission import Admission, Context

Answer = Callable[[object, Context], Awaitable[Any]]
_OK = grpc.StatusCode.OK.name
_REASONS = [name for name, number in ErrorReason.items() if number]


class ServerCalls:
    """The calls of one server."""

    def __init__(self, admission: Admission) -> None:
        reading(CALLS_IN_FLIGHT, lambda: admission.calls)
        self._refused = Children(lambda reason: counter(CALLS_REFUSED, reason=reason), _REASONS if are_on() else ())

    def timed(self, path: str, answer: Answer) -> Answer:
        """`answer`, with its time and status noted; itself where nothing is counted. `path` is that of the RPC."""
        if not are_on():
            return answer
        seconds = _by_status(
            lambda code: histogram(SERVER_CALL_SECONDS, rpc_method=_method(path), rpc_status_code=code)
        )

        async def timed(request: object, context: Context) -> Any:
            began = time.perf_counter()
            code = _OK
            try:
                return await answer(request, context)
            except BaseException as error:
                code = _code(error, context)
                raise
            finally:
                seconds[code].observe(time.perf_counter() - began)

        return timed

    def refused(self, status: Status) -> None:
        """Counts a call that is answered with `status`."""
        if self._refused and (reason := reason_of(status)) in self._refused:
            self._refused[reason].inc()


class ClientCalls:
    """The calls to another service, by path."""

    def __init__(self) -> None:
        self._seconds = Children(self._of)

    @contextmanager
    def timed(self, path: str) -> Iterator[None]:
        """A call is under way."""
        began = time.perf_counter()
        code = _OK
        try:
            yield
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            raise
        finally:
            self._seconds[path][code].observe(time.perf_counter() - began)

    def _of(self, path: str) -> "Children[str, Histogram]":
        return _by_status(lambda code: histogram(CLIENT_CALL_SECONDS, rpc_method=_method(path), rpc_status_code=code))


def _by_status(bind: Callable[[str], Histogram]) -> "Children[str, Histogram]":
    return Children(bind)


def _method(path: str) -> str:
    """The name of an RPC as OpenTelemetry has it: package.Service/Method."""
    return path.lstrip("/")


def _code(error: BaseException, context: Context) -> str:
    """The name of the status a call has ended with."""
    if isinstance(error, asyncio.CancelledError):
        # gRPC cancels what has no time left, and what its client has given up.
        is_late = context.time_remaining() == 0
        return grpc.StatusCode.DEADLINE_EXCEEDED.name if is_late else grpc.StatusCode.CANCELLED.name
    code: grpc.StatusCode | None = context.code()
    return grpc.StatusCode.UNKNOWN.name if code is None else code.name
