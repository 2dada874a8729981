"""Answers in the form that was asked for: a table for people; JSON, a document a line, or ids alone for programs."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter
from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.console import output
from ordersys.grpc_client import as_json
from ordersys.grpc_client.parser import ID, JSON, JSONL, TABLE

Resource: TypeAlias = Product | Order | Notification | DeadLetter


def is_for_program(arguments: argparse.Namespace) -> bool:
    """True where errors, too, are to be JSON."""
    return arguments.output in (JSON, JSONL)


def resource(arguments: argparse.Namespace, message: Resource, table: Callable[[], None]) -> None:
    """One resource; `table` shows it to people."""
    if arguments.output == TABLE:
        table()
    elif arguments.output == ID:
        output.line(identifier(message))
    else:
        output.document(as_json.to_dict(message))


def resources(arguments: argparse.Namespace, messages: Sequence[Resource], table: Callable[[], None]) -> None:
    """A whole list; `table` shows it to people."""
    if arguments.output == TABLE:
        table()
    elif arguments.output == JSON:
        output.document([as_json.to_dict(message) for message in messages])
    else:
        lines(arguments, messages)


def lines(arguments: argparse.Namespace, messages: Iterable[Resource], service: int | None = None) -> None:
    """A part of a list, an id or a document a line; of two services each document has the number of its own."""
    for message in messages:
        if arguments.output == ID:
            output.line(identifier(message))
        else:
            number = {} if service is None else {"service": service}
            output.document({**number, **as_json.to_dict(message)})


def identifier(message: Resource) -> str:
    """The id by which others know it."""
    return message.event_id if isinstance(message, Notification) else message.id


def is_streamed(arguments: argparse.Namespace) -> bool:
    """True where a list can be written while it is still read."""
    return arguments.output in (JSONL, ID)


def more(arguments: argparse.Namespace, rest: str) -> None:
    """Says on standard error that a list was cut, and what shows the rest; to programs unless they named the limit."""
    if arguments.output == TABLE or arguments.limit is None:
        output.flush()
        output.error(f"more: {rest}; --limit all shows everything")
