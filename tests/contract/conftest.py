"""The system under test: the services named on the command line, or our own, started for the run."""

import os
import shlex
from collections.abc import Collection, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from ordersys.contract.topology import topology
from tests import postgresql, virtual_host, workers
from tests.contract.harness import broker_users, contact, examples, launch
from tests.contract.harness.amqp_proxy import AmqpProxy
from tests.contract.harness.broker_users import Users
from tests.contract.harness.certificate import RESTART, Judged, Sizes, Subject, reason
from tests.contract.harness.client import PRODUCT, ROLES, NotReachable
from tests.contract.harness.conformance_report import Report, known
from tests.contract.harness.crashes import Commands, Crasher, Launched, NotCrashed
from tests.contract.harness.differences import explained
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.fake_order_service import FakeOrderService
from tests.contract.harness.identity import Identity
from tests.contract.harness.injector import Injector
from tests.contract.harness.law_index import law_of, needs
from tests.contract.harness.repeating import repeating
from tests.contract.harness.replicas import Replicas
from tests.contract.harness.system_under_test import SystemUnderTest
from tests.contract_options import POSTGRESQL, named, programs, restarts
from tests.running import EndedEarly

REPORT = pytest.StashKey[Report]()
BROKER, PROXY, STAND_IN = "broker", "proxy", "stand-in"
IDENTITIES, USERS, DECLARERS, IN_CLEAR = "identities", "users", "declarers", "in-clear"
_FOLDER = Path(__file__).parent
_ANY_PORT = "127.0.0.1:0"
# So that a call that gets no answer is over within a law's patience.
_IMPATIENT = {"ORDERSYS_CALL_TIMEOUT_SECONDS": "1", "ORDERSYS_SWEEP_SECONDS": "1"}


def pytest_configure(config: pytest.Config) -> None:
    """Sets the number of examples of each law, and the report."""
    examples.configure(config.getoption("--examples"), config.getoption("--quick"), not config.getoption("--no-shrink"))
    listed = known(config.getoption("--known-failures"))
    files, again = config.getoption("--report"), repeating(config)
    config.stash[REPORT] = Report(_subject(config), _sizes(config), listed, files, again)
    if config.option.dist == "no":  # else it is a worker's
        config.pluginmanager.register(config.stash[REPORT])


class ProductServiceAlone(NamedTuple):
    """A Product Service judged alone, and the fake Order Service that it calls."""

    system: SystemUnderTest
    fake_order_service: FakeOrderService


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(
    op: str, left: object, right: object
) -> Generator[None, list[list[str]], list[list[str]]]:
    """Of two messages, or of what holds messages, the fields in which they differ come first, then pytest's words."""
    results = yield
    places = explained(left, right) if op == "==" else None
    if not places:
        return results
    summary, *rest = next(filter(None, results), [f"{left!r} == {right!r}"])
    return [[summary, *places, *rest]]


def judged(config: pytest.Config) -> set[str]:
    """The roles and means there are to judge."""
    services = named(config)
    if not services:
        return {*ROLES, BROKER, PROXY, STAND_IN, *_secured(config)}
    options = {BROKER: "--amqp-url", PROXY: "--amqp-proxy", STAND_IN: "--stand-in"}
    return {*services, IN_CLEAR, DECLARERS, *(means for means, option in options.items() if config.getoption(option))}


def _secured(config: pytest.Config) -> set[str]:
    """Users are made at a broker of our own alone: at another one they are somebody else's to make.

    They may not declare.
    """
    if not config.getoption("--secure"):
        return {IN_CLEAR, DECLARERS}
    return {IDENTITIES, DECLARERS if _given_broker(config) else USERS}


def _given_broker(config: pytest.Config) -> str | None:
    return config.getoption("--amqp-url") or virtual_host.given()


def missing(config: pytest.Config, needed: Collection[str]) -> set[str]:
    """The needs of a law that are not met. A law restarts all the services it needs."""
    restartable = set(restarts(config)) if named(config) else set(ROLES)
    can_restart = restartable >= set(needed) & set(ROLES)
    return set(needed) - judged(config) - ({RESTART} if can_restart else set())


@pytest.fixture(scope="package")
def started(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """Everything that is ended with the run."""
    with ExitStack() as stack:
        try:
            yield stack
        finally:
            stack.close()


@pytest.fixture(scope="package")
def users(request: pytest.FixtureRequest, started: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Users | None:
    """The users at a broker of our own, where each service has one."""
    if USERS not in judged(request.config):
        return None
    return started.enter_context(broker_users.broker(tmp_path_factory.mktemp("contract") / "broker"))


@pytest.fixture(scope="package")
def amqp_url(
    request: pytest.FixtureRequest,
    started: ExitStack,
    users: Users | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> str | None:
    """The broker of the services that are judged; one of our own for our own."""
    option: str | None = request.config.getoption("--amqp-url")
    if named(request.config):
        return option
    if users is not None:
        return users.url
    given = _given_broker(request.config)
    return started.enter_context(launch.broker(tmp_path_factory.mktemp("contract") / "broker", given))


@pytest.fixture(scope="package")
def proxy(request: pytest.FixtureRequest, started: ExitStack, amqp_url: str | None) -> AmqpProxy | None:
    """The proxy between the services and the broker, where there is one."""
    listen = request.config.getoption("--amqp-proxy") or ("" if named(request.config) else _ANY_PORT)
    if not listen or not amqp_url:
        return None
    host, _, port = listen.rpartition(":")
    return started.enter_context(closing(AmqpProxy(amqp_url, (host, int(port)))))


@pytest.fixture(scope="package")
def fake_order_service(request: pytest.FixtureRequest, started: ExitStack) -> FakeOrderService:
    """The Order Service that the suite runs itself."""
    return started.enter_context(closing(FakeOrderService(request.config.getoption("--stand-in") or _ANY_PORT)))


@pytest.fixture(scope="package")
def database_server(
    request: pytest.FixtureRequest, started: ExitStack, tmp_path_factory: pytest.TempPathFactory
) -> str | None:
    """The URL of the PostgreSQL that our system is to use; none where each of our services has a file."""
    if request.config.getoption("--database") != POSTGRESQL:
        return None
    # A machine that loses its power is no matter of the laws: without fsync they are tried sooner.
    return started.enter_context(postgresql.server(tmp_path_factory.mktemp("contract") / "postgresql", "-F"))


@pytest.fixture(scope="package")
def system(
    request: pytest.FixtureRequest,
    started: ExitStack,
    proxy: AmqpProxy | None,
    amqp_url: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> SystemUnderTest:
    """The services that are judged."""
    services = named(request.config)
    if request.config.getoption("--stand-in"):
        request.getfixturevalue("fake_order_service")
    if services:
        return _open(request, started, services, amqp_url, Commands(restarts(request.config)))
    assert proxy is not None
    folder = tmp_path_factory.mktemp("contract") / "system"
    if server := request.getfixturevalue("database_server"):
        return _replicated(request, started, proxy, folder, server)
    programs_ = request.config.getoption("--program")
    try:
        if request.config.getoption("--secure"):
            users = request.getfixturevalue("users")
            ours, identity = started.enter_context(launch.secured_system(folder, proxy, programs_, users))
            return _open(request, started, ours, amqp_url, Launched(folder, ours), identity=identity)
        ours = started.enter_context(launch.system(folder, proxy, programs_))
    except EndedEarly as error:
        if not programs(request.config):
            raise
        _give_up(request, NotReachable(f"the system did not start: {_last_line(error)}"))
    return _open(request, started, ours, amqp_url, Launched(folder, ours))


def _replicated(
    request: pytest.FixtureRequest, started: ExitStack, proxy: AmqpProxy, folder: Path, server: str
) -> SystemUnderTest:
    """Our services on one PostgreSQL, as many processes of each as were asked for."""
    settings = {
        "ORDERSYS_AMQP_URL": proxy.url,
        "ORDERSYS_DATABASE_URL": started.enter_context(postgresql.database(server, _name("system"))),
    }
    commands = {role: shlex.split(command) for role, command in programs(request.config).items()}
    try:
        ours = Replicas(folder, settings, request.config.getoption("--replicas"), commands)
    except NotReachable as error:
        _give_up(request, error)
    started.enter_context(closing(ours))
    return _open(request, started, ours.addresses, request.getfixturevalue("amqp_url"), ours)


def _name(of: str) -> str:
    """The name of a database: that of a given server may be used by several runs."""
    return f"ordersys_contract_{os.getpid()}_{of}"


@pytest.fixture(scope="package")
def alone(
    request: pytest.FixtureRequest,
    started: ExitStack,
    fake_order_service: FakeOrderService,
    users: Users | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> ProductServiceAlone:
    """A Product Service that calls the fake Order Service: the one that is judged, or a second one of ours."""
    if named(request.config):
        return ProductServiceAlone(request.getfixturevalue("system"), fake_order_service)
    folder = tmp_path_factory.mktemp("contract") / "product-service-alone"
    address = launch.free_address()
    settings = {
        **_IMPATIENT,
        "ORDERSYS_PRODUCT_SERVICE_ADDRESS": address,
        "ORDERSYS_ORDER_SERVICE_ADDRESS": fake_order_service.address,
        "ORDERSYS_AMQP_URL": request.getfixturevalue("amqp_url"),
    }
    if users is not None:
        settings["ORDERSYS_AMQP_URL"] = users.url_of(PRODUCT, settings["ORDERSYS_AMQP_URL"])
    if server := request.getfixturevalue("database_server"):
        settings["ORDERSYS_DATABASE_URL"] = started.enter_context(postgresql.database(server, _name("alone")))
    service = launch.ProductService(folder, settings, programs(request.config).get(PRODUCT))
    started.enter_context(closing(service))
    try:
        service.wait(address)
    except NotReachable as error:
        _give_up(request, error)
    return ProductServiceAlone(_open(request, started, {PRODUCT: address}, None, service), fake_order_service)


@pytest.fixture
def event_tap(system: SystemUnderTest) -> EventTap:
    """Everything the services that are judged publish."""
    assert system.event_tap is not None
    return system.event_tap


@pytest.fixture(scope="package")
def declared(system: SystemUnderTest, amqp_url: str) -> None:
    """Returns when the queues are there, as soon as any service has declared them; laws say whether they have to be."""
    with closing(Injector(amqp_url)) as connection, suppress(AssertionError):
        for queue in topology().queues:
            system.eventually(lambda name=queue.name: connection.is_there(name))  # type: ignore[misc]


@pytest.fixture
def injector(declared: None, amqp_url: str, users: Users | None) -> Iterator[Injector]:
    """A connection to their broker, once they run and have declared what they need."""
    with closing(Injector(amqp_url, names_publishers=users is not None)) as connection:
        yield connection


def _check_contact(config: pytest.Config, addresses: dict[str, str]) -> None:
    """Before the first law: a fault of what was named is one line, not a law after the other. Raises UsageError."""
    try:
        contact.check_services(addresses, config.getoption("--patience"))
        if url := config.getoption("--amqp-url"):
            contact.connected_to_broker(url).close()
    except NotReachable as error:
        config.stash[REPORT].make_no_contact(str(error))
        raise pytest.UsageError(f"nothing was judged: {error}") from None


def _check_chosen(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Raises UsageError where nothing is going to be judged, though nothing else was asked for."""
    cases = [item for item in items if item.get_closest_marker("law")]
    if not cases and config.option.keyword and all(_is_ours(config, argument) for argument in config.args):
        raise pytest.UsageError(
            f"nothing to judge: no law has -k {config.option.keyword!r} in its name; --law=ID chooses one by its id,"
            " and docs/conformance.md lists them"
        )
    wanting = {need for item in cases for need in missing(config, needs(item.iter_markers()) | _role(item))}
    if cases and named(config) and all(item.get_closest_marker("skip") for item in cases):
        raise pytest.UsageError(f"nothing to judge: of the laws that were chosen, each needs more: {reason(wanting)}")


def _is_ours(config: pytest.Config, argument: str) -> bool:
    return (config.invocation_params.dir / argument.partition("::")[0]).resolve().is_relative_to(_FOLDER)


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2].strip()


def _open(
    request: pytest.FixtureRequest,
    started: ExitStack,
    services: dict[str, str],
    url: str | None,
    crasher: Crasher,
    *,
    identity: Identity | None = None,
) -> SystemUnderTest:
    try:
        system = SystemUnderTest(services, url, request.config.getoption("--patience"), crasher, identity)
    except NotReachable as error:
        _give_up(request, error)
    started.callback(system.close)
    request.config.stash[REPORT].systems.append(system)
    return system


def _give_up(request: pytest.FixtureRequest, error: NotReachable) -> NoReturn:
    request.config.stash[REPORT].make_no_contact(str(error))
    if workers.is_worker(request.config):  # whose process has to end in good order, and to end the others' work
        request.session.shouldstop = f"nothing was judged: {error}"
        pytest.skip(f"nothing was judged: {error}")
    pytest.exit(f"nothing was judged: {error}", returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the laws. Those about what is not judged do not apply, and are said not to; --law chooses among them."""
    for item in items:
        if not item.path.is_relative_to(_FOLDER):
            continue  # of another suite, which runs in the same session
        needed = needs(item.iter_markers()) | _role(item)
        if not needed:
            _check_is_no_law(item)
            continue
        item.add_marker("law")
        item.add_marker(pytest.mark.timeout(examples.seconds()))
        lacking = missing(config, needed)
        config.stash[REPORT].there_is(item, lacking)
        if lacking:
            item.add_marker(pytest.mark.skip(reason=f"does not apply: there is no {', '.join(sorted(lacking))}"))
    if chosen := set(config.getoption("--law")):
        kept = [item for item in items if item.get_closest_marker("law") and law_of(item) in chosen]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tells the report which laws are going to be tried."""
    for item in session.items:
        if item.get_closest_marker("law"):
            session.config.stash[REPORT].expect(item, needs(item.iter_markers()) | _role(item))
    if workers.is_worker(session.config) or session.config.option.collectonly:
        return
    _check_chosen(session.config, session.items)
    if addresses := named(session.config):
        _check_contact(session.config, addresses)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A crash that the suite could not bring about says nothing of the service."""
    try:
        yield
    except NotCrashed as error:
        item.config.stash[REPORT].hinder(item, str(error))
        pytest.skip(str(error))


def _subject(config: pytest.Config) -> Subject:
    """The services that were named; else our own system, with the programs that run in it."""
    replaced, addresses = programs(config), named(config)
    if addresses:
        services = [Judged(role, "address", at) for role, at in addresses.items()]
    else:
        services = [
            Judged(role, "program", replaced[role]) if role in replaced else Judged(role, "ours", "") for role in ROLES
        ]
    return Subject(config.getoption("--name") or "", config.getoption("--service-version") or "", tuple(services))


def _sizes(config: pytest.Config) -> Sizes:
    """The seed is that of the run, whoever chose it."""
    seed = config.option.randomly_seed
    quick, patience = config.getoption("--quick"), config.getoption("--patience")
    return Sizes(seed if isinstance(seed, int) else 0, examples.share(1), quick, patience)


def _role(item: pytest.Item) -> set[str]:
    """The role a law has as a parameter."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return {params["role"]} if "role" in params else set()


def _check_is_no_law(item: pytest.Item) -> None:
    if {"system", "alone"} & set(getattr(item, "fixturenames", ())):
        raise pytest.UsageError(f"{item.nodeid} judges something; mark it with what: judges(…)")
