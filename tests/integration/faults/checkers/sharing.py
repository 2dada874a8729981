"""Sharing: of the processes that share a database one leads at a time, and no two wait for each other in a circle."""

from collections.abc import Iterator

from tests.integration.faults.checkers.observations import Finding, Kind, Lease, Observations


def led_by_two(observations: Observations) -> Iterator[Finding]:
    """By the clock of the database a lease is taken from another one only once it is over, or was given back."""
    last: dict[str, Lease] = {}
    for lease in observations.leases:
        before = last.get(lease.service)
        if before and lease.holder not in ("", before.holder) and before.holder and lease.noted < before.until:
            early = before.until - lease.noted
            yield Finding(Kind.DUPLICATED, f"{lease.service} was led by two: its lease was taken {early:.3f} s early")
        last[lease.service] = lease


def deadlocked(observations: Observations) -> Iterator[Finding]:
    """Rows are locked in one order everywhere: nothing is undone for a deadlock (SQLSTATE 40P01), which costs 1 s."""
    for line in observations.deadlocks:
        yield Finding(Kind.UNRECOVERED, f"transactions waited for each other in a circle: {line}")
