"""How long clients wait for an answer, and whether they do."""

import random
from itertools import count

_DEADLINES = 300
# A call takes a few milliseconds: most moments lie within these.
_MOMENTS, _LATEST_SECONDS = 200, 0.1


class ClientBehaviour:
    """How patient clients are; these are."""

    seconds = 2.0
    """How long a client waits for an answer."""

    asks_again = 0.7
    """How likely a client is to repeat a request it has no answer to."""
    abandons = 0.3
    """How likely it is, if it does not, never to come back for it."""

    def timeout(self, dice: random.Random) -> float:
        """How long this time."""
        return self.seconds

    def given_up_after(self, dice: random.Random) -> float | None:
        """When the client cancels this call, if it does."""
        return None


class Hurried(ClientBehaviour):
    """Deadlines from 1 to 300 ms, one after the other, and a cancellation in every third call, later and later."""

    def __init__(self) -> None:
        self.calls = 0
        self._numbers = count(1)
        self._cancellations = count()

    def timeout(self, dice: random.Random) -> float:
        self.calls = next(self._numbers)
        return (self.calls % _DEADLINES + 1) / 1000

    def given_up_after(self, dice: random.Random) -> float | None:
        number, third = divmod(next(self._cancellations), 3)
        return None if third else (number % _MOMENTS / _MOMENTS) ** 2 * _LATEST_SECONDS


class AbandoningClients(ClientBehaviour):
    """Never ask twice."""

    asks_again = 0.0
    abandons = 1.0
