"""The real system: one for the whole run, started by the first test that asks for it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import pytest

from ordersys.contract.topology import topology
from ordersys.local.packages import NoRabbitMQ, provision
from ordersys.local.system import Choices, System
from tests.integration.api import Api

AMQP_VARIABLE = "ORDERSYS_TEST_AMQP_URL"


@contextmanager
def quietly(name: str) -> Iterator[Callable[[str], None]]:
    """A stage nobody looks at."""
    yield lambda word: None


def empty(url: str) -> None:
    """Takes the topology of the contract out of a virtual host."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in topology().queues:
        channel.queue_delete(queue.name)
    for exchange in topology().exchanges:
        channel.exchange_delete(exchange.name)
    connection.close()


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system, healthy; against the broker of ORDERSYS_TEST_AMQP_URL where that is set."""
    given = os.environ.get(AMQP_VARIABLE)
    if given:
        empty(given)
    settings = {"ORDERSYS_LOG_LEVEL": "debug", "ORDERSYS_CALL_TIMEOUT_SECONDS": "2"}
    with System(tmp_path_factory.mktemp("system"), quietly, Choices(amqp_url=given, settings=settings)) as running:
        yield running
    if given:
        empty(given)


@pytest.fixture
def private_system(tmp_path: Path) -> System:
    """A system with a broker of its own, not started yet, for tests that kill brokers."""
    try:
        provision()
    except NoRabbitMQ as error:
        pytest.skip(f"needs a private RabbitMQ: {error}")
    return System(tmp_path / "system", quietly, Choices())


@pytest.fixture
def api(system: System) -> Iterator[Api]:
    """Calls to the running system."""
    with Api(system.environment) as calls:
        yield calls


@pytest.fixture
def amqp(system: System) -> Iterator["pika.adapters.blocking_connection.BlockingChannel"]:
    """A channel of the broker the system uses."""
    connection = pika.BlockingConnection(pika.URLParameters(system.amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()
