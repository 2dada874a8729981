"""A plugin of pytest: tries some laws before all others, in the order in which they are named."""

from collections.abc import Generator

import pytest

from tests.contract.harness.law_index import law_id

_OPTION = "--first"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --first=LAW, which may be repeated."""
    parser.addoption(_OPTION, action="append", default=[], metavar="LAW", help="try this law before the others")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Sorts the laws when everybody else has done so."""
    yield
    ranks = {law: rank for rank, law in enumerate(config.getoption(_OPTION))}
    items.sort(key=lambda item: ranks.get(_law(item), len(ranks)))


def _law(item: pytest.Item) -> str:
    return law_id(item.module.__name__, item.function.__name__) if isinstance(item, pytest.Function) else ""
