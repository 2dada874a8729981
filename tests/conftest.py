"""Options of `pytest` for the contract suite: whom to judge, how long, what to write."""

import random
import signal

import pytest
from hypothesis import HealthCheck, settings

from ordersys.contract.topology import subscriptions
from tests import workers

_ANY_SEED = "default"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `nox -s contract`."""
    group = parser.getgroup("contract", "the contract suite: whom it judges (our own services when none is named)")
    for role in ("product-service", "order-service", *(subscription.consumer for subscription in subscriptions())):
        group.addoption(f"--{role}", metavar="HOST:PORT", help=f"judge the {role} that listens there")
    group.addoption("--amqp-url", metavar="URL", help="the RabbitMQ they use: a virtual host for the suite alone")
    group.addoption(
        "--amqp-proxy",
        metavar="HOST:PORT",
        help="where the suite listens as that RabbitMQ, for services that were told to find it there",
    )
    group.addoption(
        "--stand-in",
        metavar="HOST:PORT",
        help="where the suite listens as the Order Service, for a Product Service judged alone",
    )
    group.addoption(
        "--program",
        action="append",
        default=[],
        metavar="ROLE=COMMAND",
        help="judge our system with this program in the place of a service; may be repeated",
    )
    group.addoption("--quick", action="store_true", help="fewer examples: about a minute")
    group.addoption("--examples", type=int, metavar="N", help="examples a law (default 40, with --quick 8)")
    group.addoption("--seed", type=int, metavar="N", help="repeat a run")
    group.addoption("--no-shrink", action="store_true", help="show what fails as it was found")
    group.addoption("--patience", type=float, default=20.0, metavar="S", help="seconds a condition may take (20)")
    group.addoption("--report", metavar="FILE.json", help="write what came out, an entry a law")
    group.addoption("--known-failures", metavar="FILE", help="laws known to fail, an id a line; one that passes fails")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One seed for everything that is drawn: orders of tests, examples, stories.

    SIGTERM ends tests as SIGINT does, with everything they have started; also where a shell has them ignore it.
    """
    # How long an example takes, or is drawn, is the machine's affair: no test is timed.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # By nohup. What tests start would inherit that, which a handler is not.
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, workers.interrupted_once if workers.is_worker(config) else signal.default_int_handler)
    seed = _seed(config)
    if seed is not None:
        config.option.randomly_seed = seed
        config.option.hypothesis_seed = seed
    if config.option.dist != "no":
        config.option.maxworkerrestart = "0"  # a successor would take up the test that killed its worker
        config.pluginmanager.register(workers.Workers(seed))


def _seed(config: pytest.Config) -> int | None:
    """That of the run for a worker, the one asked for, or any; none where only pytest-randomly was told one."""
    if workers.is_worker(config):
        seed: int | None = config.workerinput["seed"]  # type: ignore[attr-defined]
        return seed
    if config.getoption("--seed") is None and config.option.randomly_seed != _ANY_SEED:
        return None
    return config.getoption("--seed") or random.SystemRandom().randrange(1, 2**32)


def pytest_report_header(config: pytest.Config) -> str:
    """The command that repeats this run."""
    return f"repeat this run with --seed={config.option.randomly_seed}"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The number of workers `-n auto` means."""
    return workers.number(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Suite by suite and folder by folder, at random: each has one system, and there may be one broker only."""
    suites = list(dict.fromkeys(workers.suite(item.path) for item in items))
    if workers.is_worker(config):
        suites.sort(key=workers.rank)
    folders = list(dict.fromkeys(item.path.parent for item in items))
    items.sort(key=lambda item: (suites.index(workers.suite(item.path)), folders.index(item.path.parent)))
