"""The pictures of a run, each from its figures: latency, concurrency, growth, memory, ours beside others. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.chart import Point, bars, from_nothing, labelled, lines, logarithmic
from benchmarks.figures import Figures

_PERCENTS = (0.0, 50.0, 90.0, 99.0, 99.9)
_LATENCIES = {
    "two_hops": "two empty hops, low load",
    "place_order.low": "PlaceOrder, low load",
    "place_order.half": "PlaceOrder, half of maximum rate",
    "place_order.64": "PlaceOrder, 64 in flight",
}
_CONCURRENCY = {
    "echo": "empty echo, calls/s",
    "place_order": "PlaceOrder, answered",
    "pipeline": "PlaceOrder, end to end",
}
_EVENTS = {
    "relay": "ordersys: relay",
    "pika.publish": "pika, pipelined",
    "aio_pika.publish": "aio-pika, pipelined",
    "kombu.publish": "kombu, one by one",
    "faststream.publish": "FastStream, pipelined",
    "pika.publish_one_by_one": "pika, one by one",
    "consumer": "ordersys: consumer",
    "pika.consume": "pika, acks only",
    "aio_pika.consume": "aio-pika, acks only",
    "kombu.consume": "kombu, acks only",
    "faststream.consume": "FastStream, acks only",
    "nameko.consume": "nameko, acks only",
}
_ORDERS = {
    "pipeline.64": "ordersys",
    "plain.guaranteed": "plain grpcio + pika, same guarantees",
    "plain.careless": "plain grpcio + pika, without",
}


def pictures(figures: Figures) -> Iterator[tuple[str, Figure]]:
    """The (name, picture) pairs for which there are figures."""
    drawings: Mapping[str, Callable[[Figures], Figure]] = {
        "latency": _latency,
        "concurrency": _concurrency,
        "growth": _growth,
        "memory": _memory,
        "events": lambda found: _bars(found, "Events/s, ours and others", "events/s", _EVENTS),
        "orders": lambda found: _bars(found, "Orders/s end to end, 64 in flight", "orders/s", _ORDERS),
    }
    for name, draw in drawings.items():
        try:
            yield name, draw(figures)
        except KeyError:  # not measured in this run
            continue


def _latency(figures: Figures) -> Figure:
    series = {words: _nines(figures.series[f"latency.{name}"]) for name, words in _LATENCIES.items()}

    def scales(axes: Axes) -> None:
        logarithmic(axes)
        axes.margins(x=0)
        labelled(axes, {_nine(percent): f"{percent:g}" for percent in _PERCENTS})

    return lines("Latency of a call", ("percentile", "ms"), series, scales)


def _nines(points: Sequence[Point]) -> list[Point]:
    return [(_nine(percent), y) for percent, y in points]


def _nine(percent: float) -> float:
    """A scale of percentiles by the number of nines: 0 for 0 %, 1 for 90 %, 2 for 99 %."""
    return math.log10(100 / (100 - percent))


def _concurrency(figures: Figures) -> Figure:
    series = {words: figures.series[f"concurrency.{name}"] for name, words in _CONCURRENCY.items()}
    in_flight = [x for x, _ in series["PlaceOrder, answered"]]

    def scales(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        labelled(axes, {x: f"{x:g}" for x in in_flight})

    return lines("Throughput against concurrency", ("in flight", "per s"), series, scales)


def _growth(figures: Figures) -> Figure:
    names = [name for name in figures if name.startswith("growth.") and f"{name}.empty" in figures]
    values = [(_grown(name), 100 * figures[name].median / figures[f"{name}.empty"].median, True) for name in names]
    if "growth.waiting.large" in figures:
        ratio = figures["growth.waiting.large"].median / figures["growth.waiting.empty"].median
        values.append(("most stored, events waiting", 100 * ratio, True))
    if not values:
        raise KeyError("growth")
    return bars("Orders/s of a full system", "% of an empty one's", [("empty", 100.0, False), *values])


def _grown(name: str) -> str:
    _, kind, count = name.split(".")
    return f"{int(count):,} {'orders stored' if kind == 'stored' else kind}"


def _memory(figures: Figures) -> Figure:
    series = {
        name.removeprefix("memory.").replace("_", " "): points
        for name, points in figures.series.items()
        if name.startswith("memory.")
    }
    if not series:
        raise KeyError("memory")
    names = ("orders processed", "MB resident")
    return lines("Memory over time, with the most orders stored", names, series, from_nothing)


def _bars(figures: Figures, title: str, unit: str, named: Mapping[str, str]) -> Figure:
    values = [
        (words, figures[name].median, words.startswith("ordersys")) for name, words in named.items() if name in figures
    ]
    if not values:
        raise KeyError(title)
    return bars(title, unit, values)
