"""How long clients wait for an answer, and whether they do."""

import random

_CANCELS = 0.3


class Manner:
    """How patient clients are; these are."""

    seconds = 2.0
    """How long a client waits for an answer."""

    asks_again = 0.7
    """How likely a client is to repeat a request it has no answer to."""
    deserts = 0.3
    """How likely it is, if it does not, never to come back for it."""

    def timeout(self, dice: random.Random) -> float:
        """How long this time."""
        return self.seconds

    def given_up_after(self, dice: random.Random) -> float | None:
        """When the client cancels this call, if it does."""
        return None


class Hurried(Manner):
    """Deadlines from 1 to 300 ms, and cancellations in between."""

    def timeout(self, dice: random.Random) -> float:
        return dice.randint(1, 300) / 1000

    def given_up_after(self, dice: random.Random) -> float | None:
        return dice.uniform(0.0, 0.1) if dice.random() < _CANCELS else None


class Deserters(Manner):
    """Never ask twice."""

    asks_again = 0.0
    deserts = 1.0
