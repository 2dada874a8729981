"""Products, orders, notifications and dead letters for people."""

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, DeadLetterReason
from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.console import output
from ordersys.grpc_client import layout
from ordersys.grpc_client.layout import Column

_ORDERS = (
    Column("order"),
    Column("customer"),
    Column("state"),
    Column("version", right=True),
    Column("units", right=True),
    Column("total", right=True),
    Column("created"),
)


def show(title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table under its title."""
    output.line(title)
    safe = [[output.shown(cell) for cell in row] for row in rows]
    for line in layout.table(columns, safe, output.width()):
        output.line(line)


def show_products(products: Sequence[Product]) -> None:
    """Products with price and stock."""
    show(
        _counted(products, "product"),
        (
            Column("product"),
            Column("name", folds=True),
            Column("price", right=True),
            Column("available", right=True),
            Column("held", right=True),
        ),
        ([p.id, p.name, money(p.unit_price), str(p.available), str(p.held)] for p in products),
    )


def show_orders(orders: Sequence[Order]) -> None:
    """Orders, a line each."""
    show(_counted(orders, "order"), _ORDERS, (_order_row(order) for order in orders))


def show_order(order: Order) -> None:
    """One order with its items."""
    show_orders([order])
    show(
        "its items",
        (Column("product"), Column("quantity", right=True), Column("unit price", right=True)),
        ([i.product_id, str(i.quantity), money(i.unit_price)] for i in order.items),
    )


def show_notifications(title: str, notifications: Sequence[Notification]) -> None:
    """Notifications, in the order of recording."""
    show(
        f"{title}: {_counted(notifications, 'notification')}",
        (Column("record", right=True), Column("event"), Column("recorded"), Column("text", folds=True)),
        ([str(n.sequence), kind(n), time(n.record_time), n.text + _late(n)] for n in notifications),
    )


def show_dead_letters(title: str, letters: Sequence[DeadLetter]) -> None:
    """Dead letters, each with why it became one, and whether it would again."""
    show(
        f"{title}: {_counted(letters, 'dead letter')}",
        (Column("dead letter"), Column("event"), Column("since"), Column("why", folds=True)),
        ([d.id, d.type.rpartition(".")[2], _since(d), why(d)] for d in letters),
    )


def money(amount: Money) -> str:
    """59.97 EUR; more places only where they count."""
    sign = "-" if amount.units < 0 or amount.nanos < 0 else ""
    places = f"{abs(amount.nanos):09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{abs(amount.units):,}.{places} {amount.currency_code}"


def state(value: "OrderState.ValueType") -> str:
    """ORDER_STATE_PAID -> paid; the number of a state this client does not know."""
    return OrderState.Name(value).removeprefix("ORDER_STATE_").lower() if value in OrderState.values() else str(value)


def time(timestamp: Timestamp) -> str:
    """To the second, in UTC; the seconds since 1970 where no calendar has the time."""
    try:
        return timestamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return f"{timestamp.seconds} s"


def kind(notification: Notification) -> str:
    """The event's short name."""
    return notification.event.type_url.rpartition(".")[2]


def why(letter: DeadLetter) -> str:
    """The reason for which it is a dead letter, and the obstacle to a replay."""
    known = letter.reason in DeadLetterReason.values()
    name = DeadLetterReason.Name(letter.reason) if known else str(letter.reason)
    reason = name.removeprefix("DEAD_LETTER_REASON_").lower().replace("_", " ")
    return f"{'' if reason == 'unspecified' else f'{reason}; '}{letter.obstacle or 'would be taken now'}"


def _counted(resources: Sequence[object], name: str) -> str:
    return f"{len(resources)} {name}{'' if len(resources) == 1 else 's'}"


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


def _late(notification: Notification) -> str:
    return " (arrived late)" if notification.late else ""
