"""The time until the next event arrives, when a process that has its service's lease was killed: S13.

Of the Order Service the leader relays, of a notification service it consumes. The orders are placed one after the other
with whichever processes are left.
"""

import time
from contextlib import closing
from functools import partial

import grpc

from benchmarks import samples
from benchmarks.bench import Bench
from benchmarks.load import options
from benchmarks.observing import Records, Unsound, until
from benchmarks.systems import Measured
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub

LED = ("order_service", "notification_service_1")
_LEAD_SECONDS = 30.0  # for a process to take the lease of one that was stopped
_PLACE_SECONDS = 30.0  # for an order, whichever process is killed meanwhile
_POLL = 0.01  # seconds: the resolution of this figure of some seconds
_SAID = "until the event of an order placed after the kill is recorded in both notification services"


def measure(bench: Bench, measured: Measured) -> None:
    """Adds the figures of S13; each killed process is started again."""
    for module in LED:
        took = []
        for _ in bench.terminal.rounds(f"takeover of {module}", bench.plan.takeovers):
            took.append(_taken_over(measured, module))
            bench.figures.add(f"takeover.{module}.taken_over", took[-1], "s", _SAID)
        bench.figures.add(f"takeover.{module}.slowest", max(took), "s", f"the slowest; {_SAID}")


def _taken_over(measured: Measured, module: str) -> float:
    with (
        closing(measured.records) as records,
        grpc.insecure_channel(measured.door.target, options(measured.door.target)) as channel,
    ):
        stub = ProductServiceStub(channel)
        _record_one(measured, records, stub)
        until(lambda: _is_led(measured, module), _LEAD_SECONDS, _POLL)
        leader = measured.leader(module)
        killed = time.monotonic()
        leader.kill()
        recorded = _record_one(measured, records, stub)
    leader.start()
    leader.wait_healthy()
    return recorded - killed


def _is_led(measured: Measured, module: str) -> bool:
    try:
        return measured.leader(module).running
    except Unsound:
        return False


def _record_one(measured: Measured, records: Records, stub: ProductServiceStub) -> float:
    """Places an order; the moment both have its record. Raises Unsound."""
    request, end = samples.place_order(measured.catalogue), time.monotonic() + _PLACE_SECONDS
    while True:
        try:
            order_id = stub.PlaceOrder(request, timeout=_PLACE_SECONDS).order.id
            break
        except grpc.RpcError as error:  # the same request again: it is placed once
            if time.monotonic() > end:
                raise Unsound(f"no order could be placed for {_PLACE_SECONDS:.0f} s: {error.code()}") from error
            time.sleep(_POLL)
    return until(partial(records.has, order_id), poll=_POLL)
