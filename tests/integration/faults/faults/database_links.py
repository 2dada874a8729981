"""Faults of the network between processes and their database: of one process, or of all; and lost commit replies."""

import time
from collections.abc import Callable, Iterator, Sequence

from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.network import (
    Away,
    CommitRepliesLost,
    Condition,
    HalfOpen,
    RepliesLost,
    RequestsLost,
    Slow,
)
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_NO_LINK = "there is no network between a process and its file"
_WEATHERS: dict[str, Callable[[], Condition]] = {
    "away": Away,
    "half-open": HalfOpen,
    "replies lost": RepliesLost,
    "requests lost": RequestsLost,
    "slow": lambda: Slow(0.005),
}
_LEAST_SECONDS, _MOST_SECONDS = 3.0, 20.0


def database_link_faults() -> Iterator[Fault]:
    """Each condition, for one process and for all of them."""
    for name, condition in _WEATHERS.items():
        yield Fault(f"{name} between database and one process", _weather(condition, False), servers_only=_NO_LINK)
        yield Fault(f"{name} between database and all", _weather(condition, True), servers_only=_NO_LINK)
    yield Fault("reset of all database connections", _resets, servers_only=_NO_LINK)
    for service in ("order_service", "product_service"):
        reset, silent = _loses_replies(service, silently=False), _loses_replies(service, silently=True)
        yield Fault(f"connections of {service} reset at the reply to COMMIT", reset, servers_only=_NO_LINK)
        yield Fault(f"replies to COMMIT of {service} lost", silent, servers_only=_NO_LINK)


def _weather(condition: Callable[[], Condition], everywhere: bool) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        links = "database" if everywhere else context.dice.choice(context.environment.processes)
        with context.environment.weather(condition, links):
            context.last(_LEAST_SECONDS, _MOST_SECONDS)
        return ()

    return act


def _resets(context: FaultContext) -> Sequence[Finding]:
    for _ in range(5):
        context.environment.reset("database")
        time.sleep(context.dice.uniform(0.0, 0.4))
    return ()


def _loses_replies(service: str, silently: bool) -> Act:
    """The batch is done again, and finds by its ids what was committed: one effect."""

    def act(context: FaultContext) -> Sequence[Finding]:
        condition = CommitRepliesLost(silently)
        with context.environment.weather(lambda: condition, *context.environment.setup.of(service)):
            context.last(2.0, 10.0)
        text = f"no reply to a COMMIT of {service} was lost: the fault did not happen"
        return [] if condition.lost else [Finding(Kind.UNRECOVERED, text)]

    return act
