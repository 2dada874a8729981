"""Fixtures of the micro-benchmarks: a private broker, and a system in a virtual host of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.seeding import Stored, fill
from benchmarks.systems import UNOBSERVED
from ordersys.local.system import Choices, System
from ordersys.runtime.rabbitmq.reconnecting import declare
from ordersys.runtime.rabbitmq.urls import parse


@contextmanager
def quietly(name: str) -> Iterator[Any]:
    """A stage that shows nothing."""
    yield lambda word: None


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A private RabbitMQ with the topology of the contract, without consumers."""
    with System(tmp_path_factory.mktemp("broker"), quietly, Choices(services=(), secure=False)) as system:
        asyncio.run(declare(parse(system.amqp_url)))
        yield system


@pytest.fixture(scope="session")
def system(broker: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """All services, with an ample catalogue."""
    (node,) = broker.nodes
    node.control("add_vhost", "calls")
    node.control("set_permissions", "-p", "calls", "guest", ".*", ".*", ".*")
    folder = tmp_path_factory.mktemp("calls")
    fill(folder / "databases", Stored())
    choices = Choices(amqp_url=broker.amqp_url.replace("%2F", "calls"), secure=False, settings=UNOBSERVED)
    with System(folder, quietly, choices) as running:
        yield running


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[asyncio.Runner]:
    """An event loop for one measurement."""
    with asyncio.Runner() as runner:
        yield runner
