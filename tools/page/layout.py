"""The forms that the parts of the page have: headings, entries that the search finds, tables, lists of facts."""

from collections.abc import Iterable, Mapping

from tools.page.markup import Html, element, joined, link


def entry(tag: str, kind: str, name: str, place: str, *children: str) -> Html:
    """An element that the search finds."""
    return element(tag, *children, id=place, data_kind=kind, data_name=name)


def titled(tag: str, text: str, place: str, *before: Html) -> Html:
    """A heading with a link to itself; `before` stands in front of its text."""
    return element(tag, *before, text, link(place, "#", class_="anchor"))


def fact_list(facts: Mapping[str, Html]) -> Html:
    """Facts by their names, without those that are empty."""
    parts = [part for term, text in facts.items() if text for part in (element("dt", term), element("dd", text))]
    return element("dl", *parts, class_="facts")


def folded(title: str, text: str) -> Html:
    """A text in code that is shown when its title is clicked."""
    return element("details", element("summary", title), element("pre", element("code", text), tabindex="0"))


def lines(parts: Iterable[Html]) -> Html:
    """Parts below each other, in a cell of a table."""
    return joined(*(element("div", part) for part in parts))


def table_of(head: Iterable[str], rows: Iterable[Html]) -> Html:
    """A table; what is too wide for the page is scrolled."""
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    return element("div", element("table", element("thead", titles), element("tbody", *rows)), class_="scroll")


def row(kind: str, name: str, place: str, cells: Iterable[str]) -> Html:
    """A row that the search finds, and links lead to."""
    return entry("tr", kind, name, place, *(element("td", cell) for cell in cells))


def plain_row(*cells: str) -> Html:
    """A row that nothing leads to."""
    return element("tr", *(element("td", cell) for cell in cells))
