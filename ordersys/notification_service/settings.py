"""Settings of a notification service."""

from dataclasses import dataclass

from ordersys.contract.addresses import Address
from ordersys.runtime.base.settings import number
from ordersys.runtime.settings import Settings


@dataclass(frozen=True)
class NotificationSettings(Settings):
    """Settings of a notification service; its address has a variable of its own."""

    prefetch: int = number(500, 1, 10_000, "the most deliveries taken from the broker before they are acknowledged")

    @property
    def listen_address(self) -> Address:
        """The address the service listens on, from whatever variable it has for that."""
        raise NotImplementedError
