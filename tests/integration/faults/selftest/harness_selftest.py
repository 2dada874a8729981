"""The whole harness finds a promise that is broken on purpose, in the real system, by the fault that shows it.

A system that keeps its promises is found to by the rounds of the same faults, with nobody sabotaged.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from tests.integration.faults.checkers import events
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.checkers.observer import QUIET_SECONDS, Observer
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.environment.sabotage import SABOTAGES, DatabaseSabotage
from tests.integration.faults.faults.bad_clients import MISDEEDS, suffers
from tests.integration.faults.faults.crash_points import Point, crashes
from tests.integration.faults.faults.failover import falls_behind
from tests.integration.faults.faults.fault import Fault, kills
from tests.integration.faults.faults.outside import network_faults
from tests.integration.faults.faults.overload import overloads
from tests.integration.faults.faults.replicas import kills_all, storms
from tests.integration.faults.runner.round import Round, RoundRunner
from tests.integration.faults.workload.client_behaviour import AbandoningClients

_SECONDS = 3.0
_QUIET_SECONDS = 4.0


class Verdict(NamedTuple):
    """The verdict on the trial of a sabotage."""

    passed: bool
    text: str


class Revealed(NamedTuple):
    """The fault that shows it, and what is found then: one of these, according to when it is looked."""

    fault: Fault
    findings: Mapping[Kind, str]


REVEALED = {
    "ack-before-commit": Revealed(
        Fault("kill", kills_all("notification_service_1")), {Kind.LOST: "is not recorded by notification-service-1"}
    ),
    "no-inbox": Revealed(
        Fault("crash", crashes("notification_service_2", [Point("consumer.recorded", ())])),
        {Kind.DUPLICATED: "-again, which was not heard"},
    ),
    "cursor-instead-of-rows": Revealed(
        {f.name: f for f in network_faults()}["half-open on amqp"],
        {Kind.LOST: "was not heard on orders.events", Kind.UNRECOVERED: "changes not published"},
    ),
    "no-sweep": Revealed(
        Fault("crash", crashes("product_service", [Point("placement.begun", ())] * 3), AbandoningClients()),
        {Kind.ORPHAN: "sagas without an outcome"},
    ),
    "no-limit": Revealed(Fault("overload", overloads(5)), {Kind.UNRECOVERED: "calls "}),
    "endless-patience": Revealed(
        Fault("stalled", suffers(MISDEEDS["send no requests"])), {Kind.UNRECOVERED: "still borne with"}
    ),
    "ignores-lease": Revealed(Fault("nothing", lambda context: ()), {Kind.UNRECOVERED: "too many"}),
    "random-key-order": Revealed(Fault("storm", storms), {Kind.UNRECOVERED: "in a circle"}),
    "release-twice": Revealed(Fault("nothing", lambda context: ()), {Kind.OVERSOLD: "orders hold"}),
    "asynchronous-standby": Revealed(Fault("failover", falls_behind), {Kind.LOST: "was answered order"}),
}


HARMLESS = {"relays-without-lease": Fault("kill", kills("order_service"))}
"""The sabotages that break no promise, and a fault under which they must not be found out."""


def try_sabotage(round_runner: RoundRunner, name: str) -> Verdict:
    """Plays a round with the sabotage of that name: it must be found out, unless it breaks no promise."""
    return _bears(round_runner, name) if name in HARMLESS else _finds_out(round_runner, name)


def _finds_out(round_runner: RoundRunner, name: str) -> Verdict:
    """Soon impatient."""
    telling = giving_away(name, _round(round_runner, name, REVEALED[name].fault, _QUIET_SECONDS).findings)
    return Verdict(bool(telling), f"found out: {telling[0].text}" if telling else "WAS NOT FOUND OUT")


def _bears(round_runner: RoundRunner, name: str) -> Verdict:
    """As patient as in any round. Without a repeated event it was not at work."""
    result = _round(round_runner, name, HARMLESS[name], QUIET_SECONDS)
    if result.findings:
        return Verdict(False, f"DOES HARM: {result.findings[0].text}")
    again = events.repeated(result.observations)
    return Verdict(again > 0, f"borne: {again} events came again" if again else "WAS NOT AT WORK")


def _round(round_runner: RoundRunner, name: str, fault: Fault, patience: float) -> Round:
    """A round with the sabotage, by an observer of its own: nothing is said of its orders at the end of the run."""
    observer = Observer(round_runner.calls, round_runner.environment, patience)
    with _sabotaged(round_runner.environment, name):
        return round_runner._replace(observer=observer).round(f"sabotage-{name}", fault, _SECONDS, quick=True)


def _sabotaged(environment: Environment, name: str) -> AbstractContextManager[None]:
    sabotage = SABOTAGES[name]
    if isinstance(sabotage, DatabaseSabotage):
        return sabotage.during(environment.servers)
    return environment.sabotaged(sabotage.service, name)


def giving_away(name: str, findings: Sequence[Finding]) -> list[Finding]:
    """Those of the findings that say what the sabotage of that name does."""
    expected = REVEALED[name].findings
    return [finding for finding in findings if finding.kind in expected and expected[finding.kind] in finding.text]
