"""The behaviour of clients: how long they wait for an answer, and whether they ask again."""

import random
from itertools import count

_DEADLINES = 300
# A call takes a few milliseconds: most moments lie within these.
_MOMENTS, _LATEST_SECONDS = 200, 0.1


class ClientBehaviour:
    """The behaviour of patient clients."""

    seconds = 2.0
    """The seconds a client waits for an answer."""

    asks_again = 0.7
    """The probability that a client repeats a request it has no answer to."""
    abandons = 0.3
    """The probability that, if it does not, it never comes back for it."""

    def timeout(self, dice: random.Random) -> float:
        """The deadline of the next call, in seconds."""
        return self.seconds

    def given_up_after(self, dice: random.Random) -> float | None:
        """The seconds after which the client cancels the next call, None if it does not."""
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
