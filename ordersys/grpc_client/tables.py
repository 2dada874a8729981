"""Products, orders and notifications for people, as tables, and for programs, as JSON."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, DeadLetterReason
from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product

console = Console(highlight=False)


def show_json(value: Any) -> None:
    """One JSON document, on one line."""
    print(json.dumps(value))


def to_dict(message: Message) -> Any:
    """The proto JSON of a message, with the contract's field names and zeros written out."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; a column whose name begins with > is set to the right."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table)


def say(text: str) -> None:
    """A line."""
    console.print(Text(shown(text)))


def shown(text: str) -> str:
    """What others wrote, fit for a terminal: what commands it is spelled out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show_products(products: Sequence[Product]) -> None:
    """Products with price and stock."""
    show(
        f"{len(products)} products",
        ("product", "name", ">price", ">available", ">held"),
        ([p.id, p.name, money(p.unit_price), str(p.available), str(p.held)] for p in products),
    )


def show_orders(orders: Sequence[Order]) -> None:
    """Orders, a line each."""
    show(
        f"{len(orders)} orders",
        ("order", "customer", "state", ">version", ">units", ">total", "created"),
        (_order_row(order) for order in orders),
    )


def show_order(order: Order) -> None:
    """One order with its items."""
    show_orders([order])
    show(
        "its items",
        ("product", ">quantity", ">unit price"),
        ([i.product_id, str(i.quantity), money(i.unit_price)] for i in order.items),
    )


def show_notifications(title: str, notifications: Sequence[Notification]) -> None:
    """What was recorded, in the order of recording."""
    show(
        f"{title}: {len(notifications)} notifications",
        (">record", "event", "recorded", "text"),
        ([str(n.sequence), kind(n), time(n.record_time), n.text + _late(n)] for n in notifications),
    )


def show_dead_letters(title: str, letters: Sequence[DeadLetter]) -> None:
    """What could not be taken, and whether it would be now."""
    show(
        f"{title}: {len(letters)} dead letters",
        ("dead letter", "event", "since", "why"),
        ([one.id, one.type.rpartition(".")[2], _since(one), _why(one)] for one in letters),
    )


def money(amount: Money) -> str:
    """59.97 EUR; more places only where they count."""
    places = f"{amount.nanos:09d}".rstrip("0").ljust(2, "0")
    return f"{amount.units:,}.{places} {amount.currency_code}"


def state(value: "OrderState.ValueType") -> str:
    """ORDER_STATE_PAID -> paid."""
    return OrderState.Name(value).removeprefix("ORDER_STATE_").lower()


def time(timestamp: Timestamp) -> str:
    """To the second, in UTC."""
    return timestamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")


def kind(notification: Notification) -> str:
    """The event's short name."""
    return notification.event.type_url.rpartition(".")[2]


def _order_row(order: Order) -> list[str]:
    units = sum(item.quantity for item in order.items)
    return [
        order.id,
        order.customer_id,
        state(order.state),
        str(order.version),
        str(units),
        money(order.total),
        time(order.create_time),
    ]


def _since(letter: DeadLetter) -> str:
    return time(letter.dead_letter_time) if letter.HasField("dead_letter_time") else ""


def _why(letter: DeadLetter) -> str:
    reason = DeadLetterReason.Name(letter.reason).removeprefix("DEAD_LETTER_REASON_").lower().replace("_", " ")
    return f"{'' if reason == 'unspecified' else f'{reason}; '}{letter.obstacle or 'would be taken now'}"


def _late(notification: Notification) -> str:
    return " (arrived late)" if notification.late else ""
