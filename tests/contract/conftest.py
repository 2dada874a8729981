"""Whom the suite judges: the services named on the command line, or our own, started for the run."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import pytest

from tests import virtual_host
from tests.contract.harness import examples, launch
from tests.contract.harness.amqp_proxy import Proxy
from tests.contract.harness.client import PRODUCT, ROLES, NoContact
from tests.contract.harness.conformance_report import Report, known
from tests.contract.harness.event_tap import Ear
from tests.contract.harness.fake_order_service import StandIn
from tests.contract.harness.injector import Post
from tests.contract.harness.law_index import needs
from tests.contract.harness.system_under_test import World

REPORT = pytest.StashKey[Report]()
BROKER, PROXY, STAND_IN = "broker", "proxy", "stand-in"
_ANY_PORT = "127.0.0.1:0"
# So that a call that gets no answer is over within a law's patience.
_IMPATIENT = {"ORDERSYS_CALL_TIMEOUT_SECONDS": "1", "ORDERSYS_SWEEP_SECONDS": "1"}


def pytest_configure(config: pytest.Config) -> None:
    """How many examples a law is tried with, and where what comes of it goes."""
    config.stash[REPORT] = Report(
        named(config), known(config.getoption("--known-failures")), config.getoption("--report")
    )
    if config.option.dist == "no":  # else it is a worker's
        config.pluginmanager.register(config.stash[REPORT])
    examples.choose(config.getoption("--examples"), config.getoption("--quick"), not config.getoption("--no-shrink"))


class Lone(NamedTuple):
    """A Product Service judged alone, and the Order Service it believes to talk to."""

    world: World
    stand_in: StandIn


def named(config: pytest.Config) -> dict[str, str]:
    """The services named on the command line, by role; none when our own are judged."""
    found = {role: config.getoption(f"--{role}") for role in ROLES}
    return {role: address for role, address in found.items() if address}


def judged(config: pytest.Config) -> set[str]:
    """What there is to judge."""
    services = named(config)
    if not services:
        return {*ROLES, BROKER, PROXY, STAND_IN}
    options = {BROKER: "--amqp-url", PROXY: "--amqp-proxy", STAND_IN: "--stand-in"}
    return {*services, *(thing for thing, option in options.items() if config.getoption(option))}


@pytest.fixture(scope="package")
def started(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """What is ended when the run is."""
    with ExitStack() as stack:
        try:
            yield stack
        finally:
            stack.close()


@pytest.fixture(scope="package")
def amqp_url(
    request: pytest.FixtureRequest, started: ExitStack, tmp_path_factory: pytest.TempPathFactory
) -> str | None:
    """The broker of the services that are judged; one of our own for our own."""
    option: str | None = request.config.getoption("--amqp-url")
    if named(request.config):
        return option
    given = option or virtual_host.given()
    return started.enter_context(launch.broker(tmp_path_factory.mktemp("contract") / "broker", given))


@pytest.fixture(scope="package")
def proxy(request: pytest.FixtureRequest, started: ExitStack, amqp_url: str | None) -> Proxy | None:
    """What stands between the services and the broker, where it does."""
    listen = request.config.getoption("--amqp-proxy") or ("" if named(request.config) else _ANY_PORT)
    if not listen or not amqp_url:
        return None
    host, _, port = listen.rpartition(":")
    return started.enter_context(closing(Proxy(amqp_url, (host, int(port)))))


@pytest.fixture(scope="package")
def stand_in(request: pytest.FixtureRequest, started: ExitStack) -> StandIn:
    """The Order Service the suite stands in for."""
    return started.enter_context(closing(StandIn(request.config.getoption("--stand-in") or _ANY_PORT)))


@pytest.fixture(scope="package")
def world(
    request: pytest.FixtureRequest,
    started: ExitStack,
    proxy: Proxy | None,
    amqp_url: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """The services that are judged."""
    services = named(request.config)
    if request.config.getoption("--stand-in"):
        request.getfixturevalue("stand_in")
    if not services:
        assert proxy is not None
        folder = tmp_path_factory.mktemp("contract") / "system"
        services = started.enter_context(launch.system(folder, proxy, request.config.getoption("--program")))
    return _open(request, started, services, amqp_url)


@pytest.fixture(scope="package")
def lone(
    request: pytest.FixtureRequest, started: ExitStack, stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Lone:
    """A Product Service that talks to the stand-in: the one that is judged, or a second one of ours."""
    if named(request.config):
        return Lone(request.getfixturevalue("world"), stand_in)
    folder = tmp_path_factory.mktemp("contract") / "lone"
    address = launch.free_address()
    settings = {
        **_IMPATIENT,
        "ORDERSYS_PRODUCT_SERVICE_ADDRESS": address,
        "ORDERSYS_ORDER_SERVICE_ADDRESS": stand_in.address,
        "ORDERSYS_AMQP_URL": request.getfixturevalue("amqp_url"),
    }
    started.enter_context(launch.product_service(folder, settings, request.config.getoption("--program")))
    return Lone(_open(request, started, {PRODUCT: address}, None), stand_in)


@pytest.fixture
def ear(world: World) -> Ear:
    """What was published by the services that are judged."""
    assert world.ear is not None
    return world.ear


@pytest.fixture
def post(world: World, amqp_url: str) -> Iterator[Post]:
    """A connection to their broker, when they are there."""
    with closing(Post(amqp_url)) as connection:
        yield connection


def _open(request: pytest.FixtureRequest, started: ExitStack, services: dict[str, str], url: str | None) -> World:
    try:
        world = World(services, url, request.config.getoption("--patience"))
    except NoContact as error:
        pytest.exit(f"nothing was judged: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
    started.callback(world.close)
    request.config.stash[REPORT].worlds.append(world)
    return world


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the laws. Those about what is not judged do not apply, and are said not to."""
    there = judged(config)
    for item in items:
        needed = needs(item.iter_markers()) | _role(item)
        if not needed:
            _check_is_no_law(item)
            continue
        item.add_marker("law")
        item.add_marker(pytest.mark.timeout(examples.seconds()))
        config.stash[REPORT].there_is(item)
        if missing := sorted(needed - there):
            item.add_marker(pytest.mark.skip(reason=f"does not apply: no {', '.join(missing)} is judged"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is left of the laws is going to be tried."""
    for item in session.items:
        if item.get_closest_marker("law"):
            session.config.stash[REPORT].expect(item, needs(item.iter_markers()) | _role(item))


def _role(item: pytest.Item) -> set[str]:
    """The role a law has as a parameter."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return {params["role"]} if "role" in params else set()


def _check_is_no_law(item: pytest.Item) -> None:
    if {"world", "lone"} & set(getattr(item, "fixturenames", ())):
        raise pytest.UsageError(f"{item.nodeid} judges something; mark it with what: judges(…)")
