"""The seed of a new database: products, and the reservations of the orders that are there from the start."""

from collections.abc import Iterable

from sqlalchemy import Connection, insert

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.product_service.store.inventory import Inventory, row
from ordersys.product_service.store.tables import PRODUCTS, RESERVATIONS, stored
from ordersys.runtime.base.ids import now


class SeedMismatch(Exception):
    """The orders don't fit the products; the text names order and product."""


def seed(connection: Connection, products: Iterable[Product], orders: Iterable[Order]) -> None:
    """Fills a new database. Raises SeedMismatch."""
    time = now()
    rows = [row(product, time) for product in products]
    if rows:
        connection.execute(insert(PRODUCTS), rows)
    inventory = Inventory(connection, [row["product_id"] for row in rows], time)
    # A cancelled order has given its stock back.
    live = [order for order in orders if order.state != OrderState.ORDER_STATE_CANCELLED]
    reservations = [_reserve(inventory, order) for order in live]
    inventory.write()
    if reservations:
        connection.execute(insert(RESERVATIONS), reservations)


def _reserve(inventory: Inventory, order: Order) -> dict[str, str]:
    """The row of the order's reservation."""
    units = {item.product_id: item.quantity for item in order.items}
    for product_id in units:
        if product_id not in inventory:
            raise SeedMismatch(f"order {order.id}: items: there is no product {product_id!r}")
    for short in inventory.shortages(units):
        raise SeedMismatch(
            f"order {order.id}: items: {short.asked} of {short.product_id!r} are more than"
            f" the {short.available} there are"
        )
    inventory.reserve(units)
    return {"order_id": order.id, "units": stored(units)}
