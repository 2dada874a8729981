"""Options of `pytest` for the contract suite: whom to judge, how long, what to write."""

import random
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests import contract_options, contract_usage, workers

_ANY_SEED = "default"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of `nox -s contract`."""
    contract_options.add(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One seed for everything that is drawn: orders of tests, examples, stories.

    SIGTERM ends tests as SIGINT does, with everything they have started; also where a shell has them ignore it.
    """
    contract_usage.check(config)
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
    chosen: int | None = config.getoption("--seed")
    return random.SystemRandom().randrange(1, 2**32) if chosen is None else chosen


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
