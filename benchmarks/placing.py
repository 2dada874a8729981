"""How fast orders are placed, beside empty calls: S1, S2, S3, and the curve of concurrency."""

from functools import partial

from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.pipeline import UNLIMITED, place, place_at, place_many
from benchmarks.plan import BATCH, IN_FLIGHT, LOW_RATE, USUAL_IN_FLIGHT
from benchmarks.summary import curve, percentile
from benchmarks.systems import Measured

_END_TO_END = f"{GUARANTEED}; from the first call to the last record in both notification services"
_EMPTY = "empty message, no validation, nothing kept"
_AT_LOW_LOAD = f"{LOW_RATE:g} calls a second"
_LEAST_OPEN_SECONDS = 2.0  # at a few hundred calls a second, for a 99th percentile
_SHARES_OF_MAXIMUM = {"quarter": 0.25, "half": 0.5, "three_quarters": 0.75}


def measure(bench: Bench, measured: Measured) -> None:
    """All of it."""
    warm_up(bench, measured)
    for number in bench.terminal.rounds("64 in flight", bench.plan.rounds):
        in_turn(
            number,
            partial(_echo, bench, USUAL_IN_FLIGHT),
            partial(_orders, bench, measured, USUAL_IN_FLIGHT, drawn=number == 0),
            partial(_batches, bench, measured),
        )
    for number in bench.terminal.rounds("low load", bench.plan.rounds):
        in_turn(number, partial(_two_hops, bench), partial(_low, bench, measured, drawn=number == 0))
    _rates(bench, measured)
    _concurrency(bench, measured)


def warm_up(bench: Bench, measured: Measured) -> None:
    """Connections are made and code is warm when the first round begins."""
    place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds / 2)
    place_many(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds / 4)
    for target in (bench.echo, bench.two_hops):
        bench.calls(target, "echo", in_flight=8, seconds=0.3, most=UNLIMITED)


def _echo(bench: Bench, in_flight: int) -> None:
    answer = bench.calls(bench.echo, "echo", in_flight=in_flight, seconds=bench.plan.seconds, most=UNLIMITED)
    rate = len(answer["latencies"]) / (answer["ended"] - answer["began"])
    bench.figures.add(f"echo.{in_flight}", rate, "calls/s", _EMPTY)
    bench.figures.add(f"echo.{in_flight}.p50", 1000 * percentile(answer["latencies"], 50), "ms", _EMPTY)


def _orders(bench: Bench, measured: Measured, in_flight: int, drawn: bool = False) -> None:
    done = place(bench, measured, in_flight, bench.plan.seconds)
    add = bench.figures.add
    add(f"pipeline.{in_flight}", done.recorded, "orders/s", _END_TO_END)
    add(f"place_order.{in_flight}", done.accepted, "orders/s", f"{GUARANTEED}; as answered")
    add(f"place_order.{in_flight}.p50", 1000 * percentile(done.latencies, 50), "ms", GUARANTEED)
    add(f"place_order.{in_flight}.p99", 1000 * percentile(done.latencies, 99), "ms", GUARANTEED)
    if in_flight == USUAL_IN_FLIGHT:
        for process, seconds in done.processor.items():
            add(f"processor.{process}", 1e6 * seconds, "µs/order", "user and system time, 64 in flight")
    if drawn:
        bench.figures.series[f"latency.place_order.{in_flight}"] = _milliseconds(done.latencies)


def _batches(bench: Bench, measured: Measured) -> None:
    done = place_many(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    said = f"{BATCH} orders in each call"
    add = bench.figures.add
    add(f"pipeline.{USUAL_IN_FLIGHT}.batch", done.recorded, "orders/s", f"{said}; {_END_TO_END}")
    for percent in (50, 99):
        value = 1000 * percentile(done.latencies, percent)
        add(f"batch_place_orders.{USUAL_IN_FLIGHT}.p{percent}", value, "ms", f"a call, {said}; {GUARANTEED}")


def _two_hops(bench: Bench) -> None:
    answer = bench.calls(bench.two_hops, "echo", rate=LOW_RATE, seconds=_open_seconds(bench))
    bench.figures.add("two_hops.p50", 1000 * percentile(answer["latencies"], 50), "ms", f"{_EMPTY}; {_AT_LOW_LOAD}")
    bench.figures.series["latency.two_hops"] = _milliseconds(answer["latencies"])


def _low(bench: Bench, measured: Measured, drawn: bool) -> None:
    done = place_at(bench, measured, LOW_RATE, _open_seconds(bench))
    for percent in (50, 99):
        value = 1000 * percentile(done.latencies, percent)
        bench.figures.add(f"place_order.p{percent}", value, "ms", f"{GUARANTEED}; {_AT_LOW_LOAD}")
    if drawn:
        bench.figures.series["latency.place_order.low"] = _milliseconds(done.latencies)


def _rates(bench: Bench, measured: Measured) -> None:
    """Fixed rates, as shares of what 64 in flight have achieved end to end."""
    maximum = bench.figures[f"pipeline.{USUAL_IN_FLIGHT}"].median
    for number in bench.terminal.rounds("open loop", bench.plan.rounds):
        for share, part in _SHARES_OF_MAXIMUM.items():
            if share == "half" or number < bench.plan.curve_rounds:
                _at(bench, measured, share, part * maximum, drawn=number == 0)


def _at(bench: Bench, measured: Measured, share: str, rate: float, drawn: bool) -> None:
    done = place_at(bench, measured, rate, _open_seconds(bench))
    said = f"{GUARANTEED}; open loop, timed from when each call was due"
    bench.figures.add(f"place_order.{share}", rate, "orders/s", "the fixed rate")
    for percent in (50, 99):
        value = 1000 * percentile(done.latencies, percent)
        bench.figures.add(f"place_order.{share}.p{percent}", value, "ms", said)
    if drawn:
        bench.figures.series[f"latency.place_order.{share}"] = _milliseconds(done.latencies)


def _concurrency(bench: Bench, measured: Measured) -> None:
    for _ in bench.terminal.rounds("1, 8, 256 in flight", bench.plan.curve_rounds):
        for in_flight in IN_FLIGHT:
            if in_flight != USUAL_IN_FLIGHT:
                _echo(bench, in_flight)
                _orders(bench, measured, in_flight)
    for name, first in (("echo", "echo"), ("place_order", "place_order"), ("pipeline", "pipeline")):
        points = [(float(n), bench.figures[f"{first}.{n}"].median) for n in IN_FLIGHT]
        bench.figures.series[f"concurrency.{name}"] = points


def _open_seconds(bench: Bench) -> float:
    return max(bench.plan.seconds, _LEAST_OPEN_SECONDS)


def _milliseconds(latencies: list[float]) -> list[tuple[float, float]]:
    return [(percent, 1000 * seconds) for percent, seconds in curve(latencies)]
