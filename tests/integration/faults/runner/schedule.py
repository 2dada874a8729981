"""The schedule: every fault there is, in the order of the documentation, or drawn at random."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.integration.faults.environment.sabotage import SABOTAGES
from tests.integration.faults.environment.setup import USUAL, Setup
from tests.integration.faults.faults.administration import administration_faults
from tests.integration.faults.faults.bad_clients import bad_client_faults
from tests.integration.faults.faults.brokers import cluster_faults
from tests.integration.faults.faults.clocks import clock_faults
from tests.integration.faults.faults.crash_points import crash_faults
from tests.integration.faults.faults.crowd import crowd_faults
from tests.integration.faults.faults.database_links import database_link_faults
from tests.integration.faults.faults.disks import disk_faults
from tests.integration.faults.faults.failover import failover_faults
from tests.integration.faults.faults.fault import Fault, process_faults
from tests.integration.faults.faults.outside import broker_faults, network_faults, other_faults
from tests.integration.faults.faults.overload import overload_faults
from tests.integration.faults.faults.poison import poison_faults
from tests.integration.faults.faults.releases import release_faults
from tests.integration.faults.faults.replicas import replica_faults
from tests.integration.faults.faults.sessions import session_faults


class Job(NamedTuple):
    """One round: its number and fault, or a self-test by the name of its sabotage; and its environment."""

    number: int
    name: str
    brokers: int = 1
    alone: bool = False
    is_selftest: bool = False


def every_fault(quick: bool, setup: Setup = USUAL) -> list[Fault]:
    """All there are: the one place where they are put together. Each has a name of its own.

    Some may be unfit for that setup.
    """
    outside = [*network_faults(), *broker_faults(), *administration_faults(), *poison_faults(), *other_faults()]
    overwhelming = [*overload_faults(), *crowd_faults(), *bad_client_faults()]
    broken = [*disk_faults(), *release_faults(quick), *crash_faults(quick, setup.database), *cluster_faults(quick)]
    shared = [*failover_faults(), *database_link_faults(), *session_faults(), *replica_faults()]
    return [*process_faults(), *clock_faults(), *outside, *overwhelming, *broken, *shared]


def schedule(
    words: Sequence[str], rounds: int | None, seed: int, number: int | None, setup: Setup = USUAL
) -> Iterator[Job]:
    """The rounds of the faults with any of `words` in their name: each once, or so many at random; or one of these.

    The same for the same arguments. Unless faults are drawn, the self-tests of the sabotages with these names follow:
    a whole run ends with each of them.
    """
    fit = (fault for fault in every_fault(rounds is None, setup) if not fault.unfit(setup))
    there = [fault for fault in fit if not words or any(word in fault.name for word in words)]
    faults = there if rounds is None else _drawn(there, rounds, seed)
    yield from (
        Job(i, fault.name, fault.brokers, fault.measures) for i, fault in enumerate(faults) if number in (None, i)
    )
    if rounds is None and number is None:
        fit_ones = (name for name, sabotage in SABOTAGES.items() if not sabotage.unfit(setup))
        possible = [name for name in fit_ones if not words or any(word in name for word in words)]
        yield from (Job(index, name, is_selftest=True) for index, name in enumerate(possible))


def _drawn(faults: Sequence[Fault], rounds: int, seed: int) -> list[Fault]:
    dice = random.Random(seed)
    return [dice.choice(faults) for _ in range(rounds)]
