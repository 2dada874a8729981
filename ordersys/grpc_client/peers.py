"""The four services as a person knows them. Imports nothing that takes time."""

from typing import NamedTuple

from ordersys.contract.addresses import Address, Addresses


class Peer(NamedTuple):
    """A service, and where it listens."""

    name: str
    module: str
    address: Address | Addresses
    """Where its process listens, or its processes."""


Peers = tuple[Peer, Peer, Peer, Peer]
PEERS: Peers = (
    Peer("Product Service", "product_service", Address("127.0.0.1", 50051)),
    Peer("Order Service", "order_service", Address("127.0.0.1", 50052)),
    Peer("Notification Service 1", "notification_service_1", Address("127.0.0.1", 50053)),
    Peer("Notification Service 2", "notification_service_2", Address("127.0.0.1", 50054)),
)
"""Their addresses by default."""


def variable(module: str) -> str:
    """The variable that says where a service listens."""
    return f"ORDERSYS_{module.upper()}_ADDRESS"
