"""Command lines whose mistakes are one line with the way out, and whose help is written as all output is.

Beyond argparse: flags and operands may be mixed, the value of a flag may begin with a hyphen, what is misspelt is
answered with what was probably meant, and help is the same on each version of Python.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from ordersys.console import output

_CLOSE = 0.6
"""The share of two words that has to be equal, 0 to 1, for one to be a misspelling of the other."""


class UsageError(Exception):
    """Something that was typed, or stands in a file, can't be used; the text names it and says what can."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.color = False  # of Python 3.14, which would colour help on terminals that NO_COLOR is not set for
        self._mixes = False

    def error(self, message: str) -> NoReturn:
        """In one line, with the way to all that can be typed."""
        raise UsageError(f"{message}{'' if message.endswith('?') else ';'} {self.prog} --help shows what can be typed")

    def print_help(self, file: object = None) -> None:
        """To standard output. Raises OutputClosed, OutputFailed."""
        output.write(self.format_help())

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but says what an unknown flag probably means. Raises UsageError."""
        line, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = self.parser_of(line)
            close = meant(unknown[0].partition("=")[0], parser.flags()) if unknown[0].startswith("-") else ""
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{close}")
        return line

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but operands may stand on both sides of a flag: `place lamp=1 --customer anna chair=2`."""
        words = self._with_values(sys.argv[1:] if args is None else list(args))
        if self._mixes or self._subparsers is not None or "--" in words:  # whose meaning the first pass would lose
            return super().parse_known_args(words, namespace)
        self._mixes = True  # parse_known_intermixed_args comes back here for each of its two passes
        try:
            return self.parse_known_intermixed_args(words, namespace)
        finally:
            self._mixes = False

    def parser_of(self, line: argparse.Namespace) -> "Parser":
        """The parser of the command that was typed, this one where there are no commands."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and isinstance(action.choices, dict):
                chosen = action.choices.get(str(vars(line).get(action.dest)), self)
                return chosen if isinstance(chosen, Parser) else self
        return self

    def flags(self) -> Sequence[str]:
        """All flags that can be typed."""
        return list(self._option_string_actions)

    def _with_values(self, words: Sequence[str]) -> list[str]:
        """The words, a flag and its value in one (`--page=-Zx4`) where the value begins with a hyphen.

        argparse would take it for a flag of its own. Page tokens begin so, which nobody chooses. A flag behind a flag
        stays one: there the value was forgotten.
        """
        joined: list[str] = []
        commands = self._subparsers._group_actions[0].choices or () if self._subparsers else ()
        for place, word in enumerate(words):
            if word == "--" or word in commands:  # what stands behind a command is for its own parser
                return [*joined, *words[place:]]
            if word.startswith("-") and joined and self._takes_value(joined[-1]) and not self._is_flag(word):
                joined[-1] += f"={word}" if joined[-1].startswith("--") else word
            else:
                joined.append(word)
        return joined

    def _takes_value(self, word: str) -> bool:
        named = [action for flag, action in self._option_string_actions.items() if flag.startswith(word)]
        exact = self._option_string_actions.get(word)
        action = exact or (named[0] if len(named) == 1 and word.startswith("--") else None)
        return action is not None and action.nargs is None

    def _is_flag(self, word: str) -> bool:
        """True for a flag, one whose value stands in the same word, and the beginning of a long one."""
        name = word.partition("=")[0]
        return any(flag == name or (name.startswith("--") and flag.startswith(name)) for flag in self.flags())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Words its own way, since each version of Python has another, and none says what was meant before 3.14."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        close = meant(str(value), choices)
        if isinstance(action, argparse._SubParsersAction):
            self.error(f"there is no {str(action.metavar).lower()} {value!r}{close}")
        raise argparse.ArgumentError(action, f"{value!r} must be one of {', '.join(choices)}{close}")


def meant(word: str, known: Iterable[str]) -> str:
    """The words to put behind an error about a misspelt `word`; empty where nothing known is like it."""
    near = nearest(word, known)
    return f", did you mean {near}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is most like `word`, if any is."""
    return next(iter(get_close_matches(word.lower(), list(known), n=1, cutoff=_CLOSE)), None)
