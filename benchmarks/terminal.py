"""Output for people: progress while the run goes on, tables at its end; plain lines where there is no terminal."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.compare import Comparison
from benchmarks.documents import number
from benchmarks.figures import Figures

_MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]not measured[/]"}
_COLOURS = {"better": "green", "worse": "red", "same": ""}


class Terminal:
    """Progress on standard error: a bar of measurements, and the round under way."""

    def __init__(self, sections: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._all = self._progress.add_task("measurements", total=sections)

    def __enter__(self) -> "Terminal":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def section(self, words: str) -> Iterator[None]:
        """Shows a group of measurements while they are made, and afterwards how long they took."""
        began = time.monotonic()
        self._progress.update(self._all, description=words)
        yield
        self._progress.advance(self._all)
        self.line(f"{time.monotonic() - began:6.1f} s  {words}")

    def rounds(self, words: str, count: int) -> Iterator[int]:
        """Counts rounds, shown while they are under way."""
        task = self._progress.add_task(f"  {words}", total=count)
        for index in range(count):
            yield index
            self._progress.advance(task)
        self._progress.remove_task(task)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """A stage of a system that starts or stops."""
        task = self._progress.add_task(f"  system: {name}", total=None)
        yield lambda word: None
        self._progress.remove_task(task)

    def line(self, text: str) -> None:
        """Shows a line as it is."""
        self._console.print(text, markup=False, soft_wrap=True)


def show(goals: Mapping[str, Any], figures: Figures) -> None:
    """Shows the goals and the figures as tables on standard output."""
    console = Console(highlight=False)
    console.print(_goals_table(goals))
    console.print(_figures_table(figures))


def show_comparison(comparisons: Sequence[Comparison], against: str) -> None:
    """Shows the verdict on each figure."""
    table = Table("figure", "before", "now", "change", "noise", "verdict", title=f"compared with {against}")
    for comparison in comparisons:
        change, noise = f"{comparison.change:+.1%}", f"± {comparison.noise:.1%}"
        colour = _COLOURS[comparison.verdict]
        verdict = f"[{colour}]{comparison.verdict}[/]" if colour else comparison.verdict
        table.add_row(comparison.name, number(comparison.before), number(comparison.now), change, noise, verdict)
    Console(highlight=False).print(table)


def _goals_table(goals: Mapping[str, Any]) -> Table:
    table = Table("", "ratio", "by", "value", "goal", "", title="goals")
    for name, goal in goals.items():
        table.add_row(name, goal["what"], "", "", "", _MARKS[goal["met"]])
        for part in goal["parts"]:
            value = "–" if part["value"] is None else f"{part['value']:.3g}"
            table.add_row("", part["said"], part["measure"], value, part["goal"], "" if part["judges"] else "beside")
    return table


def _figures_table(figures: Figures) -> Table:
    """A table of figures; their guarantees are numbered notes below it."""
    notes = list(dict.fromkeys(figures[name].said for name in figures if figures[name].said))
    caption = "\n".join(f"{index}: {said}" for index, said in enumerate(notes, 1))
    table = Table("figure", "median", "unit", "lowest", "highest", "with", title="figures", caption=caption)
    table.caption_justify = "left"
    for name in figures:
        figure = figures[name]
        note = str(notes.index(figure.said) + 1) if figure.said else ""
        table.add_row(
            name, number(figure.median), figure.unit, number(min(figure.rounds)), number(max(figure.rounds)), note
        )
    return table
