"""The load generator: what a call's latency is, and how many are under way."""

import asyncio
import time
from pathlib import Path

import pytest

from benchmarks.bench import in_turn
from benchmarks.load import Loads, Tally, closed, opened
from ordersys.console.parser import UsageError
from ordersys.grpc_client.credentials import CA_FILE, TOKEN_FILE


async def test_in_an_open_loop_a_stall_counts_against_everybody_it_kept_waiting() -> None:
    """One call that blocks everything for 200 ms: those due meanwhile are late too, and say so."""
    stalls = iter([0.2])

    async def call() -> list[str]:
        time.sleep(next(stalls, 0))  # noqa: ASYNC251 - the stall
        return ["order"]

    tally = Tally()
    await opened(call, tally, rate=100, seconds=0.3)
    assert len(tally.latencies) == 30
    assert sum(latency > 0.05 for latency in tally.latencies) >= 10
    assert tally.orders == ["order"] * 30


@pytest.mark.parametrize("in_flight", [1, 7])
async def test_a_closed_loop_keeps_so_many_under_way_and_makes_no_more_than_asked(in_flight: int) -> None:
    """Never more than the callers there are."""
    under_way, most = 0, 0

    async def call() -> list[str]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return []

    tally = Tally()
    await closed(call, tally, in_flight, seconds=30, most=50)
    assert (most, len(tally.latencies)) == (in_flight, 50)


async def test_a_round_whose_credentials_are_not_there_fails_and_makes_no_call_in_clear(tmp_path: Path) -> None:
    """Paths come with the request; what they name is read here."""
    identity = {CA_FILE: str(tmp_path / "ca.pem"), TOKEN_FILE: str(tmp_path / "operator.token")}
    with pytest.raises(UsageError, match=r"ca\.pem"):
        await Loads().answer("127.0.0.1:9", "echo", identity=identity, in_flight=1, seconds=1, most=1)


def test_nobody_is_always_first() -> None:
    """The order of ours and baseline alternates."""
    order: list[str] = []
    for number in range(2):
        in_turn(number, lambda: order.append("ours"), lambda: order.append("baseline"))
    assert order == ["ours", "baseline", "baseline", "ours"]
