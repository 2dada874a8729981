"""The laws of the suite, read from the tests themselves: id, sentence, what each proves and needs to be judged.

A law cites the sentences of the contract that it proves: words of a .proto file, or of docs/implement.md. What is said
there as a rule and cited by no law is found by `unproven`.

A test is a law when it is about something that is judged; the others test the contract and the suite.
`python -m tests.contract.laws` brings the table in docs/conformance.md up to date.
"""

import os.path
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_ROOT = Path(__file__).parents[3]
_LAWS = Path(__file__).parents[1] / "laws"
PAGE = _ROOT / "docs" / "conformance.md"
_BEGIN, _END = "<!-- laws: begin -->", "<!-- laws: end -->"
_PREFIX = "test_"
_UNJUDGED = "not judged"
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
        return self.source in SOURCES and _plain(self.words) in _plain(_text(self.source))

    @property
    def place(self) -> str:
        """The file the words stand in, from the root of the repository, with the heading of a page: docs/x.md#calls."""
        path = SOURCES[self.source].relative_to(_ROOT).as_posix()
        return f"{path}#{_anchor(heading)}" if (heading := self.heading) else path

    @property
    def heading(self) -> str:
        """The heading of a page under which the words stand, empty in other files."""
        sections = re.split(r"^#+ ", _text(self.source), flags=re.MULTILINE) if self.source.endswith(".md") else []
        under = (section for section in sections if _plain(self.words) in _plain(section))
        return next(under, "").partition("\n")[0]


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


def law_of(item: pytest.Item) -> str:
    """The id of the law that a collected test is a case of."""
    function: Any = getattr(item, "function", None)
    return law_id(function.__module__, function.__name__)


def needs(marks: Iterable[Any]) -> frozenset[str]:
    """The needs of a test, from its marks."""
    return frozenset(need for mark in marks if mark.name == "judges" for need in mark.args)


def citations(marks: Iterable[Any]) -> tuple[Citation, ...]:
    """The sentences of the contract that a test proves, from its marks, in the order in which they stand there."""
    return tuple(Citation(*mark.args) for mark in marks if mark.name == "cites")[::-1]


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
    rows = [f"| `{law.id}` | {_escaped(law.sentence)} | {_stated(law)} | {_judged(law)} |" for law in laws()]
    return "\n".join(["| law | what it says | the contract says so in | judged |", "|---|---|---|---|", *rows])


def page(text: str) -> str:
    """`text` with the table of today between its marks."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def unproven() -> list[str]:
    """The rules of docs/implement.md §2 to §4 that no law cites, but for those that say that they are not judged."""
    cited = [_plain(citation.words) for law in laws() for citation in law.citations if citation.source == _GUIDE.name]
    return [rule for rule in _rules() if not any(words in rule for words in cited)]


def _rules() -> Iterator[str]:
    """Each item of a list and each row of a table, and each paragraph that says `must` or has something in bold.

    What says that it is not judged is none, nor is what stands in the list or table after a paragraph that says so.
    """
    for chapter in (part for part in re.split(r"^## ", _text(_GUIDE.name), flags=re.MULTILINE) if part[:1] in "234"):
        judged = True
        for block in chapter.split("\n\n"):
            items = re.split(r"\n(?=- |\d\. |\| )", block)
            is_prose = not re.match(r"- |\d\. |\| ", block)
            if is_prose:
                judged = _UNJUDGED not in _plain(block)
            rules = items[2:] if block.startswith("| ") else items
            if judged and (not is_prose or re.search(r"\bmust\b|\*\*", block)):
                yield from (rule for rule in map(_plain, rules) if _UNJUDGED not in rule)


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


def _stated(law: Law) -> str:
    """A link to each place that the law cites; the words there are its title, so that the table stays short."""
    places: dict[str, list[Citation]] = {}
    for citation in law.citations:
        places.setdefault(citation.place, []).append(citation)
    return "; ".join(_linked(place, cited) for place, cited in places.items())


def _linked(place: str, cited: list[Citation]) -> str:
    words = " … ".join(citation.words for citation in cited).replace('"', "'").replace("`", "")
    path = os.path.relpath(_ROOT / place, PAGE.parent)
    return f'[{_escaped(cited[0].heading or cited[0].source)}]({path} "{_escaped(words)}")'


def _anchor(heading: str) -> str:
    """The name by which a heading is linked to, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@cache
def _text(source: str) -> str:
    return SOURCES[source].read_text(encoding="utf-8")


@cache
def _plain(text: str) -> str:
    """A text in one line, without the marks of comments and of Markdown."""
    return " ".join(re.sub(r"[*`]", "", re.sub(r"^\s*(//|[-*] )", " ", text, flags=re.MULTILINE)).split())


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
