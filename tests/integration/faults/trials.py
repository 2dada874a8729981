"""The whole harness finds a promise that is broken on purpose, in the real system, by the fault that shows it.

A system that keeps its promises is found to by the rounds of the same faults, with nobody sabotaged.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.integration.faults.bad_clients import MISDEEDS, suffers
from tests.integration.faults.crash_points import Point, crashes
from tests.integration.faults.facts import Finding, Kind
from tests.integration.faults.fault import Fault, kills
from tests.integration.faults.gathering import Gatherer
from tests.integration.faults.manner import Deserters
from tests.integration.faults.overload import overloads
from tests.integration.faults.round import Play
from tests.integration.faults.sabotage import SABOTAGES
from tests.integration.faults.troubles import network_faults

_SECONDS = 3.0
_QUIET_SECONDS = 4.0


class Revealed(NamedTuple):
    """The fault that shows it, and what is found then: one of these, according to when it is looked."""

    fault: Fault
    found: Mapping[Kind, str]


REVEALED = {
    "ack-before-commit": Revealed(
        Fault("kill", kills("notification_service_1")), {Kind.LOST: "is not recorded by notification-service-1"}
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
        Fault("crash", crashes("product_service", [Point("saga.begun", ())] * 3), Deserters()),
        {Kind.ORPHAN: "placements without an outcome"},
    ),
    "no-limit": Revealed(Fault("overload", overloads(5)), {Kind.UNRECOVERED: "calls "}),
    "endless-patience": Revealed(
        Fault("stalled", suffers(MISDEEDS["send no requests"])), {Kind.UNRECOVERED: "still borne with"}
    ),
    "release-twice": Revealed(Fault("nothing", lambda scene: ()), {Kind.OVERSOLD: "orders hold"}),
}


def try_sabotage(play: Play, name: str) -> list[Finding]:
    """Plays a round with the sabotage of that name, soon impatient: what gives it away, nothing when it goes unseen."""
    impatient = Gatherer(play.calls, play.stage.amqp_url, play.stage.databases, _QUIET_SECONDS)
    with play.stage.sabotaged(SABOTAGES[name].service, name):
        played = play._replace(gatherer=impatient).round(f"sabotage-{name}", REVEALED[name].fault, _SECONDS, quick=True)
    return giving_away(name, played.findings)


def giving_away(name: str, findings: Sequence[Finding]) -> list[Finding]:
    """Those of the findings that say what the sabotage of that name does."""
    expected = REVEALED[name].found
    return [one for one in findings if one.kind in expected and expected[one.kind] in one.text]
