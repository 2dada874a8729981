"""The command `trace`: the waterfall of an order, as the live page of the running system puts it together."""

import argparse
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest
from ordersys.console import output
from ordersys.grpc_client import discovery, layout, outcome
from ordersys.grpc_client.parser import TABLE
from ordersys.grpc_client.rules import check

_CALL_SECONDS = 10.0
_QUIET_MILLISECONDS = 1000
"""Spans come some hundred milliseconds after what they tell; by then there are no more of what has happened."""
_PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.2
_ON_THE_WAY = ("TRACE_NOT_HELD", "NO_TRACES")
_MOST_BYTES = 16 * 1024 * 1024
_LEAST_BAR, _MOST_BAR = 20, 60
_NO_TERMINAL = 120
"""Columns, where there is no terminal to ask."""
_GAP = "  "
_MILLISECOND, _SECOND = 1_000, 1_000_000
Document = Mapping[str, Any]


class _Refused(Exception):
    """There is no waterfall; the code and the reason are those of an error for programs."""

    def __init__(self, code: str, reason: str, text: str, status: int = outcome.NOT_REACHABLE) -> None:
        super().__init__(text)
        self.code, self.reason, self.status = code, reason, status


def trace(arguments: argparse.Namespace) -> int:
    """Draws the waterfall of an order, once spans have stopped to come. Raises UsageError, NotRunning among them."""
    check(GetOrderRequest(order_id=arguments.id), {"order_id": f"ORDER {arguments.id!r}"})
    try:
        document = _waterfalls(arguments)
    except _Refused as error:
        report = outcome.error(error.code, error.reason, str(error))
        return outcome.say(arguments.output, report, str(error), error.status)
    if arguments.output == TABLE:
        for line in drawn(document, output.width() or _NO_TERMINAL, _block()):
            output.line(line)
    else:
        output.document({name: value for name, value in document.items() if name != "quiet"})
    return outcome.DONE


def drawn(document: Document, width: int, block: str = "#") -> Iterator[str]:
    """The lines of a waterfall: who did what, how long, and when, in so many columns."""
    yield f"order {document['order']}"
    for waterfall in document["traces"]:
        began = datetime.fromtimestamp(waterfall["began"] / 1000, UTC)
        yield ""
        yield f"trace {waterfall['trace']}, began {began:%Y-%m-%d %H:%M:%S} UTC, took {_time(waterfall['duration'])}"
        yield from _rows(waterfall, width, block)
        if waterfall["omitted"]:
            yield f"and {waterfall['omitted']:,} more, which --json does not show either"
        if others := waterfall["omitted_linked"]:
            yield f"linked with {waterfall['linked']:,} traces, and {others:,} others, which are not shown"


def _rows(waterfall: Document, width: int, block: str) -> Iterator[str]:
    rows: Sequence[Document] = waterfall["rows"]
    texts = [output.shown(_GAP * row["depth"] + " ".join([row["label"], *_bracketed(row["notes"])])) for row in rows]
    services = [output.shown(row["service"]) for row in rows]
    times = [_time(row["duration"]) for row in rows]
    widths = [max(map(layout.cells, column), default=0) for column in (services, texts, times)]
    bar = min(width - sum(widths) - len(_GAP) * len(widths), _MOST_BAR)
    for row, service, text, took in zip(rows, services, texts, times, strict=True):
        cells = [layout.padded(service, widths[0]), layout.padded(text, widths[1])]
        line = _GAP.join([*cells, layout.padded(took, widths[2], right=True)])
        # Names are never cut; where that leaves no room there are no bars.
        yield line if bar < _LEAST_BAR else f"{line}{_GAP}{_bar(row, waterfall['duration'], bar, block)}"


def _bar(row: Document, whole: int, width: int, block: str) -> str:
    scale = width / max(whole, 1)
    start = min(int(row["start"] * scale), width - 1)
    length = max(min(round(row["duration"] * scale), width - start), 1)
    return f"{' ' * start}{block * length}"


def _bracketed(notes: Sequence[str]) -> Sequence[str]:
    return [f"({', '.join(notes)})"] if notes else []


def _time(microseconds: int) -> str:
    if microseconds < _MILLISECOND:
        return f"{microseconds} µs"
    is_short = microseconds < _SECOND
    return f"{microseconds / _MILLISECOND:,.1f} ms" if is_short else f"{microseconds / _SECOND:,.2f} s"


def _block() -> str:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#"
    return "█"


def _waterfalls(arguments: argparse.Namespace) -> Document:
    """The answer of the page, asked again while spans come. Raises _Refused, UsageError."""
    place = discovery.live_page(arguments.data_dir)
    if not place:
        start = "`python -m ordersys.local --live` (pip install 'ordersys[live]')"
        raise _Refused("UNAVAILABLE", "NO_LIVE_PAGE", f"traces are held by the live page, and none runs; start {start}")
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        document = _asked(place, arguments.id, arguments.timeout or _CALL_SECONDS)
        is_late = time.monotonic() > until
        if document.get("traces") and (is_late or document["quiet"] >= _QUIET_MILLISECONDS):
            return document
        if not document.get("traces") and (is_late or document.get("reason") not in _ON_THE_WAY):
            text = str(document.get("error", "there is no waterfall"))
            raise _Refused("NOT_FOUND", str(document.get("reason", "REFUSED")), text, outcome.REFUSED)
        time.sleep(_POLL_SECONDS)


def _asked(place: Mapping[str, str], order: str, seconds: float) -> Document:
    address = place.get("address", "")
    try:
        connection = http.client.HTTPConnection(address, timeout=seconds)
    except http.client.InvalidURL as error:
        raise _Refused("UNAVAILABLE", "NO_LIVE_PAGE", f"{address!r} is no address of a live page") from error
    try:
        key = Path(place.get("key_file", "")).read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {key}"}
        connection.request("GET", f"/live/orders/{quote(order, safe='')}/trace", headers=headers)
        document: Document = json.loads(connection.getresponse().read(_MOST_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = f"the live page at {address} does not answer: {error}; `status` says whether the system works"
        raise _Refused("UNAVAILABLE", "NO_LIVE_PAGE", text) from error
    finally:
        connection.close()
    return document
