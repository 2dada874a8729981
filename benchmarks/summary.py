"""Medians, percentiles, and how far rounds lie from each other. Pure."""

import math
from collections.abc import Sequence
from statistics import median

_MAD_OF_A_NORMAL = 1.4826  # standard deviations in a median absolute deviation, for a normal distribution
_MEDIAN_OF_A_NORMAL = 1.2533  # standard errors of the median in one of the mean, √(π/2)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` % of them do not exceed (nearest rank). Raises ValueError."""
    if not values:
        raise ValueError("no values, no percentile")
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


def uncertainty(rounds: Sequence[float]) -> float:
    """The standard error of the median of `rounds`, from their absolute deviations: one odd round changes little."""
    middle = median(rounds)
    deviation = median([abs(value - middle) for value in rounds])
    return _MEDIAN_OF_A_NORMAL * _MAD_OF_A_NORMAL * deviation / math.sqrt(len(rounds))


def curve(values: Sequence[float], points: int = 100) -> list[tuple[float, float]]:
    """Points of (percent, value) of the distribution, denser towards its tail, for a chart."""
    ordered = sorted(values)
    percents = [100 * (1 - 10 ** (-3 * step / points)) for step in range(points + 1)]
    return [(round(p, 4), ordered[min(int(p / 100 * len(ordered)), len(ordered) - 1)]) for p in percents]


def curve_in_milliseconds(latencies: Sequence[float]) -> list[tuple[float, float]]:
    """The curve of latencies in seconds."""
    return [(percent, 1000 * seconds) for percent, seconds in curve(latencies)]
