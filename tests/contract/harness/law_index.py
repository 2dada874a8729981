"""The laws of the suite, read from the tests themselves: id, sentence, what each proves and needs to be judged.

A law cites the sentence of the contract that it proves: words of a .proto file, or of docs/implement.md.

A test is a law when it is about something that is judged; the others test the contract and the suite.
`python -m tests.contract.laws` brings the table in docs/conformance.md up to date.
"""

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_ROOT = Path(__file__).parents[3]
_LAWS = Path(__file__).parents[1] / "laws"
PAGE = _ROOT / "docs" / "conformance.md"
_BEGIN, _END = "<!-- laws: begin -->", "<!-- laws: end -->"
_PREFIX = "test_"
_GUIDE = _ROOT / "docs" / "implement.md"
SOURCES = {path.name: path for path in (_GUIDE, *sorted((_ROOT / "proto" / "ordersys").rglob("*.proto")))}
"""Whatever states the contract, by the name it is cited by."""


class Citation(NamedTuple):
    """Words of the contract, and the name of the file they stand in."""

    source: str
    words: str

    @property
    def stands(self) -> bool:
        """True where the words are in the file, word for word but for line breaks and comment marks."""
        path = SOURCES.get(self.source)
        return path is not None and _plain(self.words) in _plain(path.read_text(encoding="utf-8"))


class Law(NamedTuple):
    """A law: its id, the sentence it proves, and the services and means it needs; with roles, once for each."""

    id: str
    sentence: str
    needs: frozenset[str]
    roles: tuple[str, ...]
    citations: tuple[Citation, ...]


def law_id(module: str, function: str) -> str:
    """tests.contract.laws.messaging.test_events, test_x -> events/x."""
    return f"{module.rpartition('.')[2].removeprefix(_PREFIX)}/{function.removeprefix(_PREFIX)}"


def needs(marks: Iterable[Any]) -> frozenset[str]:
    """The needs of a test, from its marks."""
    return frozenset(need for mark in marks if mark.name == "judges" for need in mark.args)


def citations(marks: Iterable[Any]) -> tuple[Citation, ...]:
    """The sentences of the contract that a test proves, from its marks."""
    return tuple(Citation(*mark.args) for mark in marks if mark.name == "cites")


def sentence(function: Any) -> str:
    """The sentence a test proves: its docstring in one line."""
    return " ".join((function.__doc__ or "").split())


def laws() -> Iterator[Law]:
    """Every law of the suite, by subject and module."""
    for path in _modules():
        module = import_module(".".join(path.relative_to(_ROOT).with_suffix("").parts))
        for name, function in vars(module).items():
            if name.startswith(_PREFIX) and (law := _law(module, name, function)):
                yield law


def node_id(law: str) -> str:
    """The law for pytest: events/x -> tests/contract/laws/messaging/test_events.py::test_x."""
    module, _, function = law.partition("/")
    (path,) = (path for path in _modules() if path.stem == f"{_PREFIX}{module}")
    return f"{path.relative_to(_ROOT)}::{_PREFIX}{function}"


def table() -> str:
    """The laws as a table for people."""
    rows = [f"| `{law.id}` | {_escaped(law.sentence)} | {_judged(law)} |" for law in laws()]
    return "\n".join(["| law | what it says | judged |", "|---|---|---|", *rows])


def page(text: str) -> str:
    """`text` with the table of today between its marks."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def _modules() -> list[Path]:
    return sorted(_LAWS.glob(f"*/{_PREFIX}*.py"))


def _law(module: Any, name: str, function: Any) -> Law | None:
    marks = [*_listed(getattr(module, "pytestmark", [])), *getattr(function, "pytestmark", [])]
    roles = tuple(role for mark in marks if mark.name == "parametrize" for role in _roles(mark))
    needed = needs(marks)
    if not needed and not roles:
        return None
    return Law(law_id(module.__name__, name), sentence(function), needed, roles, citations(marks))


def _listed(marks: Any) -> list[pytest.Mark]:
    return [mark.mark for mark in (marks if isinstance(marks, list) else [marks])]


def _roles(mark: pytest.Mark) -> list[str]:
    """The roles a test is tried with, each once."""
    names, values = mark.args
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    if "role" not in names:
        return []
    rows = [value if len(names) > 1 else (value,) for value in values]
    return list(dict.fromkeys(row[names.index("role")] for row in rows))


def _judged(law: Law) -> str:
    parts = [*sorted(law.needs), *(["each of " + ", ".join(law.roles)] if law.roles else [])]
    return "; ".join(parts)


def _plain(text: str) -> str:
    """A text in one line, without the marks of comments and of Markdown."""
    return " ".join(re.sub(r"[*`]", "", re.sub(r"^\s*(//|[-*] )", " ", text, flags=re.MULTILINE)).split())


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
