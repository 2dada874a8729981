"""The glossary sends nobody to a place that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| (`.+`) \|$", GLOSSARY, re.MULTILINE)
PLACES = [
    (term, path, name) for term, _, homes in ROWS for path, name in re.findall(r"`([\w/.]+)`(?: `(\w+)`)?", homes)
]


@pytest.mark.parametrize(("term", "path", "name"), PLACES, ids=[f"{term}: {path}" for term, path, _ in PLACES])
def test_a_term_is_at_home_where_the_glossary_says(term: str, path: str, name: str) -> None:
    """The file is there, and what is named in it is defined in it."""
    source = (ROOT / path).read_text(encoding="utf-8")
    assert not name or re.search(rf"^ *(?:class|def|async def) {name}\b", source, re.MULTILINE), f"{term}: {name}"


def test_each_term_has_a_home_and_is_told_once() -> None:
    """One word, one meaning."""
    terms = [term for term, _, _ in ROWS]
    assert len(terms) >= 40
    assert len(set(terms)) == len(terms)


def test_what_is_released_is_mapped() -> None:
    """A reader of the contract finds the code's word for it."""
    contract = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "proto").rglob("*.proto"))
    released = re.findall(r"^\| `([\w.]+)` \| [^`]+ \|$", GLOSSARY, re.MULTILINE)
    assert released
    for name in released:
        assert all(part in contract for part in name.split("."))
