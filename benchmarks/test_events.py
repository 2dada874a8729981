"""The cost of encoding an event into a message, validating and decoding it."""

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import samples
from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.events import CONTENT_TYPE, Delivery, decode, headers
from ordersys.contract.validation import violations
from ordersys.runtime.base.ids import now, uuid7

EVENT = samples.created(uuid7())
DELIVERY = Delivery(EVENT.event_id, EVENT.type, CONTENT_TYPE, EVENT.body)
MESSAGE = OrderCreated(order=samples.order(uuid7(), now()))


def test_encode(benchmark: BenchmarkFixture) -> None:
    """Encodes a message into bytes and headers."""
    assert benchmark(lambda: (MESSAGE.SerializeToString(), headers(EVENT)))[0]


def test_validate(benchmark: BenchmarkFixture) -> None:
    """Checks a message against every rule of the contract."""
    assert benchmark(violations, MESSAGE) == []


def test_decode(benchmark: BenchmarkFixture) -> None:
    """Decodes and validates a delivery."""
    assert benchmark(decode, DELIVERY).event_id == EVENT.event_id
