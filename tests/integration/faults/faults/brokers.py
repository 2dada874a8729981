"""Faults of a cluster of three brokers: one lost in any way, and publishing goes on; two lost, and nothing is lost."""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from ordersys.contract.topology import subscriptions
from tests.contract.harness.client import LISTENERS
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.environment.setup import BROKERS
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

GOES_ON_SECONDS = 30.0
_POLL = 0.1
_CALM_SECONDS, _ALONE_SECONDS = 3.0, 3.0
_BEYOND_NET_TICK = 25.0
_LEADERS = "[{element(4, amqqueue:get_name(Q)), element(2, amqqueue:get_pid(Q))} || Q <- rabbit_amqqueue:list()]."
_CRITICAL = "rabbit_quorum_queue:list_with_minimum_quorum()."
_LEADER = re.compile(r'<<"([^"]+)">>,\s*(ordersys\d@\w+)')
_CUT = "[begin erlang:set_cookie(N, cut), erlang:disconnect_node(N) end || N <- {others}]."
_MENDED = "[erlang:set_cookie(N, erlang:get_cookie()) || N <- {others}]."

Choose = Callable[[Environment], str]
"""The broker that is meant, of all."""
Lost = Callable[[FaultContext, str], AbstractContextManager[None]]
"""Has a broker be lost for a while."""


class SeedMismatch(Exception):
    """The cluster is in no state to lose a broker; the text says why."""


def cluster_faults(quick: bool) -> Iterator[Fault]:
    """Each way to lose a broker, of each kind; when time is short, those that differ most."""
    for name, fault in _faults():
        if not quick or name in _ESSENTIAL:
            yield Fault(f"cluster: {name}", fault, brokers=len(BROKERS))


_ESSENTIAL = (
    "broker in use killed",
    "broker that leads asleep",
    "two of three brokers killed",
    "brokers restarted in turn",
)


def _faults() -> Iterator[tuple[str, Act]]:
    for kind, choose in {"in use": in_use, "that leads": leading, "that follows": following}.items():
        yield f"broker {kind} killed", _loses(choose, _killed)
        yield f"broker {kind} stopped", _loses(choose, _stopped)
        yield f"broker {kind} asleep", _loses(choose, _asleep)
        yield f"broker {kind} cut off", _loses(choose, _cut_off)
    yield "two of three brokers killed", _loses_majority
    yield "brokers restarted in turn", _restarts_in_turn


def in_use(environment: Environment) -> str:
    """The one most connections lead to."""
    return max(environment.brokers, key=lambda name: environment.links[environment.ways[name]].used)


def leading(environment: Environment) -> str:
    """The one that leads the queue every creation comes to."""
    leader = _leaders(environment)[subscriptions()[0].queue]
    return next(name for name in environment.brokers if environment.broker(name).name == leader)


def following(environment: Environment) -> str:
    """The one that leads fewest queues, and has fewest connections."""
    led = Counter(_leaders(environment).values())
    return min(
        environment.brokers,
        key=lambda name: (led[environment.broker(name).name], environment.links[environment.ways[name]].used),
    )


def _complete(environment: Environment) -> bool:
    """True if no queue lacks a member: who takes a node away while one is only just coming back takes two."""
    return environment.node.control("eval", _CRITICAL).split() == ["[]"]


def _make_whole(environment: Environment) -> None:
    """Returns when no queue lacks a member. Where one does not come back by itself after the round before, its broker
    is restarted, as whoever runs a cluster would: with one more away, a queue would rightly stand still.

    Raises SeedMismatch when that does not help.
    """
    for broker in (None, *environment.brokers):
        if broker is not None:
            print(f"    a queue lacks a member: restarting {broker}", file=sys.stderr, flush=True)
            environment.broker(broker).stop()
            environment.broker(broker).start()
        if _soon(lambda: _complete(environment), time.monotonic() + GOES_ON_SECONDS):
            return
    raise SeedMismatch("a queue of the cluster lacks a member")


def _leaders(environment: Environment) -> dict[str, str]:
    """The node that leads each queue."""
    return dict(_LEADER.findall(environment.node.control("eval", _LEADERS)))


def _loses(choose: Choose, lost: Lost) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        _make_whole(context.environment)
        name = choose(context.environment)
        with lost(context, name):
            return goes_on(context.environment, f"{name} was lost")

    return act


@contextmanager
def _killed(context: FaultContext, name: str) -> Iterator[None]:
    context.environment.kill(name)
    yield
    context.last(0.0, 5.0)


@contextmanager
def _stopped(context: FaultContext, name: str) -> Iterator[None]:
    context.environment.broker(name).stop()
    yield
    context.last(0.0, 5.0)


@contextmanager
def _asleep(context: FaultContext, name: str) -> Iterator[None]:
    """When there is time, longer than the others wait for it: it comes back to a cluster that goes without it."""
    with context.environment.asleep(name):
        yield
        context.last(0.0, _BEYOND_NET_TICK)


@contextmanager
def _cut_off(context: FaultContext, name: str) -> Iterator[None]:
    """It and the others refuse each other's connections, while everybody else reaches all of them."""
    node = context.environment.broker(name)
    others = f"[{','.join(other.name for other in context.environment.system.nodes if other is not node)}]"
    node.control("eval", _CUT.format(others=others))
    try:
        yield
        context.last(0.0, 10.0)
    finally:
        node.control("eval", _MENDED.format(others=others))


def goes_on(environment: Environment, why: str) -> Sequence[Finding]:
    """Returns when a change that was committed after now has been published, and events are recorded again."""
    last, began = _appended(environment), time.monotonic()
    until = began + GOES_ON_SECONDS
    if not _soon(lambda: _published(environment) > last, until):
        return [Finding(Kind.UNRECOVERED, f"nothing was published for {GOES_ON_SECONDS:.0f} s after {why}")]
    print(f"    publishing went on {time.monotonic() - began:.1f} s after {why}", file=sys.stderr, flush=True)
    recorded = {name: _recorded(environment, name) for name in LISTENERS}
    until += GOES_ON_SECONDS
    silent = [name for name in LISTENERS if not _soon(partial(_records, environment, name, recorded[name]), until)]
    return [Finding(Kind.UNRECOVERED, f"{name} records nothing after {why}") for name in silent]


def _soon(condition: Callable[[], bool], until: float) -> bool:
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL)
    return True


def _loses_majority(context: FaultContext) -> Sequence[Finding]:
    """Orders are taken, nothing counts as published; it is when the others are back."""
    environment = context.environment
    for name in context.dice.sample(environment.brokers, 2):
        environment.kill(name)
    time.sleep(_CALM_SECONDS)
    before = _appended(environment), _published(environment)
    time.sleep(_ALONE_SECONDS)
    context.last(0.0, 10.0)
    after = _appended(environment), _published(environment)
    environment.system.start_brokers()
    findings = [*goes_on(environment, "two brokers had come back")]
    if after[1] > before[1]:
        findings.append(Finding(Kind.LOST, f"{after[1] - before[1]} events were confirmed by one broker of three"))
    if after[0] == before[0]:
        findings.append(Finding(Kind.UNRECOVERED, "no change was taken while two of three brokers were lost"))
    return findings


def _restarts_in_turn(context: FaultContext) -> Sequence[Finding]:
    """As somebody does who upgrades them."""
    findings: list[Finding] = []
    for name in context.environment.brokers:
        context.environment.broker(name).stop()
        findings += goes_on(context.environment, f"{name} was stopped")
        context.environment.broker(name).start()
    return findings


def _records(environment: Environment, listener: str, since: int) -> bool:
    return _recorded(environment, listener) > since


def _recorded(environment: Environment, listener: str) -> int:
    """The number of records of a subscriber."""
    query = "SELECT coalesce(max(sequence), 0) FROM notifications"
    return int(environment.state.rows(listener.replace("-", "_"), query)[0][0])


def _appended(environment: Environment) -> int:
    """The last change of an order that was committed with its event."""
    return environment.state.appended("order_service")


def _published(environment: Environment) -> int:
    """The last one up to which all events were published."""
    waiting = int(environment.state.rows("order_service", "SELECT coalesce(min(sequence), 0) FROM outbox")[0][0])
    return waiting - 1 if waiting else _appended(environment)
