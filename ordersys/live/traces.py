"""Spans that were received, held as the octets they came in: the newest traces, within bounds. Pure.

An order is one trace, or one for each change of it; what it may share with others, such as a commit, a call or a
window, is a trace of its own, and the two are linked. So an order alone makes some ten traces.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

K = TypeVar("K")
MOST_TRACES = 20_000
"""Those of some 2,000 orders, each alone; of more where they share."""
MOST_BYTES = 64 * 1024 * 1024
MOST_SPANS = 2_000
"""Of one trace; more are refused: what should end it never does."""
_SPAN_BYTES, _REFERENCE_BYTES = 500, 200  # what the interpreter adds, roughly, so that the bound is one of memory


class Received(NamedTuple):
    """A span as it came, with whatever it is found by. Ids are those of OTLP: 16 octets a trace, 8 a span."""

    trace: bytes
    span: bytes
    service: str
    octets: bytes
    """A `Span` of opentelemetry.proto.trace.v1, serialised."""
    orders: Sequence[str] = ()
    """The orders it is about."""
    linked: Sequence[bytes] = ()
    """Other traces that it is linked to."""

    @property
    def size(self) -> int:
        """The memory that it takes, roughly, in bytes."""
        return len(self.octets) + _SPAN_BYTES + _REFERENCE_BYTES * (len(self.orders) + len(self.linked))


class Traces:
    """The traces that came last. Used from one event loop."""

    def __init__(self, most_traces: int = MOST_TRACES, most_bytes: int = MOST_BYTES) -> None:
        self._most_traces, self._most_bytes = most_traces, most_bytes
        self._spans: OrderedDict[bytes, dict[bytes, Received]] = OrderedDict()
        """By trace, in the order in which their first spans came; each span once, however often it was sent."""
        self._of_order: dict[str, dict[bytes, int]] = {}
        """The traces about an order, each with the number of its spans that say so."""
        self._linking: dict[bytes, dict[bytes, int]] = {}
        """The traces that are linked to one, by that, counted alike."""
        self._heard: dict[bytes, float] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, received: Iterable[Received], now: float = 0.0) -> int:
        """Takes spans at a time in seconds; the number of those that are refused. Where there is no room the oldest
        traces go.
        """
        refused = sum(not self._add(span, now) for span in received)
        while len(self._spans) > self._most_traces or self.size > self._most_bytes:
            self._drop(next(iter(self._spans)))
        return refused

    def of_order(self, order_id: str) -> Sequence[bytes]:
        """The traces that are about an order, in the order they came in."""
        return list(self._of_order.get(order_id, ()))

    def spans(self, trace: bytes) -> Sequence[Received]:
        """The spans of a trace; none where it is not held."""
        return list(self._spans.get(trace, {}).values())

    def heard(self, trace: bytes) -> float:
        """The time at which the last span of a trace came that is held."""
        return self._heard[trace]

    def linked(self, trace: bytes) -> Sequence[bytes]:
        """The traces that are linked with this one, by their own word or by its."""
        own = (other for span in self._spans.get(trace, {}).values() for other in span.linked)
        return [other for other in dict.fromkeys([*own, *self._linking.get(trace, ())]) if other in self._spans]

    def _add(self, span: Received, now: float) -> bool:
        spans = self._spans.setdefault(span.trace, {})
        if span.span not in spans and len(spans) >= MOST_SPANS:
            return False
        if before := spans.get(span.span):
            self._count(before, -1)
        spans[span.span] = span
        self._heard[span.trace] = now
        self._count(span, 1)
        return True

    def _drop(self, trace: bytes) -> None:
        del self._heard[trace]
        for span in self._spans.pop(trace).values():
            self._count(span, -1)

    def _count(self, span: Received, step: int) -> None:
        """Counts a span in, by 1, or out again, by -1."""
        self.size += step * span.size
        for order in span.orders:
            _count(self._of_order, order, span.trace, step)
        for other in span.linked:
            _count(self._linking, other, span.trace, step)


def _count(index: dict[K, dict[bytes, int]], key: K, trace: bytes, step: int) -> None:
    traces = index.setdefault(key, {})
    traces[trace] = traces.get(trace, 0) + step
    if not traces[trace]:
        del traces[trace]
    if not traces:
        del index[key]
