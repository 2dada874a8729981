"""Walks through the pages of a list."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

from tests.contract.harness.system_under_test import SystemUnderTest


def walk(
    system: SystemUnderTest, role: str, query: Any, entries: Callable[[Any], Sequence[Any]], sizes: list[int]
) -> list[Any]:
    """All entries, page by page, of these sizes in turn."""
    return [entry for page in pages(system, role, query, sizes) for entry in entries(page)]


def pages(system: SystemUnderTest, role: str, query: Any, sizes: list[int]) -> Iterator[Any]:
    """All pages. A token that comes again would lead in a circle."""
    asked = type(query)()
    asked.CopyFrom(query)
    seen: set[str] = set()
    for size in cycle(sizes):
        asked.page_size = size
        page = system.ok(asked, role)
        yield page
        if not page.next_page_token:
            return
        assert page.next_page_token not in seen, "a page_token was given out twice"
        seen.add(page.next_page_token)
        asked.page_token = page.next_page_token
