"""What a fault is: what is done, to whom, on which stage; and the ones that strike processes."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ordersys.local.system import SERVICES
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import PROCESSES, Stage
from tests.integration.faults.workload.client_behaviour import Manner
from tests.integration.faults.workload.history import History
from tests.integration.faults.workload.requests import Assortment

GRACE_SECONDS = 10
_BURST_SECONDS = 1.0
_MOMENTS = 8


class Scene(NamedTuple):
    """Where a fault strikes: the stage, its dice, whether time is short, and what it may take part in."""

    stage: Stage
    dice: random.Random
    quick: bool
    name: str
    """The round's: customers are called after it."""
    goods: Assortment
    history: History

    def last(self, least: float, most: float) -> None:
        """Lets what is wrong be wrong for a while: the least, when time is short."""
        time.sleep(least if self.quick else self.dice.uniform(least, most))


Act = Callable[[Scene], Sequence[Finding]]
"""Does it, in the midst of traffic. What it leaves broken is healed; what it returns was seen to be wrong."""


class Fault(NamedTuple):
    """A fault by name."""

    name: str
    act: Act
    manner: Manner = Manner()
    misses: frozenset[str] = frozenset()
    """The consumers, and exchanges, of which something was taken away: what is published meanwhile may be missed."""
    brokers: int = 1
    """How many there are on the stage it is made for."""
    measures: bool = False
    """Whether it holds what it sees against what the machine can do: nothing else is played meanwhile."""


def process_faults() -> Iterator[Fault]:
    """Killed, put to sleep, told to stop."""
    yield Fault("nothing", lambda scene: ())
    for name in PROCESSES:
        yield Fault(f"kill {name}", kills(name))
        yield Fault(f"sleep {name}", sleeps(name))
    yield Fault("kill several", _kill_several)
    yield Fault("kill everything", kills(*PROCESSES))
    yield Fault("kill again and again", _kill_again_and_again)
    yield Fault("sleep of the whole system", sleeps(*SERVICES))
    for name in SERVICES:
        yield Fault(f"stop {name}", stops(name))


def kills(*names: str) -> Act:
    """kill -9, and a start some time later."""

    def act(scene: Scene) -> Sequence[Finding]:
        for name in names:
            scene.stage.kill(name)
        scene.last(0.2, 2.0)
        for name in names:
            scene.stage.start(name)
        return ()

    return act


def sleeps(*names: str) -> Act:
    """SIGSTOP, and SIGCONT some time later."""

    def act(scene: Scene) -> Sequence[Finding]:
        with ExitStack() as asleep:
            for name in names:
                asleep.enter_context(scene.stage.asleep(name))
            scene.last(2.0, 60.0)
        return ()

    return act


def _kill_several(scene: Scene) -> Sequence[Finding]:
    return kills(*scene.dice.sample(PROCESSES, scene.dice.randint(2, 3)))(scene)


def _kill_again_and_again(scene: Scene) -> Sequence[Finding]:
    """Each service a few times, in any order, while it may just be starting."""
    for name in scene.dice.sample([*SERVICES] * 2, 2 * len(SERVICES)):
        scene.stage.kill(name)
        scene.stage.start(name)
        time.sleep(scene.dice.uniform(0.0, 0.4))
    return ()


def stops(name: str, most: int = _MOMENTS) -> Act:
    """SIGTERM in a burst, at one moment of it after the other: each time it ends in good order, in time."""

    def act(scene: Scene) -> Sequence[Finding]:
        found: list[Finding] = []
        moments = 1 if scene.quick else most
        for moment in range(moments):
            if moment > 0:
                scene.stage.service(name).wait_healthy()
            time.sleep((moment + scene.dice.random()) * _BURST_SECONDS / moments)
            found += _stop(scene.stage, name)
        return found

    return act


def _stop(stage: Stage, name: str) -> Iterator[Finding]:
    began = time.monotonic()
    status = stage.service(name).stop()
    took = time.monotonic() - began
    stage.start(name)
    if status != 0 or took > GRACE_SECONDS:
        text = f"{name}, told to stop, ended with status {status} after {took:.1f} s"
        yield Finding(Kind.UNRECOVERED, text)
