"""Erlang's port mapper of a private broker: its own, whoever else has a port, and there for as long as the broker."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ordersys.local import ports
from ordersys.local.broker import Broker, provided
from ordersys.local.choices import Choices
from ordersys.local.guard import Guard
from ordersys.local.packages import Installation
from ordersys.local.rabbitmq_installed import PortMapper
from tests.integration.api import eventually
from tests.integration.conftest import skip_without_rabbitmq


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """It ends what a failed test leaves."""
    skip_without_rabbitmq()
    with closing(Guard(tmp_path)) as guard:
        yield guard


@pytest.fixture
def broker(tmp_path: Path, guard: Guard) -> Iterator[Broker]:
    """A private one, prepared."""
    program, _ = provided()
    if not isinstance(program, Installation):
        pytest.skip("needs an installed RabbitMQ")
    broker = Broker(tmp_path, Choices())
    broker.prepare(program, guard, ())
    yield broker
    broker.stop()


def mapper(broker: Broker) -> PortMapper:
    """The one of its cluster."""
    assert broker._cluster is not None
    mapper = broker._cluster._mapper
    assert mapper is not None
    return mapper


@contextmanager
def another_mapper(port: int, folder: Path, guard: Guard) -> Iterator[None]:
    """One of another system, which took a port since it was free."""
    program, _ = provided()
    assert isinstance(program, Installation)
    other = PortMapper(program, guard)
    other.start(port, folder / "other.log")
    eventually(lambda: not ports.is_free(port))
    yield
    other.stop()


def test_a_broker_comes_back_after_both_it_and_its_mapper_were_killed(broker: Broker) -> None:
    """As whatever is called epmd is ended on a machine, or takes too much memory."""
    broker.boot()
    (node,) = broker.nodes
    child = mapper(broker)._child
    assert child is not None
    child.kill()
    node.kill()
    node.relaunch()
    node.wait()
    assert "ordersys" in node.control("eval", "node().")


def test_a_broker_takes_no_mapper_of_somebody_else(broker: Broker, tmp_path: Path, guard: Guard) -> None:
    """It would be lost with that one; and two of one name can't be known to one mapper."""
    (node,) = broker.nodes
    port = node._ports[1]
    with another_mapper(port, tmp_path, guard):
        broker.boot()
        assert mapper(broker).port != port
    assert "ordersys" in node.control("eval", "node().")


@pytest.mark.parametrize("number", [0, 1, 2], ids=["clients", "mapper", "nodes"])
def test_a_broker_boots_though_a_stranger_took_one_of_its_ports(broker: Broker, number: int) -> None:
    """Between the choice of that port and its start."""
    (node,) = broker.nodes
    with closing(socket.create_server((ports.LOOPBACK, node._ports[number]))):
        broker.boot()
        assert "ordersys" in node.control("eval", "node().")
