"""Mutations of a module: one replacement of its text each, with an id that stays where the module is moved about in."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from tests.mutants.machine.operators import Replacement, Text, children, is_left_alone, replacements

_SEPARATOR = ":"
_SHOWN_LETTERS = 100
# Replaced by these, what was an expression or a statement still is one; without an argument it may not be.
_MAY_BREAK = {"argument", "query"}


@dataclass(frozen=True)
class Mutation:
    """A replacement in a module: in which function, by which operator, in which statement, and which of equal ones."""

    module: str
    function: str
    """Its name in the module, such as Outbox.take; empty for what stands outside of functions."""
    operator: str
    statement: str
    """The text of the statement, or of its first line where it holds others."""
    was: str
    now: str
    nth: int
    """Which of those that are equal in all of that, from 0 on."""
    begin: int
    end: int

    @property
    def id(self) -> str:
        """8 letters, of everything but the place in the file."""
        facts = [self.function, self.operator, self.statement, self.was, self.now, str(self.nth)]
        return blake2b("\0".join([self.module, *facts]).encode(), digest_size=4).hexdigest()

    @property
    def name(self) -> str:
        """The name by which it is run: module and id."""
        return f"{self.module}{_SEPARATOR}{self.id}"

    @property
    def where(self) -> str:
        """Module and function."""
        return f"{self.module} {self.function}".strip()

    @property
    def change(self) -> str:
        """The change in one line, for people: what is replaced by what, and in which statement."""
        change = f"{_shortened(self.was)} → {_shortened(_plain(self.now)) or '(left out)'}"
        return change if self.was == self.statement else f"{change}, in: {_shortened(self.statement)}"

    @property
    def full_name(self) -> str:
        """The module that is edited, as Python imports it."""
        return self.module

    def make(self, source: str) -> str:
        """`source`, the module as it is now, with the replacement made."""
        text = source.encode()
        return (text[: self.begin] + self.now.encode() + text[self.end :]).decode()

    def diff(self) -> str:
        """The change as a diff."""
        source = source_of(self.module)
        path = f"{self.module.replace('.', '/')}.py"
        lines = unified_diff(source.splitlines(), self.make(source).splitlines(), path, path, n=2, lineterm="")
        return "\n".join([*lines])


@cache
def mutations(module: str) -> tuple[Mutation, ...]:
    """All mutations of a module, from its beginning to its end; those that are no Python are left out."""
    source = source_of(module)
    return tuple(
        mutation
        for mutation in _every(module)
        if mutation.operator not in _MAY_BREAK or _is_python(mutation.make(source))
    )


def is_name(text: str) -> bool:
    """True for the name of a mutation, as opposed to one of the catalogue."""
    return _SEPARATOR in text


def find(name: str) -> Mutation:
    """A mutation by its name. Raises LookupError."""
    module, _, wanted = name.partition(_SEPARATOR)
    try:
        return next(mutation for mutation in _every(module) if mutation.id == wanted)
    except (StopIteration, ModuleNotFoundError):
        raise LookupError(name) from None


def _every(module: str) -> Iterator[Mutation]:
    source = source_of(module)
    text = Text(source)
    equal: Counter[tuple[str, ...]] = Counter()
    for function, statement, (operator, begin, end, now) in _walk(text, ast.parse(source), "", None):
        facts = (function, operator, _plain(_head(text, statement)), _plain(text.between(begin, end)), now)
        yield Mutation(module, *facts, nth=equal[facts], begin=begin, end=end)
        equal[facts] += 1


def _walk(
    text: Text, node: ast.AST, function: str, statement: ast.stmt | None
) -> Iterator[tuple[str, ast.stmt, Replacement]]:
    """The replacements in a node and below it, each with the function and the statement it is in."""
    if is_left_alone(node):
        return
    if isinstance(node, ast.stmt):
        statement = node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    if statement is not None:
        for replacement in replacements(text, node):
            yield function, statement, replacement
    for child in children(node):
        yield from _walk(text, child, function, statement)


def _head(text: Text, statement: ast.stmt) -> str:
    """The text of a statement; of one that holds others what stands before the first of them."""
    body: list[ast.stmt] = getattr(statement, "body", [])
    end = text.begin(body[0]) if body else text.end(statement)
    return text.between(text.begin(statement), end)


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _shortened(text: str) -> str:
    return f"{text[:_SHOWN_LETTERS]}…" if len(text) > _SHOWN_LETTERS else text


def _plain(text: str) -> str:
    return " ".join(text.split())


@cache
def source_of(module: str) -> str:
    """The text of a module, as it stands in its file. Raises ModuleNotFoundError."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin).read_text(encoding="utf-8")
