"""Comparison of a run with an older one: a verdict for each figure, which is "same" within the noise. Pure."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from benchmarks.figures import Figure, Figures
from benchmarks.goals import GOALS, Part
from benchmarks.summary import uncertainty

Verdict = Literal["better", "worse", "same"]
_LEAST = 0.05
"""Machines drift by as much between two runs, however well the rounds of each agree."""
_CERTAINTY = 3.0
"""Standard errors a difference has to exceed: one figure in some hundreds is called changed by chance."""


class Comparison(NamedTuple):
    """A figure before and now. `change` and `noise` are relative to the value before."""

    name: str
    before: float
    now: float
    change: float
    noise: float
    verdict: Verdict


def compare(before: Figures, now: Figures, same_machine: bool) -> list[Comparison]:
    """A comparison for each goal, and for each figure where both runs were on the same machine."""
    ratios = list(_ratios(before, now))
    return ratios + (list(_figures(before, now)) if same_machine else [])


def verdict(change: float, noise: float, higher_is_better: bool) -> Verdict:
    """The verdict on a change, given the noise: same, better or worse."""
    if abs(change) <= noise:
        return "same"
    return "better" if (change > 0) == higher_is_better else "worse"


def _figures(before: Figures, now: Figures) -> Iterator[Comparison]:
    for name in now:
        if name in before and before[name].unit == now[name].unit:
            old, new = before[name], now[name]
            yield _comparison(name, old.median, new.median, (old, new), new.higher_is_better)


def _ratios(before: Figures, now: Figures) -> Iterator[Comparison]:
    for goal in GOALS:
        for part in goal.parts:
            if all(name in figures for name in (*part.ours, *part.base) for figures in (before, now)):
                yield _ratio(goal.name, part, before, now)


def _ratio(name: str, part: Part, before: Figures, now: Figures) -> Comparison:
    """The noise of a goal: that of all figures it is computed from."""
    old, new = (part.value(figures) for figures in (before, now))
    sources = [figures[source] for figures in (before, now) for source in (*part.ours[:1], *part.base[:1])]
    label = f"{name} ({part.ours[0]} ÷ {part.base[0]})" if part.base else f"{name} ({part.ours[0]})"
    return _comparison(label, old, new, tuple(sources), part.bound.relation == ">=")


def _comparison(name: str, old: float, new: float, sources: tuple[Figure, ...], higher: bool) -> Comparison:
    change = new / old - 1
    noise = max(_LEAST, _CERTAINTY * math.hypot(*(uncertainty(f.rounds) / f.median for f in sources)))
    return Comparison(name, old, new, change, noise, verdict(change, noise, higher))
