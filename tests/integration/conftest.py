"""The real system: one for all these tests, started by the first that asks for it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pika
import pytest

from ordersys.local import postgresql_programs, unprivileged
from ordersys.local.packages import NoRabbitMQ, provision
from ordersys.local.postgresql_programs import NoPostgreSQL
from ordersys.local.rabbitmq import Node
from ordersys.local.system import Choices, System
from tests import virtual_host
from tests.contract.harness.injector import Injector
from tests.integration.api import Api
from tests.integration.place import Place, new_place


def skip_without_rabbitmq() -> None:
    """Unpacks the RabbitMQ that tests start for themselves; skips the test where it can't be had.

    Tests look into their nodes, which a container would not let them.
    """
    try:
        provision()
    except NoRabbitMQ as error:
        pytest.skip(f"needs a private RabbitMQ: {error}")


def skip_without_postgresql() -> None:
    """Skips the test where no PostgreSQL can be started in the folders of the tests, which are their user's alone."""
    try:
        postgresql_programs.provision()
    except NoPostgreSQL as error:
        pytest.skip(f"needs a private PostgreSQL: {error}")
    if os.geteuid() == 0 and not unprivileged.has_namespaces():
        pytest.skip("PostgreSQL refuses to run as root, which can make no user namespace here")


@contextmanager
def quietly(name: str) -> Iterator[Callable[[str], None]]:
    """A stage nobody looks at."""
    yield lambda word: None


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system, healthy; against the broker of ORDERSYS_TEST_AMQP_URL where that is set."""
    settings = {"ORDERSYS_LOG_LEVEL": "debug", "ORDERSYS_CALL_TIMEOUT_SECONDS": "2"}
    with ExitStack() as stack:
        given = virtual_host.given()
        url = stack.enter_context(virtual_host.emptied(given)) if given else None
        choices = Choices(amqp_url=url, settings=settings)
        yield stack.enter_context(System(tmp_path_factory.mktemp("system"), quietly, choices))


@pytest.fixture
def private_system(tmp_path: Path) -> System:
    """A system with a broker of its own, not started yet, for tests that kill brokers."""
    skip_without_rabbitmq()
    return System(tmp_path / "system", quietly, Choices())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A broker of a module's own, on which nothing is declared."""
    skip_without_rabbitmq()
    with System(tmp_path_factory.mktemp("broker"), quietly, Choices(services=(), secure=False)) as system:
        yield system.nodes[0]


@pytest.fixture
def place(node: Node) -> Place:
    """A virtual host of a test's own at the broker of its module: a broker takes seconds to boot."""
    return new_place(node)


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


@pytest.fixture
def injector(system: System) -> Iterator[Injector]:
    """Puts messages before the subscribers, past every publisher."""
    with closing(Injector(system.amqp_url)) as connection:
        yield connection
