"""docs/performance.md: its figures come from a result file, its prose is written by hand around them. Pure.

A block stands between `<!-- figures: NAME -->` and `<!-- end -->`; everything else stays as it is.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures, read

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MARKS = {True: "met", False: "**missed**", None: "not measured"}


def written(page: str, document: Mapping[str, Any]) -> str:
    """The page with the figures of `document` in it. Raises KeyError when a block has a name nobody knows."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]](document)}\n\n{found[3]}", page)


def machine(document: Mapping[str, Any]) -> str:
    """What was measured on, when, how long."""
    on, versions = document["machine"], document["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"Measured {document['date'][:10]} ({document['mode']}, {document['seconds'] / 60:.0f} minutes, load before"
        f" {document['load_before']}): {on['processor']}, {on['cores']} cores, {on['memory_mb'] // 1024} GB,"
        f" {on['system']}.\n{named}."
    )


def goals(document: Mapping[str, Any]) -> str:
    """The goals, each part a line."""
    rows = []
    for name in (name for name in document if re.fullmatch(r"S\d(_batch)?", name)):
        goal = document[name]
        rows.append([name, goal["what"], _value(goal), goal["goal"], _MARKS[goal["met"]]])
        rows += [["", f"also {_named(also)}", _value(also), also["goal"], ""] for also in goal.get("also", ())]
    return table(["", "ratio", "value", "goal", ""], rows)


def processor(document: Mapping[str, Any]) -> str:
    """Where the processor time of an order goes: by process, and within each by code."""
    figures, profile = read(document), document["profile"]
    rows = []
    for name in (name for name in figures if name.startswith("processor.")):
        process = name.removeprefix("processor.")
        micros = figures[name].median
        where = ", ".join(f"{code} {share * micros:.0f}" for code, share in profile.get(process, {}).items())
        rows.append([process.replace("_", " "), f"{micros:.0f}", where or "–"])
    whole = sum(figures[name].median for name in figures if name.startswith("processor."))
    return table(["process", "µs an order", "of these, by the code that ran"], [*rows, ["all", f"{whole:.0f}", ""]])


def calls(document: Mapping[str, Any]) -> str:
    """Orders at each concurrency, and at fixed rates."""
    figures = read(document)
    rows = [
        [
            f"{n} in flight",
            *_medians(figures, f"echo.{n}", f"place_order.{n}", f"pipeline.{n}"),
            *_latencies(figures, n),
        ]
        for n in (1, 8, 64, 256)
    ]
    rows += [
        [
            f"open loop, {share.replace('_', ' ')}",
            "–",
            *_medians(figures, f"place_order.{share}"),
            "–",
            *_latencies(figures, share),
        ]
        for share in ("quarter", "half", "three_quarters")
    ]
    return table(["load", "empty echo/s", "PlaceOrder/s", "end to end/s", "p50 ms", "p99 ms"], rows)


def chosen(*prefixes: str) -> Callable[[Mapping[str, Any]], str]:
    """A block with every figure whose name begins so."""

    def block(document: Mapping[str, Any]) -> str:
        figures = read(document)
        names = [name for name in figures if name.startswith(prefixes)]
        rows = [[f"`{name}`", *_medians(figures, name), figures[name].unit, figures[name].said] for name in names]
        return table(["figure", "median", "unit", "with"], rows) if rows else "Not measured in this run."

    return block


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def number(value: float) -> str:
    """Three digits that count: 1,234 or 12.3 or 0.123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _value(part: Mapping[str, Any]) -> str:
    return "–" if part["value"] is None else f"{part['value']:.3g}"


def _named(part: Mapping[str, Any]) -> str:
    ours = part["ours"][0].rpartition(".service")[0] or part["ours"][0]
    return f"`{ours}` ÷ `{part['base'][0]}`" if part["base"] else f"`{ours}` and the like, the largest"


def _medians(figures: Figures, *names: str) -> list[str]:
    return [number(figures[name].median) if name in figures else "–" for name in names]


def _latencies(figures: Figures, what: object) -> list[str]:
    return _medians(figures, f"place_order.{what}.p50", f"place_order.{what}.p99")


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "machine": machine,
    "goals": goals,
    "processor": processor,
    "calls": calls,
    "events": chosen("relay", "consumer", "pika.", "aio_pika.", "kombu.", "faststream.", "nameko.", "notice."),
    "peers": chosen("pipeline.64", "plain."),
    "growth": chosen("growth."),
    "memory": chosen("memory."),
    "parts": chosen("pytest."),
}
