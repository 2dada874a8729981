"""Metrics of a process, read from the text it exposes them in (Prometheus text format 0.0.4). Pure.

Only names that the page shows are read. One that is missing is no error: a process may be of another version.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_LINE = re.compile(r"([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?", re.IGNORECASE)
_LABEL = re.compile(r'([a-z_][a-z0-9_]*)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_CALLS = "rpc_server_call_duration_seconds_count"
_OUTBOX, _OUTBOX_AGE = "ordersys_outbox_events", "ordersys_outbox_oldest_age_seconds"
_SAGA_AGE = "ordersys_sagas_oldest_age_seconds"
_DEAD_LETTERS = "ordersys_dead_letters"
_IMBALANCE = "ordersys_stock_imbalance_units"


class Metrics(NamedTuple):
    """The metrics of a process: None for what it does not tell."""

    calls: Mapping[str, float]
    """Calls served since it started, by package.Service/Method."""
    outbox: float | None
    outbox_age: float | None
    """Of the oldest event, in seconds."""
    dead_letters: float | None
    """A number that changes whenever there is one more, or one less."""
    imbalance: float | None = None
    """Units that are held for nobody, by the audit of all orders that the Product Service makes."""
    saga_age: float | None = None
    """Of the oldest saga that has not come to its end, in seconds."""


def parse(text: str) -> Metrics:
    """The metrics in an exposition. A line that is none is passed over."""
    calls: dict[str, float] = {}
    sums: dict[str, float] = {}
    for name, labels, value in _samples(text):
        if name == _CALLS:
            method = labels.get("rpc_method", "")
            calls[method] = calls.get(method, 0.0) + value
        elif name in (_OUTBOX, _OUTBOX_AGE, _IMBALANCE, _SAGA_AGE) or name.startswith(_DEAD_LETTERS):
            key = _DEAD_LETTERS if name.startswith(_DEAD_LETTERS) else name
            sums[key] = sums.get(key, 0.0) + value
    imbalance = sums.get(_IMBALANCE)
    known = None if imbalance is None or math.isnan(imbalance) else imbalance  # NaN while no audit has ended
    outbox, age = sums.get(_OUTBOX), sums.get(_OUTBOX_AGE)
    return Metrics(calls, outbox, age, sums.get(_DEAD_LETTERS), known, sums.get(_SAGA_AGE))


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for line in text.splitlines():
        sample = None if line.startswith("#") else _LINE.fullmatch(line.strip())
        if sample is None:
            continue
        try:
            value = float(sample[3])
        except ValueError:
            continue
        yield sample[1], dict(_LABEL.findall(sample[2] or "")), value
