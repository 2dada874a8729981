"""Faults of services with several processes: all of one lost, the leader paused, rolling restarts, scaling."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil

from ordersys.local.system import SERVICES
from ordersys.runtime.base.failpoints import VARIABLE
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.faults.brokers import goes_on
from tests.integration.faults.faults.crash_points import begin_anew
from tests.integration.faults.faults.fault import Act, Fault, FaultContext, kills
from tests.integration.faults.workload.calls import Calls
from tests.integration.faults.workload.client import place_at_once
from tests.integration.faults.workload.history import Try
from tests.integration.faults.workload.requests import new_id, placing

_LEASE_SECONDS = 11.0
"""A lease is over by then."""
_STOPPED_SECONDS = 60.0
_POLL = 0.02
_REPEATS = 20
_TIMEOUT = 10.0
_BUYERS, _AT_ONCE = 6, 4
_HELD_AT = {
    "order_service": ("outbox.published", "postgresql.performed", "postgresql.committed"),
    "product_service": ("placement.begun", "placement.called", "postgresql.performed"),
    "notification_service_1": ("consumer.delivered", "consumer.recorded"),
    "notification_service_2": ("consumer.delivered", "consumer.recorded"),
}
"""Points at which a process holds something: a window on its way, locked rows, stock without an order, deliveries."""


def replica_faults() -> Iterator[Fault]:
    """For two processes and more."""
    for service in SERVICES:
        yield Fault(f"all processes of {service} killed", kills_all(service), replicas=2)
        yield Fault(f"leader of {service} killed", _kills_leader(service), replicas=2)
        yield Fault(f"leader of {service} asleep for longer than its lease", _outsleeps(service), replicas=2)
        yield Fault(f"{service} paused where it holds something", _pauses(service), replicas=2)
    yield Fault("one request to all processes at once", _asks_all, replicas=2)
    yield Fault("deadlock storm on three products", storms, replicas=2)
    yield Fault("rolling restart", _rolls, replicas=2)
    yield Fault("scale to one process and back", _scales, replicas=2)


def leader(environment: Environment, service: str) -> str:
    """The process that has the lease of a service, its first when nobody has it."""
    holders = [row[0] for row in environment.state.rows(service, "SELECT holder FROM leases")]
    pids = {int(holder.split("/")[1]) for holder in holders}
    names = environment.setup.of(service)
    return next((name for name in names if environment.service(name).pid in pids), names[0])


def kills_all(service: str) -> Act:
    """kill -9 of every process of a service, however many there are, and a start some time later."""
    return lambda context: kills(*context.environment.setup.of(service))(context)


def _kills_leader(service: str) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        context.environment.kill(leader(context.environment, service))
        return goes_on(context.environment, f"the leader of {service} was killed")

    return act


def _outsleeps(service: str) -> Act:
    """Another one leads; the first one wakes up, and believes for a moment that it still does."""

    def act(context: FaultContext) -> Sequence[Finding]:
        with context.environment.asleep(leader(context.environment, service)):
            context.last(_LEASE_SECONDS, 60.0)
            return goes_on(context.environment, f"the leader of {service} went to sleep")

    return act


def _pauses(service: str) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        environment, point = context.environment, context.dice.choice(_HELD_AT[service])
        begin_anew(environment, service, **{VARIABLE: f"{point}:{context.dice.randint(1, 3)}:stop"})
        paused = _stopped(environment, service)
        if paused is None:
            return [Finding(Kind.UNRECOVERED, f"no process of {service} was paused at {point}")]
        for name in environment.setup.of(service):
            environment.give(name)
            if name != paused:
                environment.kill(name)
                environment.start(name)
        context.last(_LEASE_SECONDS, 60.0)
        findings = goes_on(environment, f"{paused} was paused at {point}")
        psutil.Process(environment.pid(paused)).resume()
        return findings

    return act


def _stopped(environment: Environment, service: str) -> str | None:
    """The first process that has stopped itself."""
    until = time.monotonic() + _STOPPED_SECONDS
    while time.monotonic() < until:
        for name in environment.setup.of(service):
            if psutil.Process(environment.pid(name)).status() == psutil.STATUS_STOPPED:
                return name
        time.sleep(_POLL)
    return None


def _asks_all(context: FaultContext) -> Sequence[Finding]:
    """One effect, and equal answers."""
    names = context.environment.setup.of("product_service")
    with ThreadPoolExecutor(len(names)) as pool:
        callers = [
            Calls(context.environment.channel, {"product-service": context.environment.service(name).address})
            for name in names
        ]
        for number in range(_REPEATS):
            customer = f"{context.name}-everywhere-{number}"
            operation = context.history.begin(-1, placing(new_id(context.dice), customer, {context.goods.plenty[0]: 1}))

            def ask(calls: Calls, request: object = operation.request) -> Try:
                called = time.monotonic()
                answer = calls.call(request, _TIMEOUT)
                return Try(called, time.monotonic(), answer)

            operation.tries.extend(pool.map(ask, callers))
    for calls in callers:
        with closing(calls):
            pass
    return ()


def storms(context: FaultContext) -> Sequence[Finding]:
    """Many orders for the same products at once, through every process: each in an order of its own."""
    products = context.goods.plenty[:3]
    until = time.monotonic() + (3.0 if context.quick else 20.0)

    def buy(number: int, calls: Calls) -> None:
        dice = random.Random(f"{context.name}-{number}")
        for batch in itertools.count():
            wanted = [dict.fromkeys(dice.sample(products, 2), 1) for _ in range(_AT_ONCE)]
            requests = [
                placing(new_id(dice), f"{context.name}-storm-{number}-{batch}-{index}", units)
                for index, units in enumerate(wanted)
            ]
            operations = [context.history.begin(-1, request) for request in requests]
            place_at_once(calls, context.history, operations, _TIMEOUT, None)
            if time.monotonic() > until:
                return

    with (
        closing(Calls(context.environment.channel, context.environment.addresses)) as calls,
        ThreadPoolExecutor(_BUYERS) as pool,
    ):
        for buyer in [pool.submit(buy, number, calls) for number in range(_BUYERS)]:
            buyer.result()
    return ()


def _rolls(context: FaultContext) -> Sequence[Finding]:
    """As somebody does who upgrades them: each ends in good order, and the next one waits until it is back."""
    findings = []
    for name in context.environment.processes:
        service = context.environment.service(name)
        if (status := service.stop()) != 0:
            findings.append(Finding(Kind.UNRECOVERED, f"{name}, told to stop, ended with status {status}"))
        service.start()
        service.wait_healthy()
    return findings


def _scales(context: FaultContext) -> Sequence[Finding]:
    """All but one of each are stopped; then all are there again."""
    environment = context.environment
    others = [name for name in environment.processes if name not in SERVICES]
    for name in others:
        environment.service(name).stop()
    findings = goes_on(environment, "one process of each was left")
    context.last(1.0, 10.0)
    for name in others:
        environment.start(name)
    return findings
