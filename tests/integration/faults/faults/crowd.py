"""A fault of plenty without a load: more calls than are admitted, none of which can be served.

Guarantee: who comes when the service is full is told so, soon, and when to come again. Under a load that may happen
to nobody: gRPC sends away calls that the service has not seen, which is up to the machine.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any, NamedTuple

import grpc
from google.rpc.error_details_pb2 import RetryInfo

from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from tests.contract.harness.client import Answer
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.faults.fault import Fault, FaultContext
from tests.integration.faults.faults.overload import ADMITTED
from tests.integration.faults.workload.calls import answer
from tests.integration.faults.workload.history import Try
from tests.integration.faults.workload.load import requests

_TOO_MANY = 20
"""Calls beyond those admitted: fewer than gRPC lets wait, so that the service sees each of them."""
_TOLD_SECONDS = 1.0
_TIMEOUT = 15.0


def crowd_faults() -> Iterator[Fault]:
    """While the Order Service sleeps, placements end only with their deadline."""
    yield Fault("more calls than are admitted while order_service sleeps", _crowds)


class _Placement(NamedTuple):
    """A call under way."""

    request: PlaceOrderRequest
    called: float
    call: Any


def _crowds(context: FaultContext) -> Sequence[Finding]:
    """First as many as are admitted; then one after the other, since some of those may end and make room."""
    placed: list[_Placement] = []
    is_full = False
    with context.environment.channel("product_service") as channel:
        stub = ProductServiceStub(channel)
        with ExitStack() as asleep:
            for process in context.environment.setup.of("order_service"):
                asleep.enter_context(context.environment.asleep(process))
            for request in islice(requests(context.name, context.goods.plenty), ADMITTED + _TOO_MANY):
                placed.append(_Placement(request, time.monotonic(), stub.PlaceOrder.future(request, timeout=_TIMEOUT)))
                if len(placed) > ADMITTED and (is_full := _is_told(placed[-1].call)):
                    break
        for placement in placed:
            _remember(context, placement, answer(placement.call))
    text = f"none of {_TOO_MANY} calls too many was told when to come again"
    return [] if is_full else [Finding(Kind.UNRECOVERED, text)]


def _is_told(call: Any) -> bool:
    """True if the call is refused, soon, with when to come again."""
    try:
        call.exception(timeout=_TOLD_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    return _says_when(answer(call))


def _says_when(refused: Answer) -> bool:
    says_when = any(detail.Is(RetryInfo.DESCRIPTOR) for detail in refused.status.details)
    return says_when and refused.reason == "TOO_MANY_CALLS"


def _remember(context: FaultContext, placement: _Placement, ended: Answer) -> None:
    """Notes down what was served, and what is open and never asked for again; who was refused asked for nothing."""
    if not _says_when(ended):
        operation = context.history.begin(-1, placement.request)
        operation.tries.append(Try(placement.called, time.monotonic(), ended))
        operation.abandoned = ended.code is not grpc.StatusCode.OK
