"""The architecture's page says what the code says."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from ordersys.product_service import change_order, place_order

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("saga", [place_order, change_order], ids=lambda saga: saga.__name__.rpartition(".")[2])
def test_the_states_of_a_saga_are_those_of_its_module(saga: ModuleType) -> None:
    """Line for line: the table stands where it is kept, and where it is read."""
    name = saga.__name__.rpartition(".")[2]
    shown = re.search(rf"<!-- states: {name} -->\n\n(.+?)\n\n<!-- end -->", PAGE, re.DOTALL)
    assert shown
    assert shown[1].splitlines() == [line for line in (saga.__doc__ or "").splitlines() if line.startswith("|")]


def test_each_link_leads_somewhere() -> None:
    """To a file of this tree."""
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", PAGE)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
