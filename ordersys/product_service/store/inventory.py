"""The products one transaction is about: read at once, changed by the rules of stock, written at once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.type.money_pb2 import Money
from sqlalchemy import Connection, bindparam, case, select, update

from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.contract.errors import product_not_found
from ordersys.contract.times import timestamp
from ordersys.product_service.stock import Quantities, Stock, adjust, release, reserve, shortages
from ordersys.product_service.store.tables import PRODUCTS
from ordersys.runtime.storage.statements import Row, Statement, inserting

_COLUMNS = PRODUCTS.columns.keys()
UNLOCKED = Statement(select(PRODUCTS).where(PRODUCTS.c.product_id.in_(bindparam("ids", expanding=True))))
LOCKED = Statement(
    select(PRODUCTS).where(PRODUCTS.c.product_id.in_(bindparam("ids", expanding=True))),
    locked_by=PRODUCTS.c.product_id,
)
"""Reads products that stay as they are until the end of the transaction: for an answer that shows one."""
_INSERT = inserting(PRODUCTS)
# By how much: others may have changed the row since it was read. What falls below zero then is refused by the table
# (tables.py), and decided again on rows that are locked.
_UPDATE = Statement(
    update(PRODUCTS)
    .where(PRODUCTS.c.product_id == bindparam("id"))
    .values(
        available=PRODUCTS.c.available + bindparam("more_available"),
        held=PRODUCTS.c.held + bindparam("more_held"),
        # The clocks of two processes may differ: time goes on all the same.
        update_time=case(
            (PRODUCTS.c.update_time < bindparam("new_time"), bindparam("new_time")), else_=PRODUCTS.c.update_time
        ),
    )
)


class Inventory:
    """The products one transaction is about: read at once, changed one by one, written at once."""

    def __init__(
        self, connection: Connection, product_ids: Iterable[str], time: int, select: Statement = UNLOCKED
    ) -> None:
        """`select` reads the products, and may lock them."""
        self._select = select
        self._connection = connection
        self._time = time
        self._rows: dict[str, dict[str, Any]] = {}
        self._stock: dict[str, Stock] = {}
        self._added: list[str] = []
        self._changed: set[str] = set()
        self._prices: dict[str, Money] = {}
        self.load(product_ids)

    def load(self, product_ids: Iterable[str]) -> None:
        """Reads those of the products that were not read yet."""
        self.ask(product_ids)()

    def ask(self, product_ids: Iterable[str]) -> Callable[[], None]:
        """Asks for those that were not read yet, and returns what takes the answer (`Statement.ask`)."""
        # Sorted: where rows are locked one by one, two transactions never wait for each other in a circle.
        missing = sorted(set(product_ids).difference(self._rows))
        rows = self._select.ask(self._connection, ids=missing)
        return lambda: self._take(rows())

    def _take(self, rows: Iterable[Row]) -> None:
        for values in rows:
            row = dict(zip(_COLUMNS, values, strict=True))
            self._rows[row["product_id"]] = row
            self._stock[row["product_id"]] = Stock(row["available"], row["held"])

    def __contains__(self, product_id: str) -> bool:
        return product_id in self._rows

    def check(self, wanted: Iterable[str]) -> None:
        """Raises StatusError (PRODUCT_NOT_FOUND) for the first product there is none of."""
        for product_id in wanted:
            if product_id not in self._rows:
                raise product_not_found(product_id)

    def shortages(self, wanted: Quantities) -> list[Shortage]:
        """The products of `wanted` there is not enough of."""
        return shortages(self._stock, wanted)

    def reserve(self, wanted: Quantities) -> None:
        """Holds `wanted`."""
        self._put(reserve(self._stock, wanted))

    def release(self, held: Quantities) -> None:
        """Makes `held` available again."""
        self._put(release(self._stock, held))

    def adjust(self, product_id: str, delta: int) -> None:
        """Adds to the available stock."""
        self._put({product_id: adjust(self._stock[product_id], delta)})

    def price(self, product_id: str) -> Money:
        """The price of one unit now."""
        if product_id not in self._prices:
            # Made once a commit, however many items of it are ordered.
            self._prices[product_id] = _price(self._rows[product_id])
        return self._prices[product_id]

    def product(self, product_id: str) -> Product:
        """The product as it is at this moment of the transaction."""
        stock = self._stock[product_id]
        now = {**self._rows[product_id], **stock._asdict()}
        if product_id in self._changed:
            now["update_time"] = max(self._time, now["update_time"])
        return product(now)

    def add(self, product: Product) -> None:
        """A new product, nothing of it held."""
        self._rows[product.id] = row(product, self._time)
        self._stock[product.id] = Stock(product.available, 0)
        self._added.append(product.id)

    def write(self) -> None:
        """Writes what changed."""
        _INSERT.run(self._connection, [self._rows[product_id] for product_id in self._added])
        _UPDATE.run(self._connection, [self._values(product_id) for product_id in sorted(self._changed)])

    def _put(self, stock: Mapping[str, Stock]) -> None:
        self._stock.update(stock)
        self._changed.update(stock)

    def _values(self, product_id: str) -> dict[str, Any]:
        stock, row = self._stock[product_id], self._rows[product_id]
        return {
            "id": product_id,
            "more_available": stock.available - row["available"],
            "more_held": stock.held - row["held"],
            "new_time": self._time,
        }


def product(row: Mapping[str, Any]) -> Product:
    """The product a row tells of."""
    return Product(
        id=row["product_id"],
        name=row["name"],
        description=row["description"],
        unit_price=_price(row),
        available=row["available"],
        held=row["held"],
        create_time=timestamp(row["create_time"]),
        update_time=timestamp(row["update_time"]),
    )


def row(product: Product, time: int) -> dict[str, Any]:
    """The row of a new product, nothing of it held. `time` in microseconds since 1970."""
    return {
        "product_id": product.id,
        "name": product.name,
        "description": product.description,
        "price_units": product.unit_price.units,
        "price_nanos": product.unit_price.nanos,
        "price_currency": product.unit_price.currency_code,
        "available": product.available,
        "held": 0,
        "create_time": time,
        "update_time": time,
    }


def _price(row: Mapping[str, Any]) -> Money:
    return Money(currency_code=row["price_currency"], units=row["price_units"], nanos=row["price_nanos"])
