"""Links lead somewhere: those of all pages, to a file and a heading; those of the code, to words of a page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def prose(page: Path) -> str:
    """A page without what stands in code."""
    return re.sub(r"(?s)```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names by which headings of a page are linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_each_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Links into the web are not followed."""
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            lost.append(link)
    assert lost == []


def citations(module: Path) -> list[tuple[str, str]]:
    """The pages a module cites, each with the words in it, from comments and docstrings of one or more lines."""
    text = re.sub(r"\n\s*(?:# ?)?", " ", module.read_text(encoding="utf-8"))
    cited = re.findall(r'docs/(\w+)\.md((?:(?:,| and) "[^"]+")+)', text)
    return [(page, words) for page, group in cited for words in re.findall(r'"([^"]+)"', group)]


@pytest.mark.parametrize("folder", ["ordersys", "tools", "tests", "benchmarks"])
def test_what_code_cites_of_a_page_stands_there(folder: str) -> None:
    """Word for word, but for capital letters; some are there."""
    lost = []
    for module in sorted((ROOT / folder).rglob("*.py")):
        for page, words in citations(module):
            text = " ".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").split())
            if words.lower() not in text.lower():
                lost.append(f"{module.name}: {words}")
    assert lost == []
    assert folder != "ordersys" or any(citations(module) for module in (ROOT / folder).rglob("*.py"))
