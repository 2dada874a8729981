"""The rate at which events are recorded, beside bare pika and bare aio-pika: S5.

The real Notification Service 1 is started with events in its queue; what counts is from the first record that is
there to the last. GUARANTEED is what the service does and bare clients do not: once, durably, before the ack.
"""

from functools import partial

from benchmarks import processor
from benchmarks.bench import Bench, in_turn
from benchmarks.children import Child
from benchmarks.observing import Reading, until
from benchmarks.plan import PREFETCH, WINDOW
from benchmarks.progress import progress
from benchmarks.systems import BROKER, Measured
from ordersys.api.notification.v1 import subscriptions_pb2
from ordersys.contract.topology import subscription
from ordersys.notification_service.inbox import NOTIFICATIONS

_SERVICE = "notification_service_1"
_TAKEN = subscription(subscriptions_pb2.DESCRIPTOR.services_by_name["NotificationService1"])
_RECORDED = "decoded, validated, recorded durably once, logged, acked after the commit"
_BARE = f"prefetch {PREFETCH}; not decoded, nothing kept: weaker"
_ACKS = {"faststream": "acked one by one", "nameko": "acked one by one"}


def measure(bench: Bench, measured: Measured, clients: dict[str, Child]) -> None:
    """All of it, on a system whose services are stopped. `clients` answer to the names of their figures."""
    for number in bench.terminal.rounds("consumer", bench.plan.rounds):
        rounds = [partial(_bare, bench, measured, clients["pika"], name, client) for name, client in clients.items()]
        in_turn(number, partial(_consume, bench, measured, clients["pika"]), *rounds)


def _consume(bench: Bench, measured: Measured, pika: Child) -> None:
    count, service = bench.plan.consumed, measured.system.services[_SERVICE]
    _fill(pika, count)
    reading = Reading(measured.system.folder / "databases" / f"{_TAKEN.consumer}.db")
    mark = _last(reading)
    service.start()
    done = progress(lambda: _last(reading) - mark, count, measured.meter(_SERVICE))
    service.stop()
    reading.close()
    _check_empty(pika)
    bench.figures.add("consumer", done.rate, "events/s", _RECORDED)
    bench.figures.add_processor("consumer", done.processor, "µs/event", _RECORDED)


def _bare(bench: Bench, measured: Measured, pika: Child, name: str, client: Child) -> None:
    count, meter = bench.plan.consumed, measured.meter()
    _fill(pika, count)
    before = meter()
    seconds, worked = client.ask(do="consume", queue=_TAKEN.queue, count=count, prefetch=PREFETCH)
    used = {"client": worked, BROKER: processor.since(before, meter())[BROKER]}
    _check_empty(pika)
    said = f"{_ACKS.get(name, 'acked by the hundred')}, {_BARE}"
    bench.figures.add(f"{name}.consume", count / seconds, "events/s", said)
    each = {process: seconds / count for process, seconds in used.items()}
    bench.figures.add_processor(f"{name}.consume", each, "µs/event", said)


def _fill(pika: Child, count: int) -> None:
    pika.ask(do="publish", count=count, window=WINDOW, queue=_TAKEN.queue)
    until(lambda: pika.ask(do="ready", queue=_TAKEN.queue) == count)


def _check_empty(pika: Child) -> None:
    """Raises Unsound unless unacknowledged events come back, as they must."""
    until(lambda: pika.ask(do="ready", queue=_TAKEN.queue) == 0, patience=10)


def _last(reading: Reading) -> int:
    return reading.number(f"SELECT max(sequence) FROM {NOTIFICATIONS.name}")
