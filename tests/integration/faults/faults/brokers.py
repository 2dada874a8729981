"""Faults of a cluster of three brokers: one lost in any way, and publishing goes on; two lost, and nothing is lost."""

import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

from ordersys.contract.topology import subscriptions
from tests.contract.harness.client import LISTENERS
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import BROKERS, Stage
from tests.integration.faults.faults.fault import Act, Fault, Scene

GOES_ON_SECONDS = 30.0
_POLL = 0.1
_CALM_SECONDS, _ALONE_SECONDS = 3.0, 3.0
_BEYOND_NET_TICK = 25.0
_LEADERS = "[{element(4, amqqueue:get_name(Q)), element(2, amqqueue:get_pid(Q))} || Q <- rabbit_amqqueue:list()]."
_CRITICAL = "rabbit_quorum_queue:list_with_minimum_quorum()."
_LEADER = re.compile(r'<<"([^"]+)">>,\s*(ordersys\d@\w+)')
_CUT = "[begin erlang:set_cookie(N, cut), erlang:disconnect_node(N) end || N <- {others}]."
_MENDED = "[erlang:set_cookie(N, erlang:get_cookie()) || N <- {others}]."

Choose = Callable[[Stage], str]
"""Which of the brokers it is."""
Lost = Callable[[Scene, str], AbstractContextManager[None]]
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


def in_use(stage: Stage) -> str:
    """The one most connections lead to."""
    return max(stage.brokers, key=lambda name: stage.links[stage.ways[name]].used)


def leading(stage: Stage) -> str:
    """The one that leads the queue every creation comes to."""
    leader = _leaders(stage)[subscriptions()[0].queue]
    return next(name for name in stage.brokers if stage.broker(name).name == leader)


def following(stage: Stage) -> str:
    """The one that leads fewest queues, and has fewest connections."""
    led = Counter(_leaders(stage).values())
    return min(stage.brokers, key=lambda name: (led[stage.broker(name).name], stage.links[stage.ways[name]].used))


def _complete(stage: Stage) -> bool:
    """Whether no queue lacks a member: who takes a node away while one is only just coming back takes two."""
    return stage.node.control("eval", _CRITICAL).split() == ["[]"]


def _make_whole(stage: Stage) -> None:
    """Returns when no queue lacks a member. Where one does not come back by itself after the round before, its broker
    is restarted, as whoever runs a cluster would: with one more away, a queue would rightly stand still.

    Raises SeedMismatch when that does not help.
    """
    for broker in (None, *stage.brokers):
        if broker is not None:
            print(f"    a queue lacks a member: restarting {broker}", file=sys.stderr, flush=True)
            stage.broker(broker).stop()
            stage.broker(broker).start()
        if _soon(lambda: _complete(stage), time.monotonic() + GOES_ON_SECONDS):
            return
    raise SeedMismatch("a queue of the cluster lacks a member")


def _leaders(stage: Stage) -> dict[str, str]:
    """The node that leads each queue."""
    return dict(_LEADER.findall(stage.node.control("eval", _LEADERS)))


def _loses(choose: Choose, lost: Lost) -> Act:
    def act(scene: Scene) -> Sequence[Finding]:
        _make_whole(scene.stage)
        name = choose(scene.stage)
        with lost(scene, name):
            return _goes_on(scene.stage, f"{name} was lost")

    return act


@contextmanager
def _killed(scene: Scene, name: str) -> Iterator[None]:
    scene.stage.kill(name)
    yield
    scene.last(0.0, 5.0)


@contextmanager
def _stopped(scene: Scene, name: str) -> Iterator[None]:
    scene.stage.broker(name).stop()
    yield
    scene.last(0.0, 5.0)


@contextmanager
def _asleep(scene: Scene, name: str) -> Iterator[None]:
    """When there is time, longer than the others wait for it: it comes back to a cluster that goes without it."""
    with scene.stage.asleep(name):
        yield
        scene.last(0.0, _BEYOND_NET_TICK)


@contextmanager
def _cut_off(scene: Scene, name: str) -> Iterator[None]:
    """It and the others refuse each other's connections, while everybody else reaches all of them."""
    node = scene.stage.broker(name)
    others = f"[{','.join(one.name for one in scene.stage.system.nodes if one is not node)}]"
    node.control("eval", _CUT.format(others=others))
    try:
        yield
        scene.last(0.0, 10.0)
    finally:
        node.control("eval", _MENDED.format(others=others))


def _goes_on(stage: Stage, why: str) -> Sequence[Finding]:
    """Returns when a change that was committed after now has been published, and events are recorded again."""
    last, began = _appended(stage), time.monotonic()
    until = began + GOES_ON_SECONDS
    if not _soon(lambda: _published(stage) > last, until):
        return [Finding(Kind.UNRECOVERED, f"nothing was published for {GOES_ON_SECONDS:.0f} s after {why}")]
    print(f"    publishing went on {time.monotonic() - began:.1f} s after {why}", file=sys.stderr, flush=True)
    recorded = {name: _recorded(stage, name) for name in LISTENERS}
    until += GOES_ON_SECONDS
    silent = [name for name in LISTENERS if not _soon(partial(_records, stage, name, recorded[name]), until)]
    return [Finding(Kind.UNRECOVERED, f"{name} records nothing after {why}") for name in silent]


def _soon(condition: Callable[[], bool], until: float) -> bool:
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL)
    return True


def _loses_majority(scene: Scene) -> Sequence[Finding]:
    """Orders are taken, nothing counts as published; it is when the others are back."""
    stage = scene.stage
    for name in scene.dice.sample(stage.brokers, 2):
        stage.kill(name)
    time.sleep(_CALM_SECONDS)
    before = _appended(stage), _published(stage)
    time.sleep(_ALONE_SECONDS)
    scene.last(0.0, 10.0)
    after = _appended(stage), _published(stage)
    stage.system.start_brokers()
    found = [*_goes_on(stage, "two brokers had come back")]
    if after[1] > before[1]:
        found.append(Finding(Kind.LOST, f"{after[1] - before[1]} events were confirmed by one broker of three"))
    if after[0] == before[0]:
        found.append(Finding(Kind.UNRECOVERED, "no change was taken while two of three brokers were lost"))
    return found


def _restarts_in_turn(scene: Scene) -> Sequence[Finding]:
    """As somebody does who upgrades them."""
    found: list[Finding] = []
    for name in scene.stage.brokers:
        scene.stage.broker(name).stop()
        found += _goes_on(scene.stage, f"{name} was stopped")
        scene.stage.broker(name).start()
    return found


def _records(stage: Stage, listener: str, since: int) -> bool:
    return _recorded(stage, listener) > since


def _recorded(stage: Stage, listener: str) -> int:
    """How much a listener has recorded."""
    return _look(stage, "SELECT coalesce(max(sequence), 0) FROM notifications", f"{listener}.db")


def _appended(stage: Stage) -> int:
    """The last change of an order that was committed with its event."""
    return _look(stage, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'")


def _published(stage: Stage) -> int:
    """The last one up to which all events were published."""
    waiting = _look(stage, "SELECT coalesce(min(sequence), 0) FROM outbox")
    return waiting - 1 if waiting else _appended(stage)


def _look(stage: Stage, query: str, name: str = "order.db") -> int:
    file = stage.databases / name
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=GOES_ON_SECONDS)) as database:
        return int(database.execute(query).fetchone()[0])
