"""The rules of stock: what is there can be held, what is held can be released, nothing falls below zero. Pure.

Whatever these functions do, available + held of each product stays what it was; only `adjust` changes it.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ordersys.api.order.v1.order_events_pb2 import Shortage

Quantities = Mapping[str, int]
"""Units by product id."""


class Stock(NamedTuple):
    """The units of one product."""

    available: int
    held: int


def shortages(stock: Mapping[str, Stock], wanted: Quantities) -> list[Shortage]:
    """The products of `wanted` there is not enough of, in the order asked."""
    return [
        Shortage(product_id=product_id, asked=units, available=stock[product_id].available)
        for product_id, units in wanted.items()
        if units > stock[product_id].available
    ]


def reserve(stock: Mapping[str, Stock], wanted: Quantities) -> dict[str, Stock]:
    """The products in `wanted` after reserving it. There must be no shortages."""
    return {product_id: _move(stock[product_id], units) for product_id, units in wanted.items()}


def release(stock: Mapping[str, Stock], held: Quantities) -> dict[str, Stock]:
    """The products in `held` after releasing it."""
    return {product_id: _move(stock[product_id], -units) for product_id, units in held.items()}


def adjust(stock: Stock, delta: int) -> Stock:
    """`delta` units more available; must not fall below zero."""
    return _checked(Stock(stock.available + delta, stock.held))


def more(wanted: Quantities, held: Quantities) -> dict[str, int]:
    """The units that `wanted` needs beyond `held`."""
    return dict(Counter(wanted) - Counter(held))


def plus(some: Quantities, others: Quantities) -> dict[str, int]:
    """Both together."""
    return dict(Counter(some) + Counter(others))


def _move(stock: Stock, units: int) -> Stock:
    """`units` from available to held."""
    return _checked(Stock(stock.available - units, stock.held + units))


def _checked(stock: Stock) -> Stock:
    if min(stock) < 0:
        raise ValueError(f"stock below zero: {stock}")
    return stock
