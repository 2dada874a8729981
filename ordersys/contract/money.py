"""Amounts of money as the contract has them: google.type.Money, exact to the nano."""

from collections.abc import Iterable

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_pb2 import OrderItem

CURRENCY = "EUR"
NANOS = 1_000_000_000  # in a unit of the currency, as google.type.Money counts


def nanos(items: Iterable[OrderItem]) -> int:
    """The exact sum of quantity × unit price, in billionths of the currency's unit."""
    total = 0  # an integer: a sum of floats is no exact amount
    for item in items:
        price = item.unit_price  # kept in a variable: protobuf makes a new Python object at each access
        total += item.quantity * (price.units * NANOS + price.nanos)
    return total


def total(items: Iterable[OrderItem]) -> Money:
    """The sum of quantity × unit price, which is the total of an order (proto/ordersys/api/order/v1/order.proto)."""
    units, rest = divmod(nanos(items), NANOS)
    return Money(currency_code=CURRENCY, units=units, nanos=rest)
