"""The time from PlaceOrder's reply until both notification services have the record, at low load: S8."""

import time
from contextlib import closing
from functools import partial

import grpc

from benchmarks import samples
from benchmarks.bench import Bench, Door, in_turn
from benchmarks.children import Child
from benchmarks.figures import GUARANTEED
from benchmarks.observing import Records, until
from benchmarks.plan import LOW_RATE
from benchmarks.summary import percentile
from benchmarks.systems import Measured
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.grpc_client.credentials import credentials

_POLL = 0.0001  # seconds: the resolution of this latency of some 3 ms
_COMMITTED = f"{GUARANTEED}; until the commit is seen, looked for every 0.1 ms"
_ONE = "BlockingConnection, persistent, confirmed by both quorum queues, one after the other"


class _Caller:
    """Places orders one after the other, each in the thread that asks for it."""

    def __init__(self, door: Door) -> None:
        own = credentials(door.identity)
        self._token = own.token
        if own.authorities is None:
            self._channel = grpc.insecure_channel(door.target)
        else:
            named = [("grpc.ssl_target_name_override", door.service)]
            self._channel = grpc.secure_channel(door.target, grpc.ssl_channel_credentials(own.authorities), named)
        self._stub = ProductServiceStub(self._channel)

    def place(self, catalogue: int) -> str:
        """The id of a new order."""
        metadata = (self._token.metadata(),) if self._token else ()
        return self._stub.PlaceOrder(samples.place_order(catalogue), metadata=metadata).order.id

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


def measure(bench: Bench, measured: Measured, pika: Child) -> None:
    """Adds the figures of S8."""
    with closing(measured.records) as records, closing(_Caller(measured.door)) as caller:
        caller.place(measured.catalogue)
        for number in bench.terminal.rounds("notice", bench.plan.rounds):
            in_turn(
                number,
                partial(_notices, bench, measured, records, caller),
                partial(_publishes, bench, records, pika),
            )


def _notices(bench: Bench, measured: Measured, records: Records, caller: _Caller) -> None:
    measured.keep_identities()
    took, end = [], time.monotonic() + bench.plan.seconds
    while time.monotonic() < end:
        order_id = caller.place(measured.catalogue)
        replied = time.monotonic()
        took.append(until(partial(records.has, order_id), poll=_POLL) - replied)
        time.sleep(1 / LOW_RATE)
    for percent in (50, 99):
        bench.figures.add(f"notice.p{percent}", 1000 * percentile(took, percent), "ms", _COMMITTED)


def _publishes(bench: Bench, records: Records, pika: Child) -> None:
    """Publishes events that the services record as well, so that the broker has the same work as with ours."""
    marks, count = records.marks(), int(100 * bench.plan.seconds)
    took = pika.ask(do="publish_one_by_one", count=count)
    until(lambda: min(records.since(marks)) >= count)
    bench.figures.add("pika.publish_one_by_one", count / sum(took), "events/s", _ONE)
    bench.figures.add("pika.one_publish.p50", 1000 * percentile(took, 50), "ms", _ONE)
