"""Settings of the Product Service.

Of the Order Service's it has those that are about both: where it is, and the orders whose stock is reserved from the
start.
"""

from dataclasses import dataclass
from pathlib import Path

from ordersys.contract.addresses import Address, Addresses
from ordersys.runtime.base.settings import address, address_list, number, path
from ordersys.runtime.settings import Settings

_DATA = Path(__file__).parent.parent / "data"
PRODUCTS_FILE, ORDERS_FILE = _DATA / "products.json", _DATA / "orders.json"


@dataclass(frozen=True)
class ProductSettings(Settings):
    """Settings of the Product Service."""

    order_service_address: Addresses = address_list("127.0.0.1:50052", "where the Order Service listens")
    order_service_internal_address: Addresses = address_list(
        "127.0.0.1:50062", "where the Order Service listens to other services, once there are identities"
    )
    orders_file: Path = path(ORDERS_FILE, "the orders a new database starts with")
    publish_window: int = number(1000, 1, 100_000, "the most events on their way to the broker at a time")
    product_service_address: Address = address("127.0.0.1:50051", "where the Product Service listens")
    products_file: Path = path(PRODUCTS_FILE, "the products a new database starts with")
    call_timeout_seconds: int = number(5, 1, 300, "how long a call to the Order Service may take")
    sweep_seconds: int = number(2, 1, 30, "how often sagas without an outcome are looked for")
