"""Measurements of S9: the plain system that people would write instead."""

import sys
from functools import partial

from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.pipeline import place
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.seeding import Stored
from benchmarks.systems import Measured, beside
from ordersys.local.system import SERVICES

CONSUMERS = {"kombu": "peers.bare_kombu", "faststream": "peers.bare_faststream", "nameko": "peers.bare_nameko"}
PUBLISHERS = {
    "aio_pika": "baselines.bare_aio_pika",
    "kombu": "peers.bare_kombu",
    "faststream": "peers.bare_faststream",
}
_MANNERS = {
    "guaranteed": f"{GUARANTEED}; one thing at a time; no sweep, no drain, no limits",
    "careless": "no durable commits, no outbox, no confirms, no acks: weaker",
}


def systems(bench: Bench, ours: Measured) -> None:
    """Measures a plain system of each manner beside ours, on the same broker, in alternating rounds."""
    for manner, said in _MANNERS.items():
        programs = {module: _program(module, manner) for module in SERVICES}
        with beside(bench, ours, f"plain-{manner}", Stored(), programs) as plain:
            place(bench, plain, USUAL_IN_FLIGHT, bench.plan.seconds / 2)
            for number in bench.terminal.rounds(f"plain, {manner}", bench.plan.rounds):
                in_turn(
                    number,
                    partial(_round, bench, plain, f"plain.{manner}", said),
                    partial(_round, bench, ours, f"plain.{manner}.ours", GUARANTEED),
                )


def _round(bench: Bench, measured: Measured, name: str, said: str) -> None:
    done = place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    bench.figures.add(name, done.recorded, "orders/s", f"{said}; end to end, 64 in flight")
    bench.figures.add_processor(name, done.processor, "µs/order", f"{said}; end to end, 64 in flight")


def _program(module: str, manner: str) -> tuple[str, ...]:
    role = "plain_subscriber" if module.startswith("notification") else "plain"
    return sys.executable, "-m", f"benchmarks.peers.{role}", module, manner
