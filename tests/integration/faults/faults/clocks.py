"""Faults of clocks: one process of each service is an hour ahead of the others, or behind, and leads them."""

from collections.abc import Iterator, Sequence

from ordersys.local.system import SERVICES
from tests.integration.faults.checkers.observations import Finding
from tests.integration.faults.environment.environment import RUN
from tests.integration.faults.faults.brokers import goes_on
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_WRONG_CLOCK = "-m tests.integration.faults.environment.wrong_clock"
_HOUR_SECONDS = 3600
_NOT_YET = "by a clock an hour behind no certificate is valid yet, and the service says so"


def clock_faults() -> Iterator[Fault]:
    """Much more than any lease, retry or deadline lasts, and less than what is kept for days."""
    yield Fault("clock of one process an hour ahead", _is_wrong(_HOUR_SECONDS))
    yield Fault("clock of one process an hour behind", _is_wrong(-_HOUR_SECONDS), insecure_only=_NOT_YET)


def _is_wrong(seconds: int) -> Act:
    """It is there first, so that it leads; then one with the right clock goes on with what it has left."""

    def act(context: FaultContext) -> Sequence[Finding]:
        environment = context.environment
        wrong = {service: context.dice.choice(environment.setup.of(service)) for service in SERVICES}
        for name in environment.processes:
            environment.kill(name)
        for service, name in wrong.items():
            environment.give(name, **{RUN: f"{_WRONG_CLOCK} {seconds} {service}"})
            environment.start(name)
        for name in wrong.values():
            environment.service(name).wait_healthy()
        for name in environment.processes:
            environment.start(name)
        findings = [*goes_on(environment, f"clocks were {seconds} s ahead")]
        context.last(1.0, 20.0)
        for name in wrong.values():
            environment.kill(name)
            environment.give(name)
            environment.start(name)
        return [*findings, *goes_on(environment, "clocks were right again")]

    return act
