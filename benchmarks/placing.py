"""Throughput and latency of placing orders, beside empty calls: S1, S2, S3, and the curve of concurrency."""

import time
from functools import partial

from benchmarks import processor
from benchmarks.bench import Bench, in_turn
from benchmarks.echoing import Baselines, Echo, baselines
from benchmarks.figures import GUARANTEED
from benchmarks.pipeline import place, place_at, place_many
from benchmarks.plan import IN_FLIGHT, LARGE_BATCH, LOW_RATE, USUAL_BATCH, USUAL_IN_FLIGHT, Batch
from benchmarks.summary import curve_in_milliseconds, percentile
from benchmarks.systems import Measured

_END_TO_END = f"{GUARANTEED}; from the first call to the last record in both notification services"
_AT_LOW_LOAD = f"{LOW_RATE:g} calls a second"
_USED = "user and system time"
_SHARES_OF_MAXIMUM = {"quarter": 0.25, "half": 0.5, "three_quarters": 0.75}


def measure(bench: Bench, measured: Measured) -> None:
    """Adds all figures about placing orders."""
    base = baselines(bench, measured)
    warm_up(bench, measured, base)
    _idle(bench, measured)
    for number in bench.terminal.rounds("64 in flight", bench.plan.rounds):
        in_turn(
            number,
            *(partial(echo.calls, USUAL_IN_FLIGHT) for echo in base.echoes),
            partial(_orders, bench, measured, USUAL_IN_FLIGHT, drawn=number == 0),
            partial(_batches, bench, measured, USUAL_BATCH),
            partial(_batches, bench, measured, LARGE_BATCH),
        )
    for number in bench.terminal.rounds("low load", bench.plan.rounds):
        in_turn(number, *(hops.calls for hops in base.hops), partial(_low, bench, measured, drawn=number == 0))
    _rates(bench, measured)
    _concurrency(bench, measured, base.echoes[0])


def warm_up(bench: Bench, measured: Measured, base: Baselines) -> None:
    """Makes connections and warms up code before the first round."""
    place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds / 2)
    for batch in (USUAL_BATCH, LARGE_BATCH):
        place_many(bench, measured, batch, bench.plan.seconds / 4)
    base.warm_up()


def _idle(bench: Bench, measured: Measured) -> None:
    """Measures the processor time of the idle system, which is also part of what is counted for orders."""
    meter = measured.meter()
    before = meter()
    time.sleep(bench.plan.seconds)
    used = processor.since(before, meter())
    each = {process: seconds / bench.plan.seconds for process, seconds in used.items()}
    bench.figures.add_processor("idle", each, "µs/s", f"{_USED}, a second in which nothing is asked")


def _orders(bench: Bench, measured: Measured, in_flight: int, drawn: bool = False) -> None:
    done = place(bench, measured, in_flight, bench.plan.seconds)
    add, name = bench.figures.add, f"place_order.{in_flight}"
    add(f"pipeline.{in_flight}", done.recorded, "orders/s", _END_TO_END)
    add(name, done.accepted, "orders/s", f"{GUARANTEED}; as answered")
    for percent in (50, 99):
        add(f"{name}.p{percent}", 1000 * percentile(done.latencies, percent), "ms", GUARANTEED)
    bench.figures.add_processor(f"pipeline.{in_flight}", done.processor, "µs/order", f"{_USED}; {_END_TO_END}")
    if drawn:
        bench.figures.series[f"latency.{name}"] = curve_in_milliseconds(done.latencies)


def _batches(bench: Bench, measured: Measured, batch: Batch) -> None:
    done = place_many(bench, measured, batch, bench.plan.seconds)
    name, said = f"{batch.in_flight}.batch{batch.orders}", f"{batch.orders} orders in each call"
    add = bench.figures.add
    add(f"pipeline.{name}", done.recorded, "orders/s", f"{said}; {_END_TO_END}")
    for percent in (50, 99):
        value = 1000 * percentile(done.latencies, percent)
        add(f"batch_place_orders.{name}.p{percent}", value, "ms", f"a call, {said}; {GUARANTEED}")
    bench.figures.add_processor(f"pipeline.{name}", done.processor, "µs/order", f"{_USED}; {said}; {_END_TO_END}")


def _low(bench: Bench, measured: Measured, drawn: bool) -> None:
    done = place_at(bench, measured, LOW_RATE, bench.plan.open_seconds)
    for percent in (50, 99):
        value = 1000 * percentile(done.latencies, percent)
        bench.figures.add(f"place_order.p{percent}", value, "ms", f"{GUARANTEED}; {_AT_LOW_LOAD}")
    bench.figures.add_processor("place_order.low", done.processor, "µs/order", f"{_USED}; {GUARANTEED}; {_AT_LOW_LOAD}")
    if drawn:
        bench.figures.series["latency.place_order.low"] = curve_in_milliseconds(done.latencies)


def _rates(bench: Bench, measured: Measured) -> None:
    """Rounds at fixed rates: shares of the end-to-end rate with 64 in flight."""
    maximum = bench.figures[f"pipeline.{USUAL_IN_FLIGHT}"].median
    for number in bench.terminal.rounds("open loop", bench.plan.rounds):
        for share, part in _SHARES_OF_MAXIMUM.items():
            if share == "half" or number < bench.plan.curve_rounds:
                _at(bench, measured, share, part * maximum, drawn=number == 0)


def _at(bench: Bench, measured: Measured, share: str, rate: float, drawn: bool) -> None:
    done = place_at(bench, measured, rate, bench.plan.open_seconds)
    said = f"{GUARANTEED}; open loop, timed from when each call was due"
    bench.figures.add(f"place_order.{share}", rate, "orders/s", "the fixed rate")
    for percent in (50, 99):
        value = 1000 * percentile(done.latencies, percent)
        bench.figures.add(f"place_order.{share}.p{percent}", value, "ms", said)
    bench.figures.add_processor(f"place_order.{share}", done.processor, "µs/order", f"{_USED}; {said}")
    if drawn:
        bench.figures.series[f"latency.place_order.{share}"] = curve_in_milliseconds(done.latencies)


def _concurrency(bench: Bench, measured: Measured, echo: Echo) -> None:
    for _ in bench.terminal.rounds("1, 8, 256 in flight", bench.plan.curve_rounds):
        for in_flight in IN_FLIGHT:
            if in_flight != USUAL_IN_FLIGHT:
                echo.calls(in_flight)
                _orders(bench, measured, in_flight)
    for name in ("echo", "place_order", "pipeline"):
        points = [(float(n), bench.figures[f"{name}.{n}"].median) for n in IN_FLIGHT]
        bench.figures.series[f"concurrency.{name}"] = points
