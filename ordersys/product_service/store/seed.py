"""The seed of a new database: products, and the reservations of the orders that are there from the start."""

from collections.abc import Iterable

from sqlalchemy import Connection, insert

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.product_service.store.inventory import Inventory, row
from ordersys.product_service.store.placements import stored
from ordersys.product_service.store.tables import PLACEMENTS, PRODUCTS
from ordersys.runtime.base.ids import now


class SeedMismatch(Exception):
    """The orders don't fit the products; the text names order and product."""


def seed(connection: Connection, products: Iterable[Product], orders: Iterable[Order]) -> None:
    """Fills a new database. Raises SeedMismatch."""
    time = now()
    rows = [row(product, time) for product in products]
    if rows:
        connection.execute(insert(PRODUCTS), rows)
    shelf = Inventory(connection, [row["product_id"] for row in rows], time)
    live = [order for order in orders if order.state != OrderState.ORDER_STATE_CANCELLED]
    placements = [_hold(shelf, order) for order in live]
    shelf.write()
    if placements:
        connection.execute(insert(PLACEMENTS), placements)


def _hold(shelf: Inventory, order: Order) -> dict[str, object]:
    holding = {item.product_id: item.quantity for item in order.items}
    for product_id in holding:
        if product_id not in shelf:
            raise SeedMismatch(f"order {order.id}: items: there is no product {product_id!r}")
    for short in shelf.shortages(holding):
        raise SeedMismatch(
            f"order {order.id}: items: {short.asked} of {short.product_id!r} are more than"
            f" the {short.available} there are"
        )
    shelf.reserve(holding)
    return {
        "order_id": order.id,
        "request_id": order.id,
        "pending": False,
        "creation": None,
        "holding": stored(holding),
    }
