"""Amounts of money as the contract has them: google.type.Money, exact to the nano."""

from collections.abc import Iterable

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_pb2 import OrderItem

CURRENCY = "EUR"
NANOS = 1_000_000_000


def nanos(items: Iterable[OrderItem]) -> int:
    """The exact sum of quantity × unit price, in billionths of the currency's unit."""
    return sum(i.quantity * (i.unit_price.units * NANOS + i.unit_price.nanos) for i in items)


def total(items: Iterable[OrderItem]) -> Money:
    """The sum of quantity × unit price, which is the total of an order (proto/ordersys/api/order/v1/order.proto)."""
    units, rest = divmod(nanos(items), NANOS)
    return Money(currency_code=CURRENCY, units=units, nanos=rest)
