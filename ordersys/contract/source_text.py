"""The text of Python functions that look through one message and read each of its fields once.

A field goes by its path from the message, `this.order.id`, and is kept in a variable of nearly that name,
`this_order_id`; the element of a list is `item1`, that of a list inside it `item2`. What was read in a block that may
be passed over is not at hand after it. Only names of fields and what the caller writes get into the text.
"""

from keyword import iskeyword
from typing import Optional

from google.protobuf.message import Message


class Unreadable(Exception):
    """A path whose message is not at hand, or that Python has no good name for."""


class Block:
    """Statements at one depth of a function, with the blocks among them."""

    def __init__(self, head: str = "", above: Optional["Block"] = None) -> None:
        self._head = [head]
        self._body: list[str | Block] = []
        self._loops: dict[str, Block] = {}
        self._depth: int = above._depth if above else 0
        self._variables: dict[str, str] = dict(above._variables) if above else {"this": "this"}
        # Of the whole function: the path of each variable, and what is made once, before it.
        self._paths: dict[str, str] = above._paths if above else {}
        self._constants: list[str] = above._constants if above else []

    def read(self, path: str, suffix: str = "") -> str:
        """The variable with what is at a path: read now, unless it is at hand. Raises Unreadable."""
        if path not in self._variables:
            message, _, field = path.rpartition(".")
            if message not in self._variables or iskeyword(field) or hasattr(Message, field):
                raise Unreadable(path)
            self.set(path, f"{self._variables[message]}.{field}{suffix}")
        return self._variables[path]

    def at_hand(self, path: str) -> str | None:
        """The variable with what is at a path, if it was read."""
        return self._variables.get(path)

    def set(self, path: str, expression: str) -> str:
        """The variable that has this value from now on, at a path of the caller's own. Raises Unreadable."""
        variable = self._variables[path] = self._named(path)
        self.add(f"{variable} = {expression}")
        return variable

    def add(self, statement: str) -> None:
        """Adds a statement."""
        self._body.append(statement)

    def demand(self, condition: str) -> None:
        """Ends the function with False where the condition does not hold."""
        self._body += [f"if not ({condition}):", "    return False"]

    def inner(self, head: str) -> "Block":
        """A block under an `if`."""
        self._body.append(block := Block(head, self))
        return block

    def each(self, path: str) -> "Block":
        """The loop over the list at a path, the same one each time. Raises Unreadable."""
        if path not in self._loops:
            item = f"item{self._depth + 1}"
            self._loops[path] = loop = self.inner(f"for {item} in {self.read(path)}:")
            loop._depth, loop._variables[item] = self._depth + 1, item
        return self._loops[path]

    @property
    def item(self) -> str:
        """The path of the element that this loop is at."""
        return f"item{self._depth}"

    def before(self, path: str, first: str) -> str:
        """The variable that is set before this loop, at a path of the caller's own; it is there after it, too."""
        variable = self._named(path)
        self._head.insert(0, f"{variable} = {first}")
        return variable

    def constant(self, name: str, expression: str) -> str:
        """The name of what is made before the function."""
        numbered = f"{name}_{len(self._constants) + 1}"
        self._constants.append(f"{numbered} = {expression}\n")
        return numbered

    def function(self, name: str, result: str) -> str:
        """The function of `this` that these statements are, and what it returns at their end."""
        return "".join([*self._constants, f"def {name}(this):\n", *self._lines("    "), f"    return {result}\n"])

    def _named(self, path: str) -> str:
        variable = path.replace(".", "_")
        if self._paths.setdefault(variable, path) != path:
            raise Unreadable(path)
        return variable

    def _lines(self, indent: str) -> list[str]:
        lines = []
        for part in self._body:
            if isinstance(part, str):
                lines.append(f"{indent}{part}\n")
            elif part._body:
                lines += [f"{indent}{head}\n" for head in part._head] + part._lines(f"{indent}    ")
        return lines
