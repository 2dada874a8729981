"""Amounts of money as the contract has them: google.type.Money, exact to the nano."""

from collections.abc import Iterable

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_pb2 import OrderItem

CURRENCY = "EUR"
_NANOS = 1_000_000_000


def total(items: Iterable[OrderItem]) -> Money:
    """The sum of quantity × unit price, which is the total of an order (proto/ordersys/api/order/v1/order.proto)."""
    nanos = sum(i.quantity * (i.unit_price.units * _NANOS + i.unit_price.nanos) for i in items)
    return Money(currency_code=CURRENCY, units=nanos // _NANOS, nanos=nanos % _NANOS)
