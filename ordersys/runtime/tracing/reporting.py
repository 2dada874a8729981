"""The fate of spans on their way out: exported, or lost, which is counted and said, whatever the SDK does in between.

The SDK's own queue drops the oldest where it is full, and tells nobody but its log. So it is given a span only where
there is room: each that was recorded is then exported, lost or still on its way.
"""

import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ordersys.runtime.metrics import instruments
from ordersys.runtime.metrics.table import SPANS_DROPPED

_log = logging.getLogger(__name__)


class Reporting(SpanExporter):
    """Exports spans, of which as many as there is `room` for may wait; says once when some get lost, and when none do.

    One thread asks for room, another exports: no number is changed by both.
    """

    def __init__(self, exporter: SpanExporter, room: int) -> None:
        self._exporter = exporter
        self._room = room
        self._admitted = self._without_room = 0
        self._taken = self._ended = self._failed = 0
        self._lost_then = 0  # at the last export
        self._lost_unsaid = 0  # since it was said that some are
        self._dropped = instruments.counter(SPANS_DROPPED)

    def admits(self) -> bool:
        """True where there is room for a span, which then has to be handed to the queue; else it is lost."""
        if self._admitted - self._taken >= self._room:
            self._without_room += 1
            self._dropped.inc()
            return False
        self._admitted += 1
        return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans; what can't be sent is lost."""
        self._taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            is_sent = result is SpanExportResult.SUCCESS
            if not is_sent:
                self._failed += len(spans)
                self._dropped.inc(len(spans))
            self._ended += len(spans)
            self._say(is_sent)
        return result

    def abandon(self) -> None:
        """Gives up what is still on its way."""
        if left := self._admitted - self._ended:
            self._dropped.inc(left)
            _log.warning("%d spans are lost: there was no time left to export them", left)

    def shutdown(self) -> None:
        """Ends it."""
        self._exporter.shutdown()

    def _say(self, is_sent: bool) -> None:
        lost = self._without_room + self._failed
        new, self._lost_then = lost - self._lost_then, lost
        if new and not self._lost_unsaid:
            if is_sent:
                _log.warning("spans are lost for want of room; does the collector take them as fast as they come?")
            else:
                _log.warning("spans can't be exported, and are lost; does the collector answer?")
        self._lost_unsaid += new
        if not new and self._lost_unsaid:
            _log.info("spans are exported again; %d were lost", self._lost_unsaid)
            self._lost_unsaid = 0
