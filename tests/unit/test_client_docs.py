"""The page about the command line says what the parser takes."""

import argparse
import re
from pathlib import Path

import pytest

from ordersys.grpc_client import parser
from ordersys.grpc_client.peers import PEERS, variable
from ordersys.local.system import USUAL_AMQP_PORT, USUAL_AMQPS_PORT

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = parser.build("ordersys")
PLACEHOLDERS = {"$order": "01890000-0000-7000-8000-000000000001", "ORDER": "01890000-0000-7000-8000-000000000001"}
TYPED = re.findall(r"\bordersys ((?!COMMAND|completion)[a-z-][^\n#|;`)]*)", PAGE)


def commands_table() -> str:
    """A row a command, in the order of the help."""
    rows = []
    for name in (name for names in parser.TASKS.values() for name in names):
        usage = (COMMANDS.commands[name].usage or "").replace("%(prog)s", name).removesuffix(" [options]")
        rows.append(f"| {'`' + usage.replace('|', chr(92) + '|') + '`'} | {COMMANDS.summaries[name]} |")
    return "\n".join(rows)


def options_table() -> str:
    """A row an option that every command has."""
    (group,) = [g for g in COMMANDS._action_groups if g.title and g.title.startswith("Options")]
    rows = []
    for action in group._group_actions:
        metavar = f" {action.metavar}" if action.metavar else ""
        flags = ", ".join(f"`{flag}{metavar}`" for flag in action.option_strings)
        rows.append(f"| {flags} | {action.help} |")
    return "\n".join(rows)


def test_the_tables_of_the_page_are_current() -> None:
    """Made of the parser: paste what this test expects."""
    assert commands_table() in PAGE
    assert options_table() in PAGE


@pytest.mark.parametrize("line", TYPED)
def test_every_line_of_the_page_can_be_typed(line: str) -> None:
    """In the shell's words, with an id in the place of a variable."""
    words = [PLACEHOLDERS.get(word.strip('"'), word) for word in line.partition("||")[0].split()]
    assert parser.parse(COMMANDS, words).command in COMMANDS.commands


def test_the_page_names_the_limits_and_the_places_that_are_looked_at() -> None:
    """As the code has them."""
    assert f"list {parser.LISTED}, `events` {parser.TAIL}" in PAGE
    assert f"ports {PEERS[0].address.each[0].port} to {PEERS[-1].address.each[0].port}" in PAGE
    assert f"{USUAL_AMQPS_PORT}, with `--insecure` {USUAL_AMQP_PORT} for its RabbitMQ" in PAGE
    assert variable("order_service") in PAGE


def test_every_form_of_output_is_explained() -> None:
    """Those that a command takes."""
    (action,) = [a for a in COMMANDS._actions if "--output" in a.option_strings]
    assert isinstance(action, argparse.Action) and action.choices is not None
    assert all(re.search(rf"^\| `{form}`", PAGE, re.MULTILINE) for form in action.choices)


@pytest.mark.parametrize("line", re.findall(r"^ordersys +([a-z][^\n#]+)", README, re.MULTILINE))
def test_every_line_of_the_readme_can_be_typed(line: str) -> None:
    """As it stands there."""
    words = [PLACEHOLDERS.get(word, word) for word in line.split()]
    assert parser.parse(COMMANDS, words).command in COMMANDS.commands
