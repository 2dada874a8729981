"""docs/performance.md: its figures come from a result file, its prose is written by hand around them. Pure.

A block stands between `<!-- figures: NAME -->` and `<!-- end -->`; everything else stays as it is.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures, read
from benchmarks.goals import GOALS, SERVICES
from benchmarks.plan import LOW_RATE

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NOTHING = "Not measured in this run."
_ORDERS_AND_CALLS = {
    "pipeline.64": "an order",
    "pipeline.64.batch16": "16 a call",
    "pipeline.512.batch64": "64 a call",
    "echo.64": "an empty call",
    "echo.64.other_loop": "on the other loop",
}
_EVENTS = {
    "relay": "relay",
    "pika.publish": "pika publishes",
    "consumer": "consumer",
    "pika.consume": "pika consumes",
    "aio_pika.consume": "aio-pika consumes",
}
_PLAIN = {
    "plain.guaranteed.ours": "ours",
    "plain.guaranteed": "plain, same guarantees",
    "plain.careless.ours": "ours",
    "plain.careless": "plain, without",
}
_SHARED = {
    "postgresql.files": "SQLite",
    "postgresql.one": "PostgreSQL",
    "replicas.1": "1 process of each",
    "replicas.2": "2 of each",
    "replicas.4": "4 of each",
    "replicas.4.each": "4 of each, 64 in flight for each",
    "stock.hot": "4 of each, 2 products",
    "stock.spread": "4 of each, 10,000 products",
}
_OBSERVED = {"observed.none": "neither", "observed.usual": "metrics, 1 % of traces", "observed.all": "all traces"}
_IDENTITIES = {"identities.without": "without identities", "identities.with": "with identities"}
_PROCESSES = (*SERVICES, "postgresql", "rabbitmq", "client", "server")
_MARKS = {True: "met", False: "**missed**", None: "not measured"}


def written(page: str, document: Mapping[str, Any], secured: Mapping[str, Any] | None = None) -> str:
    """The page with the figures of `document`, and those of a run with identities where there is one.

    Raises KeyError for a block with an unknown name.
    """
    both = {**document, "secured": secured or {}}
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]](both)}\n\n{found[3]}", page)


def machine(document: Mapping[str, Any]) -> str:
    """The machine, the date and the duration of the run."""
    on, versions, interpreter = document["machine"], document["versions"], document["interpreter"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"Measured {document['date'][:10]} ({document['mode']}, {document['seconds'] / 60:.0f} minutes, load before"
        f" {document['load_before']}): {on['processor']}, {on['cores']} cores, {on['memory_mb'] // 1024} GB,"
        f" {on['system']}.\n{named}.\n\n"
        f"Event loop of the services and of their baselines: {interpreter['loop']}. The interpreter was"
        f" {interpreter['build']}; a loop of a million additions takes it {interpreter['loop_ms']:.0f} ms."
    )


def goals(document: Mapping[str, Any]) -> str:
    """The table of goals, with a line for each part; beside its value that of a run with identities."""
    rows, other = [], document.get("secured", {})
    for name in (name for name in document if re.fullmatch(r"S\d+(_batch)?", name)):
        goal = document[name]
        for index, part in enumerate(goal["parts"]):
            said = part["said"] if index else goal["what"]
            mark = _MARKS[part["met"]] if part["judges"] else "beside"
            secured = _secured(other.get(name, {}).get("parts", ()), part)
            first = ["" if index else name, said, part["measure"]]
            rows.append([*first, _value(part), part["goal"], mark, secured])
    return table(["", "ratio", "by", "value", "goal", "", "with identities"], rows)


def _secured(parts: Iterable[Mapping[str, Any]], part: Mapping[str, Any]) -> str:
    """The value of the same part in another run, and whether it misses the goal."""
    same = next((other for other in parts if _figures(other) == _figures(part)), None)
    if same is None:
        return "–"
    return f"{_value(same)} {_MARKS[False]}" if part["judges"] and same["met"] is False else _value(same)


def _figures(part: Mapping[str, Any]) -> tuple[str, list[str], list[str]]:
    """The figures that a part is of."""
    return part["measure"], [*part["ours"]], [*part["base"]]


def processor(columns: Mapping[str, str]) -> Callable[[Mapping[str, Any]], str]:
    """A table of microseconds by process; `columns` are names of figures and their headings."""

    def block(document: Mapping[str, Any]) -> str:
        figures = read(document)
        costs = {name: _costs(figures, name) for name in columns}
        processes = dict.fromkeys(process for cost in costs.values() for process in cost)
        rows = [
            [process.replace("_", " "), *(_micros(cost.get(process)) for cost in costs.values())]
            for process in processes
        ]
        sums = [figures[f"processor.{name}"].median if costs[name] else None for name in columns]
        heads = ["process", *columns.values()]
        return table(heads, [*rows, ["all", *map(_micros, sums)]]) if rows else _NOTHING

    return block


def idle(document: Mapping[str, Any]) -> str:
    """The processor time of an idle system."""
    used = sum(_costs(read(document), "idle").values())
    said = f"{used / 1000:.0f} ms of processor time a second, which is not subtracted from the cost of an order"
    return f"An idle system uses {said}." if used else _NOTHING


def profile(document: Mapping[str, Any]) -> str:
    """The processor time of an order within each service, by the code that ran; microseconds."""
    costs = _costs(read(document), "pipeline.64")
    rows = []
    for process, shares in document["profile"].items():
        if process in costs:
            where = ", ".join(f"{code} {share * costs[process]:.0f}" for code, share in shares.items())
            rows.append([process.replace("_", " "), f"{costs[process]:.0f}", where or "–"])
    return table(["service", "µs an order", "of these, by the code that ran"], rows) if rows else _NOTHING


def postgresql(document: Mapping[str, Any]) -> str:
    """The server, the machine and the date of the measurements on PostgreSQL, which may be another run's."""
    run = document.get("postgresql", {})
    if "version" not in run:
        return _NOTHING
    return f"{_when(run)}: PostgreSQL {run['version']} with its usual settings, {_where(run)}."


def identities(document: Mapping[str, Any]) -> str:
    """The machine and the date of the measurement with and without identities, which may be another run's."""
    run = document.get("identities", {})
    return f"{_when(run)}: {_where(run)}." if run else _NOTHING


def observed(document: Mapping[str, Any]) -> str:
    """The machine and the date of the measurement with metrics and traces, which may be another run's."""
    run = document.get("observed", {})
    return f"{_when(run)}: {_where(run)}." if run else _NOTHING


def with_identities(document: Mapping[str, Any]) -> str:
    """The machine and the date of the run with identities."""
    run = document.get("secured", {})
    return f"{_when(run)}: {_where(run)}." if run else "Not measured."


def _when(run: Mapping[str, Any]) -> str:
    return f"Measured {run['date'][:10]} ({run['mode']}, load before {run['load_before']})"


def _where(run: Mapping[str, Any]) -> str:
    on = run["machine"]
    return f"{on['processor']}, {on['cores']} cores, {on['memory_mb'] // 1024} GB"


def floor(document: Mapping[str, Any]) -> str:
    """An order compared with the floor: an empty call, plus an order whose call and commits are shared by many."""
    figures = read(document)
    if not _has_floor(figures):
        return _NOTHING
    order, call, work = _floor(figures)
    rows = [
        ["an empty call", f"{call:,.0f}", ""],
        ["an order where 64 share a call, without its client", f"{work:,.0f}", ""],
        ["the floor: both together", f"{call + work:,.0f}", f"{call / (call + work):.2f}"],
        ["an order in a call of its own", f"{order:,.0f}", f"{call / order:.2f}"],
        ["which is over the floor by", f"{order - call - work:,.0f}", f"{order / (call + work) - 1:.0%} of it"],
    ]
    return table(["64 in flight", "µs of processor time", "S1"], rows)


def peers_floor(document: Mapping[str, Any]) -> str:
    """The ratios of S9 if an order of ours cost no more than the floor."""
    figures = read(document)
    if not (_has_floor(figures) and "processor.plain.careless.ours" in figures):
        return _NOTHING
    order, call, work = _floor(figures)
    rows = []
    for said, plain in (("with the same guarantees", "plain.guaranteed"), ("without the guarantees", "plain.careless")):
        ratio = figures[f"processor.{plain}"].median / figures[f"processor.{plain}.ours"].median
        rows.append([said, f"{ratio:.2f}", f"{ratio * order / (call + work):.2f}"])
    return table(["the plain system ÷ ours, by processor time", "now", "at the floor"], rows)


def _has_floor(figures: Figures) -> bool:
    return all(f"processor.{name}" in figures for name in ("pipeline.64", "pipeline.512.batch64", "echo.64"))


def _floor(figures: Figures) -> tuple[float, float, float]:
    """The processor time of an order, of an empty call, and of an order of a large batch; microseconds."""
    order, call = figures["processor.pipeline.64"].median, figures["processor.echo.64"].median
    shared = _costs(figures, "pipeline.512.batch64")
    return order, call, sum(micros for process, micros in shared.items() if process != "client")


def low_load(document: Mapping[str, Any]) -> str:
    """PlaceOrder at low load compared with two calls in a row, and with two that commit as often as it does."""
    figures = read(document)
    names = {
        "two_hops.p50": "two empty hops",
        "two_hops.durable.p50": "the floor: two hops, a durable commit in each",
        "place_order.p50": "PlaceOrder",
    }
    if not all(name in figures for name in names):
        return _NOTHING
    empty, floor, order = (figures[name].median for name in names)
    (most,) = (goal.parts[0].bound.value for goal in GOALS if goal.name == "S2")
    rows = [
        [said, f"{p50:.2f}", f"{p50 / empty:.2f}", f"{p50 / floor:.2f}"]
        for said, p50 in zip(names.values(), (empty, floor, order), strict=True)
    ]
    rows += [
        ["the commits add", f"{floor - empty:.2f}", f"{floor / empty - 1:.2f}", ""],
        ["the rest of PlaceOrder adds", f"{order - floor:.2f}", f"{(order - floor) / empty:.2f}", ""],
        ["of which the goal has room for", f"{most * empty - floor:.2f}", f"{most - floor / empty:.2f}", ""],
    ]
    return table([f"{LOW_RATE:g} calls a second", "p50 ms", "÷ two empty hops", "÷ the floor"], rows)


def calls(document: Mapping[str, Any]) -> str:
    """Orders at each concurrency, and at fixed rates."""
    figures = read(document)
    rows = [
        [
            f"{n} in flight",
            *_medians(figures, f"echo.{n}", f"echo.{n}.other_loop", f"place_order.{n}", f"pipeline.{n}"),
            *_latencies(figures, n),
        ]
        for n in (1, 8, 64, 256)
    ]
    rows += [
        [
            f"open loop, {share.replace('_', ' ')}",
            "–",
            "–",
            *_medians(figures, f"place_order.{share}"),
            "–",
            *_latencies(figures, share),
        ]
        for share in ("quarter", "half", "three_quarters")
    ]
    return table(
        ["load", "empty echo/s", "on the other loop", "PlaceOrder/s", "end to end/s", "p50 ms", "p99 ms"], rows
    )


def chosen(*prefixes: str) -> Callable[[Mapping[str, Any]], str]:
    """A table of every figure whose name begins with one of these."""

    def block(document: Mapping[str, Any]) -> str:
        figures = read(document)
        names = [name for name in figures if name.startswith(prefixes)]
        rows = [[f"`{name}`", *_medians(figures, name), figures[name].unit, figures[name].said] for name in names]
        return table(["figure", "median", "unit", "with"], rows) if rows else _NOTHING

    return block


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def number(value: float) -> str:
    """A number with three significant digits: 1,234 or 12.3 or 0.123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _value(part: Mapping[str, Any]) -> str:
    return "–" if part["value"] is None else f"{part['value']:.3g}"


def _costs(figures: Figures, name: str) -> dict[str, float]:
    """Microseconds by process."""
    first = f"processor.{name}."
    medians = {each.removeprefix(first): figures[each].median for each in figures if each.startswith(first)}
    return {process: micros for process, micros in medians.items() if process in _PROCESSES}


def _micros(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _medians(figures: Figures, *names: str) -> list[str]:
    return [number(figures[name].median) if name in figures else "–" for name in names]


def _latencies(figures: Figures, what: object) -> list[str]:
    return _medians(figures, f"place_order.{what}.p50", f"place_order.{what}.p99")


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "machine": machine,
    "goals": goals,
    "processor": processor(_ORDERS_AND_CALLS),
    "idle": idle,
    "profile": profile,
    "floor": floor,
    "low_load": low_load,
    "bulk": chosen("pipeline.64", "pipeline.512", "batch_place_orders."),
    "calls": calls,
    "events": chosen("relay", "consumer", "pika.", "aio_pika.", "kombu.", "faststream.", "nameko.", "notice."),
    "processor_events": processor(_EVENTS),
    "peers": chosen("plain."),
    "processor_peers": processor(_PLAIN),
    "peers_floor": peers_floor,
    "growth": chosen("growth."),
    "memory": chosen("memory."),
    "parts": chosen("pytest."),
    "postgresql": postgresql,
    "shared": chosen("postgresql.", "replicas.", "stock.", "takeover.", "distance.", "shared."),
    "processor_shared": processor(_SHARED),
    "secured": with_identities,
    "identities": identities,
    "processor_identities": processor(_IDENTITIES),
    "observed": observed,
    "processor_observed": processor(_OBSERVED),
}
