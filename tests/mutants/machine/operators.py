"""The operators of mutation: from a module's syntax tree the pieces of its text to replace, and by what. Pure.

A condition is made true or false, a comparison looser, stricter or its contrary, `and` becomes `or`, a sum a
difference; a constant is one more, a returned value None; a statement, an argument or a clause of a query is left out,
and two arguments change places. SQL needs no operators of its own: it is written in Python, with SQLAlchemy.

Left alone are things of which nothing can be seen from outside while the rest is right: log messages, annotations,
decorators, failpoints, the declarations of tables, which hold the code to what it does anyway, and functions for a
database that is new, of an earlier version, or days old. Floats are times and shares, and none of them is stated in the
contract.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: (r"<", "<="),
    ast.LtE: (r"<=", "<"),
    ast.Gt: (r">", ">="),
    ast.GtE: (r">=", ">"),
    ast.Eq: (r"==", "!="),
    ast.NotEq: (r"!=", "=="),
    ast.Is: (r"\bis\b", "is not"),
    ast.IsNot: (r"\bis\s+not\b", "is"),
    ast.In: (r"\bin\b", "not in"),
    ast.NotIn: (r"\bnot\s+in\b", "in"),
}
_CALCULATED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: (r"\+", "-"),
    ast.Sub: (r"-", "+"),
    ast.Mult: (r"\*", "//"),
    ast.FloorDiv: (r"//", "*"),
    ast.Mod: (r"%", "*"),
}
_COMMUTATIVE = {"min", "max"}
_CLAUSES = {"where", "order_by", "limit", "distinct", "desc", "asc"}
_CONTRARY = {"is_": "is_not", "is_not": "is_", "in_": "not_in", "not_in": "in_", "asc": "desc"}
_SEEN_BY_NOBODY = {"failpoint", "TypeVar", "Column", "Index", "Table", "Schema", "hold_first"}
_FUNCTIONS_FOR_ANOTHER_DAY = {"seed", "upgrade", "purge"}
_LOG = "_log"
_CHECKS_ONLY = "strict"  # of zip: raises where the code is wrong already


class Replacement(NamedTuple):
    """In a text the bytes from `begin` to `end` replaced by `now`."""

    operator: str
    begin: int
    end: int
    now: str


class Text:
    """A module's text, with the places of its nodes in bytes, as `ast` counts columns."""

    def __init__(self, source: str) -> None:
        self.bytes = source.encode()
        self._lines = [0]
        for line in self.bytes.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def begin(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        """The place of its first byte."""
        return self._lines[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        """The place behind its last byte."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """The text of a node."""
        return self.between(self.begin(node), self.end(node))

    def between(self, begin: int, end: int) -> str:
        """The text between two places."""
        return self.bytes[begin:end].decode()


def replacements(text: Text, node: ast.AST) -> Iterator[Replacement]:
    """Replacements that the operators make of a node, not of those below it."""
    for kind, operators in _OPERATORS.items():
        if isinstance(node, kind):
            for operator in operators:
                yield from operator(text, node)


def is_left_alone(node: ast.AST) -> bool:
    """True for a node that is not mutated, nor what is below it."""
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias"
    if isinstance(node, ast.keyword):
        return node.arg == _CHECKS_ONLY
    if isinstance(node, ast.FunctionDef):
        return node.name in _FUNCTIONS_FOR_ANOTHER_DAY
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute):
        return isinstance(called.value, ast.Name) and called.value.id == _LOG
    return isinstance(called, ast.Name) and called.id in _SEEN_BY_NOBODY


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node that may be mutated: neither annotations nor decorators."""
    left_out: list[ast.AST | None] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        left_out = [node.returns, *node.decorator_list]
    elif isinstance(node, ast.ClassDef):
        left_out = [*node.decorator_list, *node.bases]
    elif isinstance(node, ast.arg | ast.AnnAssign):
        left_out = [node.annotation]
    return (child for child in ast.iter_child_nodes(node) if child not in left_out)


def _between(
    text: Text, operator: str, sides: tuple[ast.expr, ast.expr], replaced: tuple[str, str]
) -> Iterator[Replacement]:
    """Replaces what stands between two expressions: a pattern of what is there, and what comes in its place."""
    pattern, now = replaced
    begin, end = text.end(sides[0]), text.begin(sides[1])
    if place := re.search(pattern, text.between(begin, end)):
        yield Replacement(operator, begin + place.start(), begin + place.end(), now)


def _whole(text: Text, operator: str, node: ast.expr | ast.stmt, now: str) -> Iterator[Replacement]:
    if text.of(node) != now:
        yield Replacement(operator, text.begin(node), text.end(node), now)


def _comparison(text: Text, node: ast.Compare) -> Iterator[Replacement]:
    for left, kind, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
        yield from _between(text, "comparison", (left, right), _COMPARED[type(kind)])


def _connective(text: Text, node: ast.BoolOp) -> Iterator[Replacement]:
    replaced = (r"\band\b", "or") if isinstance(node.op, ast.And) else (r"\bor\b", "and")
    for left, right in zip(node.values, node.values[1:], strict=False):
        yield from _between(text, "connective", (left, right), replaced)


def _negation(text: Text, node: ast.UnaryOp) -> Iterator[Replacement]:
    if isinstance(node.op, ast.Not):
        yield from _whole(text, "negation", node, f"({text.of(node.operand)})")


def _arithmetic(text: Text, node: ast.BinOp) -> Iterator[Replacement]:
    if type(node.op) in _CALCULATED:
        yield from _between(text, "arithmetic", (node.left, node.right), _CALCULATED[type(node.op)])


def _step(text: Text, node: ast.AugAssign) -> Iterator[Replacement]:
    if type(node.op) in _CALCULATED:
        pattern, now = _CALCULATED[type(node.op)]
        yield from _between(text, "arithmetic", (node.target, node.value), (f"{pattern}=", f"{now}="))


def _constant(text: Text, node: ast.Constant) -> Iterator[Replacement]:
    value = node.value
    if isinstance(value, bool):
        yield from _whole(text, "constant", node, str(not value))
    elif isinstance(value, int):
        yield from _whole(text, "constant", node, str(value + 1))
        if value == 1:
            yield from _whole(text, "constant", node, "0")


def _condition(text: Text, node: ast.If | ast.IfExp) -> Iterator[Replacement]:
    for now in ("True", "False"):
        yield from _whole(text, "condition", node.test, now)


def _filter(text: Text, node: ast.comprehension) -> Iterator[Replacement]:
    for test in node.ifs:
        yield from _whole(text, "condition", test, "True")


def _loop(text: Text, node: ast.While) -> Iterator[Replacement]:
    yield from _whole(text, "condition", node.test, "False")


def _returned(text: Text, node: ast.Return) -> Iterator[Replacement]:
    if node.value is not None:
        yield from _whole(text, "return", node.value, "None")


def _statement(text: Text, node: ast.Expr | ast.Assign | ast.AugAssign | ast.Delete) -> Iterator[Replacement]:
    """A call, a step or an assignment to something that others see, left out."""
    value = node.value if isinstance(node, ast.Expr) else None
    called = value.value if isinstance(value, ast.Await) else value
    if isinstance(called, ast.Call) and is_left_alone(called):
        return
    seen = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    if isinstance(called, ast.Call) or seen or isinstance(node, ast.AugAssign | ast.Delete):
        yield from _whole(text, "statement", node, "pass")


def _swapped(text: Text, node: ast.Call) -> Iterator[Replacement]:
    if isinstance(node.func, ast.Name) and node.func.id in _COMMUTATIVE:
        return
    for first, second in zip(node.args, node.args[1:], strict=False):
        if isinstance(first, ast.Starred) or isinstance(second, ast.Starred) or text.of(first) == text.of(second):
            continue
        begin, end = text.begin(first), text.end(second)
        between = text.between(text.end(first), text.begin(second))
        yield Replacement("argument", begin, end, f"{text.of(second)}{between}{text.of(first)}")


def _dropped(text: Text, node: ast.Call) -> Iterator[Replacement]:
    """Each keyword argument, and each of several clauses of a WHERE, left out."""
    several = isinstance(node.func, ast.Attribute) and node.func.attr == "where" and len(node.args) > 1
    given: list[ast.expr | ast.keyword] = [*node.args, *node.keywords]
    for place, argument in enumerate(given):
        named = isinstance(argument, ast.keyword) and argument.arg and not is_left_alone(argument)
        if not several and not named:
            continue
        begin, end = text.begin(argument), text.end(argument)
        if place:
            begin = text.end(given[place - 1])
        elif given[1:]:
            end = text.begin(given[1])
        yield Replacement("argument", begin, end, "")


def _clause(text: Text, node: ast.Call) -> Iterator[Replacement]:
    if not isinstance(node.func, ast.Attribute):
        return
    if node.func.attr in _CLAUSES:
        yield Replacement("query", text.end(node.func.value), text.end(node), "")
    if node.func.attr in _CONTRARY:
        end = text.end(node.func)
        yield Replacement("query", end - len(node.func.attr), end, _CONTRARY[node.func.attr])


_OPERATORS: dict[type[ast.AST], Sequence[Callable[..., Iterator[Replacement]]]] = {
    ast.Compare: (_comparison,),
    ast.BoolOp: (_connective,),
    ast.UnaryOp: (_negation,),
    ast.BinOp: (_arithmetic,),
    ast.AugAssign: (_step, _statement),
    ast.Constant: (_constant,),
    ast.If: (_condition,),
    ast.IfExp: (_condition,),
    ast.comprehension: (_filter,),
    ast.While: (_loop,),
    ast.Return: (_returned,),
    ast.Expr: (_statement,),
    ast.Assign: (_statement,),
    ast.Delete: (_statement,),
    ast.Call: (_swapped, _dropped, _clause),
}
