"""The architecture's page says what the code says."""

import re
from pathlib import Path

from ordersys.product_service.saga import TRANSITIONS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_states_of_a_saga_are_those_of_the_code() -> None:
    """Line for line, in the order of the table that decides."""
    shown = re.search(r"<!-- states -->\n\n.+?\n\|---.+?\n(.+?)\n\n<!-- end -->", PAGE, re.DOTALL)
    assert shown
    rows = [(state, input_, step, after) for (state, input_), (step, after) in TRANSITIONS.items()]
    assert shown[1].splitlines() == [f"| {' | '.join(row)} |" for row in rows]


def test_each_link_leads_somewhere() -> None:
    """To a file of this tree."""
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", PAGE)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
