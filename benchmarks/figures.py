"""Figures by name: the values of their rounds, their unit, and the guarantees that were kept meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

GUARANTEED = "durable commits, confirms, quorum queues, inbox"


@dataclass
class Figure:
    """The values of all rounds, in the order they were measured."""

    unit: str
    said: str = ""
    """The guarantees that were kept, or which of ours were not, and the method where it is not obvious."""
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def higher_is_better(self) -> bool:
        """True for rates; times and sizes are better when they are smaller, also time used in each second."""
        return self.unit.endswith("/s") and self.unit != "µs/s"


class Figures:
    """Figures by name, in the order of their first round."""

    def __init__(self) -> None:
        self._by_name: dict[str, Figure] = {}
        self.series: dict[str, list[tuple[float, float]]] = {}
        """Curves for the pictures, by name: pairs of x and y."""

    def add(self, name: str, value: float, unit: str, said: str = "") -> None:
        """Adds a round of a figure."""
        self._by_name.setdefault(name, Figure(unit, said)).rounds.append(value)

    def add_processor(self, name: str, used: Mapping[str, float], unit: str, said: str) -> None:
        """One more round of the processor time of something measured: of each process, and of all together.

        `used` in seconds an order, event or call; what the figures hold are microseconds.
        """
        for process, seconds in used.items():
            self.add(f"processor.{name}.{process}", 1e6 * seconds, unit, said)
        self.add(f"processor.{name}", 1e6 * sum(used.values()), unit, said)

    def __getitem__(self, name: str) -> Figure:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def document(self) -> dict[str, Any]:
        """The figures as they are stored in a result file."""
        return {
            name: {"median": f.median, "unit": f.unit, "said": f.said, "rounds": f.rounds}
            for name, f in self._by_name.items()
        }


def read(document: Mapping[str, Any]) -> Figures:
    """The figures of a result file."""
    figures = Figures()
    for name, figure in document["figures"].items():
        for value in figure["rounds"]:
            figures.add(name, value, figure["unit"], figure["said"])
    figures.series = {name: [(x, y) for x, y in points] for name, points in document["series"].items()}
    return figures
