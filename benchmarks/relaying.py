"""The rate at which events leave the outbox, beside bare pika: S4.

The real Order Service is started with events in its outbox; what counts is from the first window that is gone
to the last. Nobody consumes meanwhile, on either side.
"""

from collections.abc import Mapping
from functools import partial

from benchmarks import processor
from benchmarks.bench import Bench, in_turn
from benchmarks.children import Child
from benchmarks.figures import GUARANTEED
from benchmarks.observing import Unsound, oldest_waiting, outbox, until
from benchmarks.plan import WINDOW
from benchmarks.progress import progress
from benchmarks.seeding import append_events
from benchmarks.systems import BROKER, Measured
from ordersys.contract.topology import subscriptions

_RELAYED = "outbox row → confirmed by both quorum queues → removed, durably"
_BARE = f"persistent, confirmed by both quorum queues, {WINDOW} on their way; no outbox"
_ALIKE = "persistent, confirmed by both quorum queues; no outbox"
_FEWER = 4  # times fewer events, for clients that are as much slower
QUEUES = tuple(subscription.queue for subscription in subscriptions())


def measure(bench: Bench, measured: Measured, pika: Child, others: Mapping[str, Child]) -> None:
    """Adds the figures of S4; leaves the services stopped. `others` are clients by the names of their figures."""
    for service in reversed(measured.system.services.values()):
        service.stop()
    for number in bench.terminal.rounds("relay", bench.plan.rounds):
        in_turn(number, partial(_relay, bench, measured, pika), partial(_bare, bench, measured, pika))
        for name, client in others.items():
            _publish(bench, pika, name, client)


def _relay(bench: Bench, measured: Measured, pika: Child) -> None:
    databases, count = measured.system.folder / "databases", bench.plan.relayed
    append_events(databases, count)
    service = measured.system.services["order_service"]
    with outbox(databases) as reading:
        first = oldest_waiting(reading)
        service.start()
        done = progress(
            lambda: (oldest_waiting(reading) or first + count) - first, count, measured.meter("order_service")
        )
    service.stop()
    _check(pika, count)
    bench.figures.add("relay", done.rate, "events/s", f"{_RELAYED}; {GUARANTEED}")
    bench.figures.add_processor("relay", done.processor, "µs/event", f"{_RELAYED}; {GUARANTEED}")


def _bare(bench: Bench, measured: Measured, pika: Child) -> None:
    count, meter = bench.plan.relayed, measured.meter()
    before = meter()
    seconds, worked = pika.ask(do="publish", count=count, window=WINDOW)
    used = {"client": worked, BROKER: processor.since(before, meter())[BROKER]}
    _check(pika, count)
    bench.figures.add("pika.publish", count / seconds, "events/s", _BARE)
    each = {process: seconds / count for process, seconds in used.items()}
    bench.figures.add_processor("pika.publish", each, "µs/event", _BARE)


def _publish(bench: Bench, pika: Child, name: str, client: Child) -> None:
    """A smaller number of events, for clients that confirm each before they send the next."""
    count = bench.plan.relayed // _FEWER
    seconds, _ = client.ask(do="publish", count=count, window=WINDOW)
    _check(pika, count)
    bench.figures.add(f"{name}.publish", count / seconds, "events/s", _ALIKE)


def _check(pika: Child, count: int) -> None:
    """Checks that every event is in both queues, once; then empties them. Raises Unsound."""
    for queue in QUEUES:
        until(lambda queue=queue: pika.ask(do="ready", queue=queue) >= count)  # type: ignore[misc]
        if (ready := pika.ask(do="ready", queue=queue)) != count:
            raise Unsound(f"{count} events were published, {ready} are in {queue}")
        pika.ask(do="purge", queue=queue)
