"""Source text of Python functions that check one message and read each of its fields once.

A field is named by its path from the message, `this.order.id`, and kept in a variable named after it, `this_order_id`;
an element of a list is `item1`, one of a list inside it `item2`. A variable that is set under an `if` is not used after
it. The text contains field names and what the caller writes, and nothing that a message brings along.
"""

from keyword import iskeyword
from typing import Optional

from google.protobuf.message import Message


class Unreadable(Exception):
    """A path whose message was not read here, or whose field can't be a Python attribute."""


class Block:
    """Statements of one block of a function, and the blocks nested in it."""

    def __init__(self, head: str = "", above: Optional["Block"] = None) -> None:
        self._head = [head]
        self._body: list[str | Block] = []
        self._loops: dict[str, Block] = {}
        self._depth: int = above._depth if above else 0
        self._variables: dict[str, str] = dict(above._variables) if above else {"this": "this"}
        # Shared by all blocks of the function: the path of each variable, and the constants before the function.
        self._paths: dict[str, str] = above._paths if above else {}
        self._constants: list[str] = above._constants if above else []

    def read(self, path: str, suffix: str = "") -> str:
        """The variable that holds the value at a path, which is read now unless it was before. Raises Unreadable."""
        if path not in self._variables:
            message, _, field = path.rpartition(".")
            # A field named like a method of Message is read as that method.
            if message not in self._variables or iskeyword(field) or hasattr(Message, field):
                raise Unreadable(path)
            self.set(path, f"{self._variables[message]}.{field}{suffix}")
        return self._variables[path]

    def at_hand(self, path: str) -> str | None:
        """The variable that holds the value at a path, if it was read."""
        return self._variables.get(path)

    def set(self, path: str, expression: str) -> str:
        """Assigns a value; the name of its variable, by a path that the caller chooses. Raises Unreadable."""
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
        """The loop over the list at a path: one loop for all rules about its elements. Raises Unreadable."""
        if path not in self._loops:
            item = f"item{self._depth + 1}"
            self._loops[path] = loop = self.inner(f"for {item} in {self.read(path)}:")
            loop._depth, loop._variables[item] = self._depth + 1, item
        return self._loops[path]

    @property
    def item(self) -> str:
        """The path of the current element of this loop."""
        return f"item{self._depth}"

    def before(self, path: str, first: str) -> str:
        """A variable that is set before this loop, by a path that the caller chooses; it can be used after it, too."""
        variable = self._named(path)
        self._head.insert(0, f"{variable} = {first}")
        return variable

    def constant(self, name: str, expression: str) -> str:
        """The name of a constant that is made once, before the function."""
        numbered = f"{name}_{len(self._constants) + 1}"
        self._constants.append(f"{numbered} = {expression}\n")
        return numbered

    def function(self, name: str, result: str) -> str:
        """The text of the function: its parameter is `this`, and it returns `result` when no demand failed."""
        return "".join([*self._constants, f"def {name}(this):\n", *self._lines("    "), f"    return {result}\n"])

    def _named(self, path: str) -> str:
        variable = path.replace(".", "_")  # not unique: a.b_c and a_b.c would share one
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
