"""The command `events`: what has happened to orders, and with --follow what happens, as it is recorded.

Read from the log of a notification service by its page tokens. A queue of our own at the broker would be the other
source: it needs the broker's address and the right to declare and bind, and shows nothing of what was before it.
Polling the log needs a gRPC address, takes no event from any subscriber, leaves nothing behind however it is ended,
and shows each event once, in the order of recording. Service 2 is subscribed to every kind of event, service 1 to
creations only.
"""

import argparse
import asyncio
import select
import sys
from collections import deque
from collections.abc import Sequence

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.grpc_client import errors, layout, outcome, printing, tables
from ordersys.grpc_client.connection import Client, Failed
from ordersys.grpc_client.layout import Column
from ordersys.grpc_client.listing import LogReader
from ordersys.grpc_client.parser import JSON, TABLE, TAIL
from ordersys.grpc_client.rules import check

_EVERYTHING = 2
_POLL_SECONDS = 0.5
_COLUMNS = (
    Column("order"),
    Column("event"),
    Column("version", right=True),
    Column("recorded"),
    Column("text", folds=True),
)
_WIDTHS = (36, 13, 7, 19)
"""Columns of a terminal for all but the text – a UUID, the longest name, a version, a time – since events to come are
not known when the first is shown."""
_LEAST_TEXT = 40  # room for a UUID, which is never cut
_GAPS = 2 * len(_WIDTHS)


async def events(client: Client, arguments: argparse.Namespace) -> int:
    """The last events, and with --follow those to come, until a signal."""
    if arguments.follow and arguments.output == JSON:
        raise UsageError("--follow has no end, so that it can't be one document; use -o jsonl")
    order_id = arguments.order or ""
    check(ListNotificationsRequest(order_id=order_id), {"order_id": f"--order {arguments.order!r}"})
    log = LogReader(client, arguments.service or _EVERYTHING, order_id)
    earlier: deque[Notification] = deque(maxlen=arguments.limit or TAIL)
    count = 0
    async for notification in log.read():
        earlier.append(notification)
        count += 1
    _show_earlier(arguments, earlier, count)
    return await _follow(log, arguments) if arguments.follow else outcome.DONE


def _show_earlier(arguments: argparse.Namespace, earlier: "deque[Notification]", count: int) -> None:
    if arguments.output == TABLE:
        _header()
        for notification in earlier:
            _row(notification)
    else:
        printing.resources(arguments, earlier, lambda: None)
    output.flush()
    if count > len(earlier) and not arguments.follow:
        printing.more(arguments, f"{count - len(earlier)} earlier ones")


async def _follow(log: LogReader, arguments: argparse.Namespace) -> int:
    """Goes on while the service is away, and says so once. Raises OutputClosed when its reader has gone."""
    silent = False
    while True:
        try:
            async for notification in log.read():
                _show(arguments, notification)
            if silent:
                output.error("it answers again")
            silent = False
        except Failed as failed:
            if errors.exit_status(failed) != outcome.NOT_REACHABLE:
                raise
            if not silent:
                output.error(f"{errors.sentence(failed)} Waiting for it.")
            silent = True
        output.flush()
        _check_reader()
        await asyncio.sleep(_POLL_SECONDS)


def _show(arguments: argparse.Namespace, notification: Notification) -> None:
    if arguments.output == TABLE:
        _row(notification)
    else:
        printing.lines(arguments, [notification])


def _header() -> None:
    width = output.width()
    if width is None or width >= sum(_WIDTHS) + _GAPS + _LEAST_TEXT:
        _in_columns([column.name for column in _COLUMNS], width)


def _row(notification: Notification) -> None:
    """In columns where they fit, else as a block."""
    width = output.width()
    cells = [
        notification.order_id,
        tables.kind(notification),
        str(notification.version or ""),
        tables.time(notification.record_time),
        f"{notification.text}{' (arrived late)' if notification.late else ''}",
    ]
    cells = [output.shown(cell) for cell in cells]
    if width is None or width >= sum(_WIDTHS) + _GAPS + _LEAST_TEXT:
        _in_columns(cells, width)
    else:
        for text in layout.block(_COLUMNS, cells, width):
            output.line(text)


def _in_columns(cells: Sequence[str], width: int | None) -> None:
    rest = len(cells[-1]) * 2 if width is None else width - sum(_WIDTHS) - _GAPS
    for text in layout.line(_COLUMNS, cells, (*_WIDTHS, rest)):
        output.line(text)


def _check_reader() -> None:
    """Between two events nothing is written, so that a pipe whose reader has gone would not be noticed.

    Raises OutputClosed.
    """
    ready = select.poll()
    ready.register(sys.stdout.fileno(), 0)  # POLLERR is always told
    if any(event & select.POLLERR for _, event in ready.poll(0)):
        raise output.OutputClosed
