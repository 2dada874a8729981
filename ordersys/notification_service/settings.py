"""Settings of a notification service."""

from dataclasses import dataclass

from ordersys.contract.addresses import Address
from ordersys.runtime.base.settings import choice, number
from ordersys.runtime.settings import Settings

AUTO, CHECKED, ANY = "auto", "checked", "any"
"""From whom events are taken: from the user of their publisher, or from any."""


@dataclass(frozen=True)
class NotificationSettings(Settings):
    """Settings of a notification service; its address has a variable of its own."""

    prefetch: int = number(500, 1, 10_000, "the most deliveries taken from the broker before they are acknowledged")
    publisher_users: str = choice(
        AUTO,
        (AUTO, CHECKED, ANY),
        "auto: checked with an identity, else any; checked: an event is taken only from the user that has the name of"
        " its publisher; any: from whoever may publish, for a broker on which all services share a user",
    )

    @property
    def listen_address(self) -> Address:
        """The address the service listens on, from whatever variable it has for that."""
        raise NotImplementedError
