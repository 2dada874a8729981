"""A cluster of brokers: whatever becomes of one, the services go on with another."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ordersys.local import ports
from ordersys.local.system import Choices, System
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.reconnecting import declare, keep_open
from ordersys.runtime.rabbitmq.urls import parse, shown
from tests.integration.api import Api, eventually
from tests.integration.conftest import quietly, skip_without_rabbitmq

SECONDS = 30.0
SLOW_MACHINE_SECONDS = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[System]:
    """The whole system on three brokers."""
    skip_without_rabbitmq()
    with System(tmp_path / "system", quietly, Choices(brokers=3)) as system:
        yield system


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of somebody who takes connections and says nothing."""
    with closing(socket.create_server((ports.LOOPBACK, 0))) as listener:
        yield f"amqp://user:secret@{ports.LOOPBACK}:{listener.getsockname()[1]}/%2F"


@pytest.fixture
def nobody() -> str:
    """A URL at which nobody listens."""
    return f"amqp://user:secret@{ports.LOOPBACK}:{ports.free(1)[0]}/%2F"


@pytest.mark.timeout(240)
def test_services_go_on_with_another_broker_and_the_lost_one_joins_again(cluster: System) -> None:
    """The one they all use is killed, and the next one: what is changed afterwards is published and recorded."""
    with Api(cluster.environment) as api:
        product = api.new_product(1000)
        for victim in cluster.nodes[:2]:
            victim.kill()
            order = api.place({product: 1})
            for listener in (1, 2):
                eventually(partial(api.heard, listener, order.id), SLOW_MACHINE_SECONDS)
            cluster.start_brokers()


async def test_a_session_is_opened_at_the_first_broker_that_answers(system: System, silent: str, nobody: str) -> None:
    """A broker that is away or silent keeps nobody from the next."""
    opened: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    async def use(session: Session) -> None:
        opened.set_result(session)
        await asyncio.wait([session.closed])

    task = asyncio.create_task(keep_open(parse(f"{nobody},{silent}, {system.amqp_url}"), "test", use))
    try:
        session = await asyncio.wait_for(opened, SECONDS)
        assert not session.closed.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_topology_is_declared_at_the_first_broker_that_answers(system: System, nobody: str) -> None:
    """As `python -m ordersys.local` does for any broker it is given."""
    await declare(parse(f"{nobody},{system.amqp_url}"))


async def test_where_nobody_answers_each_is_named_without_a_password(silent: str, nobody: str) -> None:
    """In the order in which they were tried."""
    with pytest.raises(BrokerUnavailable) as unavailable:
        await declare(parse(f"{nobody},{silent}"))
    said = str(unavailable.value)
    assert 0 <= said.index(shown(parse(nobody))) < said.index(shown(parse(silent)))
    assert "secret" not in said
