"""Whom the suite judges: the services named on the command line, or our own, started for the run."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import effort
from tests.contract.wire import ROLES
from tests.contract.world import World
from tests.running import addresses, local


def pytest_configure(config: pytest.Config) -> None:
    """How many examples a law is tried with."""
    config.addinivalue_line("markers", "judges(*roles): a law about these services; without them it does not apply")
    effort.choose(config.getoption("--examples"), config.getoption("--quick"))


def named(config: pytest.Config) -> dict[str, str]:
    """The services named on the command line, by role; none when our own are judged."""
    found = {role: config.getoption(f"--{role}") for role in ROLES}
    return {role: address for role, address in found.items() if address}


def judged(config: pytest.Config) -> set[str]:
    """The roles there are, and "broker" where it is known."""
    services = named(config)
    if not services:
        return {*ROLES, "broker"}
    return {*services, *(["broker"] if config.getoption("--amqp-url") else [])}


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The services that are judged."""
    patience = request.config.getoption("--patience")
    services, amqp_url = named(request.config), request.config.getoption("--amqp-url")
    if services:
        yield from _open(World(services, amqp_url, patience))
        return
    given = ["--amqp-url", amqp_url] if amqp_url else []
    with local(tmp_path_factory.mktemp("contract") / "system", *given) as process:
        said = addresses(process)
        ours = {role: said[f"ORDERSYS_{role.upper().replace('-', '_')}_ADDRESS"] for role in ROLES}
        yield from _open(World(ours, amqp_url or said["ORDERSYS_AMQP_URL"], patience))


def _open(world: World) -> Iterator[World]:
    try:
        yield world
    finally:
        world.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Laws about services that are not judged do not apply, and are said not to."""
    there = judged(config)
    for item in items:
        if missing := sorted(_roles(item) - there):
            item.add_marker(pytest.mark.skip(reason=f"does not apply: no {', '.join(missing)} is judged"))


def _roles(item: pytest.Item) -> set[str]:
    """The roles a law is about: those it is marked with, and the one it has as a parameter."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    marked = {role for mark in item.iter_markers("judges") for role in mark.args}
    return marked | ({params["role"]} if "role" in params else set())
