"""The sum of an order's items, computed apart from the services that are judged by it."""

from collections.abc import Iterable

from google.type.money_pb2 import Money

from ordersys.api.order.v1.order_pb2 import OrderItem

_NANOS = 1_000_000_000


def total(items: Iterable[OrderItem]) -> Money:
    """The sum of quantity × unit price."""
    nanos = sum(i.quantity * (i.unit_price.units * _NANOS + i.unit_price.nanos) for i in items)
    return Money(currency_code="EUR", units=nanos // _NANOS, nanos=nanos % _NANOS)
