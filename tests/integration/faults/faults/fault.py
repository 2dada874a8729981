"""Faults: what is done, to whom, in which environment; and the ones that strike processes."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ordersys.local.system import SERVICES
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import PROCESSES, Environment
from tests.integration.faults.environment.setup import BROKER, POSTGRESQL, SQLITE, Setup
from tests.integration.faults.workload.client_behaviour import ClientBehaviour
from tests.integration.faults.workload.history import History
from tests.integration.faults.workload.requests import Assortment

GRACE_SECONDS = 10
_BURST_SECONDS = 1.0
_MOMENTS = 8


class FaultContext(NamedTuple):
    """The context of a fault: the environment, its dice, whether time is short, and the traffic it may join."""

    environment: Environment
    dice: random.Random
    quick: bool
    name: str
    """The round's: customers are called after it."""
    goods: Assortment
    history: History

    def last(self, least: float, most: float) -> None:
        """Lets what is wrong be wrong for a while: the least, when time is short."""
        time.sleep(least if self.quick else self.dice.uniform(least, most))


Act = Callable[[FaultContext], Sequence[Finding]]
"""Does it, in the midst of traffic. What it leaves broken is healed; what it returns was seen to be wrong."""


class Fault(NamedTuple):
    """A fault by name."""

    name: str
    act: Act
    behaviour: ClientBehaviour = ClientBehaviour()
    misses: frozenset[str] = frozenset()
    """The consumers, and exchanges, of which something was taken away: what is published meanwhile may be missed."""
    brokers: int = 1
    """The number of brokers in the environment it is made for."""
    measures: bool = False
    """True if it compares results with what the machine can do: no other round runs meanwhile."""
    locks_tables: bool = False
    """True if it locks several tables as a whole, as an upgrade does: those at work may wait in a circle with it."""
    files_only: str = ""
    """The reason why it does not apply where the state is in PostgreSQL; empty where it does."""
    servers_only: str = ""
    """The reason why it does not apply where the state is in files; empty where it does."""
    replicas: int = 1
    """The least number of processes of each service that it needs."""
    insecure_only: str = ""
    """The reason why it does not apply where there are identities; empty where it does."""

    def unfit(self, setup: Setup) -> str:
        """The reason why it can't be tried on systems of that setup; empty where it can."""
        if setup.secure and self.insecure_only:
            return self.insecure_only
        if setup.database == POSTGRESQL and self.files_only:
            return self.files_only
        if setup.database == SQLITE and self.servers_only:
            return self.servers_only
        return f"it needs --replicas={self.replicas}" if setup.replicas < self.replicas else ""


def process_faults() -> Iterator[Fault]:
    """Killed, put to sleep, told to stop."""
    yield Fault("nothing", lambda context: ())
    for name in PROCESSES:
        yield Fault(f"kill {name}", kills(name))
        yield Fault(f"sleep {name}", sleeps(name))
    yield Fault("kill several", _kill_several)
    yield Fault("kill everything", _kill_everything)
    yield Fault("kill again and again", _kill_again_and_again)
    yield Fault("sleep of the whole system", _sleep_of_all)
    for name in SERVICES:
        yield Fault(f"stop {name}", stops(name))


def kills(*names: str) -> Act:
    """kill -9, and a start some time later."""

    def act(context: FaultContext) -> Sequence[Finding]:
        for name in names:
            context.environment.kill(name)
        context.last(0.2, 2.0)
        for name in names:
            context.environment.start(name)
        return ()

    return act


def sleeps(*names: str) -> Act:
    """SIGSTOP, and SIGCONT some time later."""

    def act(context: FaultContext) -> Sequence[Finding]:
        with ExitStack() as asleep:
            for name in names:
                asleep.enter_context(context.environment.asleep(name))
            context.last(2.0, 60.0)
        return ()

    return act


def _kill_several(context: FaultContext) -> Sequence[Finding]:
    everything = [*context.environment.processes, BROKER]
    return kills(*context.dice.sample(everything, context.dice.randint(2, 3)))(context)


def _kill_everything(context: FaultContext) -> Sequence[Finding]:
    return kills(*context.environment.processes, BROKER)(context)


def _sleep_of_all(context: FaultContext) -> Sequence[Finding]:
    return sleeps(*context.environment.processes)(context)


def _kill_again_and_again(context: FaultContext) -> Sequence[Finding]:
    """Each service a few times, in any order, while it may just be starting."""
    for name in context.dice.sample([*SERVICES] * 2, 2 * len(SERVICES)):
        context.environment.kill(name)
        context.environment.start(name)
        time.sleep(context.dice.uniform(0.0, 0.4))
    return ()


def stops(name: str, most: int = _MOMENTS) -> Act:
    """SIGTERM in a burst, at one moment of it after the other: each time it ends in good order, in time."""

    def act(context: FaultContext) -> Sequence[Finding]:
        findings: list[Finding] = []
        moments = 1 if context.quick else most
        for moment in range(moments):
            if moment > 0:
                context.environment.service(name).wait_healthy()
            time.sleep((moment + context.dice.random()) * _BURST_SECONDS / moments)
            findings += _stop(context.environment, name)
        return findings

    return act


def _stop(environment: Environment, name: str) -> Iterator[Finding]:
    began = time.monotonic()
    status = environment.service(name).stop()
    took = time.monotonic() - began
    environment.start(name)
    if status != 0 or took > GRACE_SECONDS:
        text = f"{name}, told to stop, ended with status {status} after {took:.1f} s"
        yield Finding(Kind.UNRECOVERED, text)
