"""Sagas go on without whoever asked for them, and take their place while they do."""

import asyncio

import pytest

from ordersys.contract.errors import Refused, reason_of
from ordersys.product_service.saga import Sagas


async def test_a_saga_nobody_waits_for_any_more_keeps_its_place() -> None:
    """Calls given up in a row do not pile up what they have begun: the next is refused until one is done."""
    sagas, done = Sagas(1), asyncio.Event()
    given_up = asyncio.ensure_future(sagas.detached(done.wait()))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    with pytest.raises(Refused) as refused:
        await sagas.detached(done.wait())
    assert reason_of(refused.value.status) == "TOO_MANY_CALLS"
    done.set()
    await sagas.drained(10)
    assert await sagas.detached(done.wait())
