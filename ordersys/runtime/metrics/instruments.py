"""Instruments: what counts and measures in the code of a service, each bound once to its series of the table.

Until `switch_on` was called they do nothing, and Prometheus's client library is not imported. So it is called before
anything that measures is made, and tests that make parts of a service need not care. All of it may be used from any
thread, and waits for nothing.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from ordersys.runtime.metrics.table import Metric

Key = TypeVar("Key")
Instrument = TypeVar("Instrument")
Read = Callable[[], float]


class Counter(Protocol):
    """A number that only grows."""

    def inc(self, amount: float = 1) -> None:
        """Adds to it."""
        ...


class Gauge(Protocol):
    """A number that goes up and down."""

    def set(self, value: float) -> None:
        """Says what it is now."""
        ...


class Histogram(Protocol):
    """Observations, counted by size."""

    def observe(self, amount: float) -> None:
        """Counts an observation."""
        ...


class Sample(Protocol):
    """A number of a series, as Prometheus has it: a histogram has several, some of them with a label `le`."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def labels(self) -> dict[str, str]: ...  # noqa: D102

    @property
    def value(self) -> float: ...  # noqa: D102


class Binder(Protocol):
    """The library that keeps the series."""

    def counter(self, metric: Metric, labels: dict[str, str]) -> Counter: ...  # noqa: D102
    def gauge(self, metric: Metric, labels: dict[str, str]) -> Gauge: ...  # noqa: D102
    def histogram(self, metric: Metric, labels: dict[str, str]) -> Histogram: ...  # noqa: D102
    def reading(self, metric: Metric, labels: dict[str, str], read: Read) -> None: ...  # noqa: D102
    def exposed(self, accept: str) -> tuple[str, bytes]: ...  # noqa: D102
    def collected(self) -> Iterator[tuple[Metric, Sequence[Sample]]]: ...  # noqa: D102


class _Off:
    """Each kind of instrument, while metrics are off."""

    def inc(self, amount: float = 1) -> None:
        pass

    def set(self, value: float) -> None:
        pass

    def observe(self, amount: float) -> None:
        pass


OFF = _Off()
_binder: Binder | None = None


def switch_on(service: str) -> Binder:
    """Has all that is bound from now on counted; the binder, which exposes it."""
    # With it the library would keep its series in files, for processes that share them, which ours don't.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    # The library takes 80 ms and 1 MB: only of who wants metrics.
    from ordersys.runtime.metrics.prometheus import Prometheus  # noqa: PLC0415

    global _binder  # noqa: PLW0603 - as with logging, whatever measures need not be handed it
    _binder = Prometheus(service)
    return _binder


def switch_off() -> None:
    """Has whatever is bound from now on do nothing."""
    global _binder  # noqa: PLW0603
    _binder = None


def are_on() -> bool:
    """True where something is counted: to be asked before an effort that only a metric needs."""
    return _binder is not None


def counter(metric: Metric, **labels: str) -> Counter:
    """The counter with these labels."""
    return OFF if _binder is None else _binder.counter(metric, _checked(metric, labels))


def gauge(metric: Metric, **labels: str) -> Gauge:
    """The gauge with these labels."""
    return OFF if _binder is None else _binder.gauge(metric, _checked(metric, labels))


def histogram(metric: Metric, **labels: str) -> Histogram:
    """The histogram with these labels."""
    return OFF if _binder is None else _binder.histogram(metric, _checked(metric, labels))


def reading(metric: Metric, read: Read, **labels: str) -> None:
    """Has a gauge read from memory whenever somebody looks, in another thread: `read` waits for nothing.

    Of several with the same labels the sum is shown.
    """
    if _binder is not None:
        _binder.reading(metric, _checked(metric, labels), read)


class Children(dict[Key, Instrument]):
    """Instruments by what their labels depend on, each bound when it is first asked for."""

    def __init__(self, bind: Callable[[Key], Instrument], keys: Iterable[Key] = ()) -> None:
        """Binds those of `keys` at once: of a series that is there with 0 the first step is seen."""
        super().__init__()
        self._bind = bind
        for key in keys:
            self[key] = bind(key)

    def __missing__(self, key: Key) -> Instrument:
        instrument = self[key] = self._bind(key)
        return instrument


class Stopwatch:
    """A context that has the seconds spent in it observed, where it does not end with an exception."""

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self._seconds.observe(time.perf_counter() - self._began)


def _checked(metric: Metric, labels: dict[str, str]) -> dict[str, str]:
    """The labels, in the order of the table. Raises ValueError unless they are those of `metric`."""
    declared = {label.name: label for label in metric.labels}
    if declared.keys() != labels.keys():
        raise ValueError(f"{metric.name} has the labels {', '.join(declared)}, not {', '.join(labels)}")
    for name, label in declared.items():
        if label.values and labels[name] not in label.values:
            raise ValueError(f"{labels[name]!r} is no {name} of {metric.name}")
    return {name: labels[name] for name in declared}
