"""Settings of the Order Service."""

from dataclasses import dataclass
from pathlib import Path

from ordersys.contract.addresses import Address
from ordersys.runtime.base.settings import address, number, path
from ordersys.runtime.settings import Settings

ORDERS_FILE = Path(__file__).parent.parent / "data" / "orders.json"


@dataclass(frozen=True)
class OrderSettings(Settings):
    """Settings of the Order Service."""

    order_service_address: Address = address("127.0.0.1:50052", "where the Order Service listens")
    order_service_internal_address: Address = address(
        "127.0.0.1:50062", "where the Order Service listens to other services, once there are identities"
    )
    orders_file: Path = path(ORDERS_FILE, "the orders a new database starts with")
    publish_window: int = number(1000, 1, 100_000, "the most events on their way to the broker at a time")
