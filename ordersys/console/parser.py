"""Command lines whose mistakes are one line, and whose help is written as all output is."""

import argparse
from typing import NoReturn

from ordersys.console import output


class UsageError(Exception):
    """What was typed, or stands in a file, can't be used; the text names it and says what can."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """In one line, with the way to all that can be typed."""
        raise UsageError(f"{message}; {self.prog} --help shows what can be typed")

    def print_help(self, file: object = None) -> None:
        """To standard output. Raises OutputClosed, OutputFailed."""
        output.write(self.format_help())
