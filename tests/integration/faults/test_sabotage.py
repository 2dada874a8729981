"""The whole harness finds a promise that is broken on purpose, in the real system, by the fault that shows it."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import pytest

from ordersys.local.packages import NoRabbitMQ, provision
from tests.integration.faults import ears
from tests.integration.faults.bad_clients import MISDEEDS, suffers
from tests.integration.faults.calls import Calls
from tests.integration.faults.crash_points import Point, crashes
from tests.integration.faults.facts import Kind
from tests.integration.faults.fault import Fault, kills
from tests.integration.faults.gathering import Gatherer
from tests.integration.faults.manner import Deserters
from tests.integration.faults.overload import overloads
from tests.integration.faults.round import Play
from tests.integration.faults.sabotage import SABOTAGES
from tests.integration.faults.stage import Stage
from tests.integration.faults.troubles import network_faults

pytestmark = pytest.mark.timeout(300)
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
    "release-twice": Revealed(Fault("nothing", lambda scene: ()), {Kind.OVERSOLD: "orders hold"}),
    "no-sweep": Revealed(
        Fault("crash", crashes("product_service", [Point("placement.reserved", ())] * 3), Deserters()),
        {Kind.ORPHAN: "placements without an outcome"},
    ),
    "no-limit": Revealed(Fault("overload", overloads(5)), {Kind.UNRECOVERED: "calls "}),
    "endless-patience": Revealed(
        Fault("stalled", suffers(MISDEEDS["send no requests"])), {Kind.UNRECOVERED: "still borne with"}
    ),
}


@pytest.fixture
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """A system of its own to play a round on, soon impatient: what a sabotage has spoiled stays spoiled."""
    try:
        provision()
    except NoRabbitMQ as error:
        pytest.skip(f"needs a private RabbitMQ: {error}")
    with Stage(tmp_path_factory.mktemp("faults") / "system") as stage, closing(Calls(stage.addresses)) as calls:
        ears.prick_up(stage.amqp_url)
        yield Play(stage, calls, Gatherer(calls, stage.amqp_url, stage.databases, _QUIET_SECONDS))


@pytest.mark.parametrize("name", SABOTAGES)
def test_a_broken_promise_is_found_out(play: Play, name: str) -> None:
    """Each of them, and it counts as what it is."""
    fault, expected = REVEALED[name]
    with play.stage.sabotaged(SABOTAGES[name].service, name):
        played = play.round(f"sabotage-{name}", fault, _SECONDS, quick=True)
    assert [f for f in played.findings if f.kind in expected and expected[f.kind] in f.text], played.findings[:10]


def test_a_system_that_keeps_its_promises_is_found_to(play: Play) -> None:
    """The same rounds, nobody sabotaged, find nothing."""
    played = play.round("honest", REVEALED["ack-before-commit"].fault, _SECONDS, quick=True)
    assert played.findings == []
