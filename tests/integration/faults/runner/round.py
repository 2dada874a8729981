"""One round: traffic, a fault in the midst of it, recovery, quiet, and the check of everything observed."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from tests.integration.faults.checkers.every_checker import findings
from tests.integration.faults.checkers.observations import Finding, Kind, Observations
from tests.integration.faults.checkers.observer import QUIET_SECONDS, Observer
from tests.integration.faults.environment import event_taps
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.faults.fault import Fault, FaultContext
from tests.integration.faults.workload.calls import Calls
from tests.integration.faults.workload.client import Client, Shared, ask
from tests.integration.faults.workload.history import History, Operation
from tests.integration.faults.workload.requests import Scarcity, assortment, new_id, placing

_CLIENTS = 6
_TIMEOUT = 10.0
_POLL = 0.1
_AFTER_SECONDS = 0.5
_BREATH = 0.1


class Round(NamedTuple):
    """The result of one round."""

    name: str
    fault: Fault
    history: History
    observations: Observations
    findings: list[Finding]
    recovered_after: float
    """Seconds from the end of the fault until every service said that it works."""


class RoundRunner(NamedTuple):
    """Runs rounds in one environment."""

    environment: Environment
    calls: Calls
    observer: Observer

    def round(self, name: str, fault: Fault, seconds: float, quick: bool) -> Round:
        """Runs a round: `name` seeds everything in it that is drawn."""
        history = History()
        goods = assortment(name)
        context = FaultContext(self.environment, random.Random(name), quick, name, goods, history)
        products = [history.begin(-1, request) for request in goods.creations]
        _insist(self.calls, history, products)
        shared = Shared(self.calls, history, goods, Scarcity(goods.scarce), _BREATH if quick else 0.0)
        clients = [Client(number, name, shared) for number in range(_CLIENTS)]
        seen = list(_run_fault(clients, context, fault, seconds))
        ended = time.monotonic()
        seen += _fallen(self.environment)
        seen += [Finding(Kind.UNRECOVERED, f"{name} did not recover by itself") for name in self.environment.heal()]
        recovered_after = time.monotonic() - ended
        event_taps.declare(self.environment.amqp)
        missed_before = dict.fromkeys(fault.misses, time.time_ns() // 1000)
        history.begin(-1, placing(new_id(context.dice), f"{name}-afterwards", {goods.plenty[0]: 1}))
        _insist(
            self.calls,
            history,
            [operation for operation in history.operations if not (operation.settled or operation.abandoned)],
        )
        observations = self.observer.observations(f"{name}-", history.operations, missed_before)
        observations = replace(
            observations,
            left={**observations.left, **self.environment.excess()},
            may_overtake=fault.brokers > 1,
            deadlocks=() if fault.locks_tables else observations.deadlocks,
        )
        return Round(name, fault, history, observations, [*seen, *findings(observations)], recovered_after)


def _fallen(environment: Environment) -> Iterator[Finding]:
    """Started again they work as before: who only looks at the end would not know."""
    for name, status in environment.fallen().items():
        yield Finding(Kind.UNRECOVERED, f"{name} ended by itself, with status {status}")


def _run_fault(clients: list[Client], context: FaultContext, fault: Fault, seconds: float) -> list[Finding]:
    """Lets all clients live for that long, or until the fault is over."""
    stopped = threading.Event()
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(len(clients)) as pool:
        lives = [pool.submit(client.live, stopped, fault.behaviour) for client in clients]
        try:
            stopped.wait(seconds * context.dice.uniform(0.2, 0.6))
            seen = list(fault.act(context))
            stopped.wait(max(until - time.monotonic(), _AFTER_SECONDS))
        finally:
            stopped.set()
        for life in lives:
            life.result()
    return seen


def _insist(calls: Calls, history: History, operations: list[Operation]) -> None:
    """Asks again until everything is answered, or patience ends."""
    until = time.monotonic() + QUIET_SECONDS
    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(lambda operation: _insist_on(calls, history, operation, until), operations))


def _insist_on(calls: Calls, history: History, operation: Operation, until: float) -> None:
    ask(calls, history, operation, _TIMEOUT)
    while not operation.settled and time.monotonic() < until:
        time.sleep(_POLL)
        ask(calls, history, operation, _TIMEOUT)
