"""Faults of the database's servers: the primary lost in any way, the standby lost, restarts."""

from collections.abc import Iterator, Sequence

from tests.integration.faults.checkers.observations import Finding
from tests.integration.faults.environment import mounts
from tests.integration.faults.environment.setup import BROKER
from tests.integration.faults.faults.brokers import goes_on
from tests.integration.faults.faults.disks import size_of
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_NO_SERVERS = "files have no servers"
_ROOM = 96 << 20
"""Bytes beside the data: more than the log (WAL) takes while all is well."""


def failover_faults() -> Iterator[Fault]:
    """Each with the standby that each commit waits for."""
    for name, act in {
        "database primary killed, standby promoted": _fails_over,
        "database standby behind, primary killed, standby promoted": falls_behind,
        "database primary frozen, standby promoted": _freezes,
        "database primary killed and started again": _kills_primary,
        "database standby killed, which each commit waits for": _loses_standby,
        "database restarted": _restarts(immediately=False),
        "database restarted immediately": _restarts(immediately=True),
        "database and rabbitmq killed at once": _kills_both,
        "database read-only": _is_read_only,
        "file system of the database full": _has_no_room,
    }.items():
        yield Fault(name, act, servers_only=_NO_SERVERS)


def _fails_over(context: FaultContext) -> Sequence[Finding]:
    context.environment.servers.primary.kill()
    context.last(0.5, 5.0)
    context.environment.servers.promote()
    return goes_on(context.environment, "the standby was promoted")


def falls_behind(context: FaultContext) -> Sequence[Finding]:
    """The standby gets nothing for a while before it has to do: what is answered meanwhile would be lost."""
    context.environment.servers.hold_back()
    context.last(1.0, 5.0)
    return _fails_over(context)


def _freezes(context: FaultContext) -> Sequence[Finding]:
    """It hangs without dying, and is killed before it thaws, as whoever promotes has to see to."""
    servers = context.environment.servers
    old = servers.primary
    with servers.asleep(old):
        context.last(1.0, 15.0)
        servers.promote()
        findings = goes_on(context.environment, "the standby of a frozen primary was promoted")
        old.kill()
    return findings


def _kills_primary(context: FaultContext) -> Sequence[Finding]:
    context.environment.servers.primary.kill()
    context.last(1.0, 10.0)
    context.environment.servers.primary.start()
    return goes_on(context.environment, "the primary was started again")


def _loses_standby(context: FaultContext) -> Sequence[Finding]:
    """Longer than a commit is waited for: what was asked stays open, and is resolved later."""
    context.environment.servers.standby.kill()
    context.last(10.0, 30.0)
    context.environment.servers.heal()
    return goes_on(context.environment, "the standby was back")


def _restarts(immediately: bool) -> Act:
    def act(context: FaultContext) -> Sequence[Finding]:
        context.environment.servers.restart(immediately)
        return goes_on(context.environment, "the database was restarted")

    return act


def _kills_both(context: FaultContext) -> Sequence[Finding]:
    environment = context.environment
    environment.servers.primary.kill()
    environment.kill(BROKER)
    context.last(0.5, 5.0)
    environment.servers.promote()
    environment.start(BROKER)
    return goes_on(environment, "database and broker were back")


def _is_read_only(context: FaultContext) -> Sequence[Finding]:
    """As a provider makes a database whose disk is nearly full."""
    with context.environment.servers.read_only():
        context.last(3.0, 20.0)
    return goes_on(context.environment, "the database could be written again")


def _has_no_room(context: FaultContext) -> Sequence[Finding]:
    """The primary's, without a free byte: it refuses what grows, or ends at its log; it is started when there is room.

    Where there may be no small file system it is read-only instead.
    """
    servers = context.environment.servers
    if not context.environment.may_mount:
        return _is_read_only(context)
    server = servers.primary
    folder = server.log.parents[1] / "data"
    server.stop()
    with mounts.small(folder, size_of(folder) + _ROOM):
        server.start()
        findings = [*goes_on(context.environment, "the primary was on a small file system")]
        with mounts.filled(folder, 0):
            context.last(5.0, 20.0)
        if not server.running:
            server.kill()
            server.start()
        findings += goes_on(context.environment, "there was room again")
        server.stop()
    server.start()
    return findings
