"""Publishers and their users: which event is believed, given the user it was published by.

RabbitMQ takes no message whose `user_id` is not the user of its connection. The contract names the publisher of each
event; where a system has identities, its user has its name. Stated in proto/ordersys/api/order/v1/order_events.proto.
"""

from collections.abc import Mapping
from functools import cache
from typing import Protocol

from ordersys.contract.access import service_name
from ordersys.contract.events import Received, Undecodable
from ordersys.contract.properties import Malformed, Properties
from ordersys.contract.topology import events, publication

_NO_TABLE = "its headers are no table, so that a replay can't say who published it"


class Published(Received, Protocol):
    """A received message with whatever says who published it."""

    @property
    def user_id(self) -> str | bytes | None: ...  # noqa: D102
    @property
    def exchange(self) -> str: ...  # noqa: D102
    @property
    def properties(self) -> bytes: ...  # noqa: D102


class Publishers:
    """Believes the publishers of the contract, and no other user. Pure."""

    def __init__(self, own: str, replay_exchange: str) -> None:
        """`own` is the user of the subscriber, which replays its dead letters through `replay_exchange`."""
        self.own = own
        self._replay_exchange = replay_exchange

    def check(self, delivery: Published) -> None:
        """Raises Undecodable for an event that another user has published, or nobody says which."""
        # Of a replay the header tells; whoever else may publish can send the header, but not the user, and from
        # nowhere else is it believed.
        is_replay = delivery.user_id == self.own and delivery.exchange == self._replay_exchange
        _check(delivery, self._original(delivery) if is_replay else delivery.user_id)

    def check_replay(self, delivery: Published) -> None:
        """As `check`, of a dead letter once it is replayed. Also raises Undecodable where it can't be."""
        try:
            Properties(delivery.properties).for_a_replay(self.own)
        except Malformed:
            raise Undecodable(_NO_TABLE) from None
        _check(delivery, self._original(delivery))

    def _original(self, delivery: Published) -> str | bytes | None:
        try:
            return Properties(delivery.properties).original_user(self.own)
        except Malformed:
            raise Undecodable(_NO_TABLE) from None


def _check(delivery: Published, user: str | bytes | None) -> None:
    expected = _users().get(delivery.type)
    if expected is None or user == expected:  # of a type that is none decoding has more to say
        return
    if user is None:
        raise Undecodable(f"it does not say by which user it was published (user_id), which has to be {expected}")
    raise Undecodable(f"it was published by the user {user!r}, and not by {expected}")


@cache
def _users() -> Mapping[str | bytes | None, str]:
    """The user that publishes each event, by its full name."""
    return {name: service_name(publication(event).publisher) for name, event in events().items()}
