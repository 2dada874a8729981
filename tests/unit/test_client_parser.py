"""The command line as a whole: flags anywhere, help by task, misspelt words, forms of output, and what it costs."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.console.parser import UsageError
from ordersys.grpc_client import completion, parser
from ordersys.grpc_client.__main__ import main
from ordersys.grpc_client.command_line import run
from ordersys.grpc_client.peers import PEERS
from ordersys.local.system import USUAL_AMQP_PORT, USUAL_PORTS
from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime.base.settings import described

PROGRAM = "ordersys"
COMMANDS = parser.build(PROGRAM)
ID = "01890000-0000-7000-8000-000000000001"
LINES: Sequence[tuple[str, ...]] = (
    ("products",),
    ("restock", "oak-desk", "-3"),
    ("place", "oak-desk=1", "footrest=2", "--customer", "anna"),
    ("orders", "--state", "placed", "--limit", "all"),
    ("update", ID, "--state", "paid", "--expected-version", "3"),
    ("dead-letters", "replay", "0" * 32, "1" * 32),
    ("events", "--follow"),
)
FLAGS: Sequence[tuple[str, ...]] = (
    ("--json",),
    ("-o", "json"),
    ("--timeout", "3"),
    ("--data-dir", "d"),
    ("--order-service", "127.0.0.1:1"),
)


VALUES = (
    st.text(st.sampled_from("-=_aloprZ9"), min_size=4)
    .map("-{}".format)
    .filter(
        lambda word: not any(flag.startswith(word.partition("=")[0]) for flag in COMMANDS.commands["orders"].flags())
    )
)


@given(VALUES, st.sampled_from(["--page", "--pag", "--customer"]))
def test_the_value_of_a_flag_may_begin_with_a_hyphen(value: str, flag: str) -> None:
    """As those of getopt may: one page token in 64 does, and nobody chooses it."""
    line = parser.parse(COMMANDS, ["orders", flag, value, "--limit", "5"])
    assert (line.customer if flag == "--customer" else line.page, line.limit) == (value, 5)


@pytest.mark.parametrize("behind", ["--json", "--lim", "--limit=3", "-o", "--"])
def test_a_flag_whose_value_was_forgotten_is_named(behind: str) -> None:
    """It does not swallow the next one."""
    with pytest.raises(UsageError, match=r"--page.*expected one argument"):
        parser.parse(COMMANDS, ["orders", "--page", behind, "--state", "paid"])


@pytest.mark.parametrize("flag", FLAGS, ids=" ".join)
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_an_option_means_the_same_wherever_it_stands(line: Sequence[str], flag: Sequence[str]) -> None:
    """Before the command, behind it, between its operands, at the end."""
    takes_value = {"--customer", "--state", "--limit", "--expected-version"}
    places = [i for i in range(len(line) + 1) if i == 0 or line[i - 1] not in takes_value]
    parsed = [parser.parse(COMMANDS, [*line[:place], *flag, *line[place:]]) for place in places]
    assert len(parsed) > 1
    assert all(arguments == parsed[0] for arguments in parsed)
    assert parsed[0] != parser.parse(COMMANDS, line)


def test_the_last_of_two_contrary_options_counts() -> None:
    """As with other programs: a script's default can be overridden at its end."""
    assert parser.parse(COMMANDS, ["--json", "orders", "-o", "id"]).output == parser.ID
    assert parser.parse(COMMANDS, ["-o", "id", "orders", "--json"]).output == parser.JSON
    assert parser.wanted_form(["-o", "id", "orders", "--json"]) == parser.JSON


@pytest.mark.parametrize(
    "typed", [["-o", "jsonl"], ["-ojsonl"], ["--output=jsonl"], ["--output", "jsonl"]], ids=" ".join
)
def test_the_form_of_errors_is_known_before_the_line_is_understood(typed: list[str]) -> None:
    """Each spelling of it; behind `--` stands no option."""
    assert parser.wanted_form(["orders", *typed]) == parser.parse(COMMANDS, ["orders", *typed]).output == parser.JSONL
    assert parser.wanted_form(["orders", "--", *typed]) == parser.TABLE


def test_every_command_stands_in_the_help_once_with_its_task() -> None:
    """A bare call is answered by it."""
    listed = [name for names in parser.TASKS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS.commands)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """All lines but commands to copy, which are never broken."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for text in (COMMANDS.format_help(), *(command.format_help() for command in COMMANDS.commands.values())):
        assert [line for line in text.splitlines() if len(line) > columns and f"  {PROGRAM} " not in line] == []


def test_every_example_of_the_help_can_be_typed() -> None:
    """With an id in the place of ORDER."""
    for words, _ in parser.EXAMPLES:
        assert parser.parse(COMMANDS, words.replace("ORDER", ID).split()).command in COMMANDS.commands


MISSPELT = {
    ("prodcts",): "there is no command 'prodcts', did you mean products?",
    ("Orders",): "there is no command 'Orders', did you mean orders?",
    ("orders", "--custmer", "anna"): "--custmer anna, did you mean --customer?",
    ("orders", "--custmer=anna"): "--custmer=anna, did you mean --customer?",
    ("orders", "--jsn"): "--jsn, did you mean --json?",
    ("orders", "--state", "piad"): "must be one of placed, paid, shipped, delivered, cancelled, did you mean paid?",
    ("orders", "-o", "jsno"): "did you mean json?",
    ("dead-letters", "reply"): "did you mean replay?",
    ("completion", "bsh"): "did you mean bash?",
}


@pytest.mark.parametrize("words", MISSPELT, ids=" ".join)
def test_a_misspelt_word_is_answered_by_the_one_that_was_meant(words: tuple[str, ...]) -> None:
    """Commands, options, and values out of a few."""
    with pytest.raises(UsageError) as wrong:
        parser.parse(COMMANDS, words)
    assert MISSPELT[words] in str(wrong.value)
    assert f"{PROGRAM} " in str(wrong.value) and "--help shows what can be typed" in str(wrong.value)


@pytest.mark.parametrize("words", [["help"], ["help", "orders"], ["orders", "help-me", "--help"]])
def test_help_may_be_asked_for_as_a_command(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """As with git and kubectl."""
    with pytest.raises(SystemExit) as ended:
        run(PROGRAM, words)
    assert not ended.value.code
    of_all = len(words) == 1
    assert capsys.readouterr().out == (COMMANDS if of_all else COMMANDS.commands["orders"]).format_help()


def test_what_is_missing_is_named_alone() -> None:
    """Not what may be left out."""
    for words, missing in (["update"], "ORDER"), (["completion"], "bash|zsh|fish"), (["restock"], "PRODUCT, QUANTITY"):
        with pytest.raises(UsageError, match=re.escape(f"are required: {missing};")):
            parser.parse(COMMANDS, words)


def test_a_word_like_nothing_is_not_guessed_at() -> None:
    """A wrong guess would be worse than none."""
    with pytest.raises(UsageError) as wrong:
        parser.parse(COMMANDS, ["xyzzy"])
    assert "did you mean" not in str(wrong.value)


@pytest.mark.parametrize(("command", "form"), [("demo", "id"), ("wait", "jsonl"), ("doctor", "id"), ("status", "id")])
def test_a_form_without_a_meaning_is_wrong_usage(command: str, form: str) -> None:
    """Those that have one are named."""
    with pytest.raises(UsageError, match=f"-o {form} has no meaning here; choose table or json"):
        parser.parse(COMMANDS, [command, "-o", form])


def test_what_has_no_end_is_no_single_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The form that has no end is named."""
    assert run(PROGRAM, ["events", "--follow", "-o", "json"]) == 2
    assert "use -o jsonl" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_bare_call_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """With 0, on standard output."""
    assert run(PROGRAM, []) == 0
    assert capsys.readouterr().out == COMMANDS.format_help()


WITHOUT_GRPC = {
    "": 0,
    "--help": 0,
    "orders --help": 0,
    "--version": 0,
    "prodcts": 2,
    "orders --custmer anna": 2,
    "orders --state payed": 2,
    "orders --limit some": 2,
    "place oak-desk=1 --request-id seven": 2,
    "completion bash": 0,
    "completion words -- or": 0,
}


@pytest.mark.parametrize("line", WITHOUT_GRPC)
def test_help_version_completion_and_wrong_usage_need_no_grpc(line: str) -> None:
    """Importing it, the stubs and the rules takes nine tenths of the time of such a command."""
    code = (
        "import sys; from ordersys.grpc_client import __main__ as m\n"
        "try: m.main()\n"
        "finally: print(*sorted({'grpc', 'google.protobuf', 'protovalidate', 'asyncio', 'psutil'} & {*sys.modules}),"
        " file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == WITHOUT_GRPC[line]
    assert done.stderr.splitlines()[-1] == ""


def test_the_installed_command_is_that_of_the_module() -> None:
    """`ordersys` and `python -m ordersys.grpc_client` are one."""
    project = tomllib.loads((Path(__file__).parent.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    entry = EntryPoint("ordersys", project["project"]["scripts"]["ordersys"], "console_scripts")
    assert entry.load() is main


def test_a_client_that_was_told_nothing_looks_where_the_services_and_the_launcher_are_by_default() -> None:
    """Settings, launcher and client have the defaults in common."""
    kinds = (ProductSettings, OrderSettings, NotificationSettings1, NotificationSettings2)
    defaults = {setting.variable: setting.default for kind in kinds for setting in described(kind)}
    for peer in PEERS:
        assert defaults[f"ORDERSYS_{peer.module.upper()}_ADDRESS"] == str(peer.address)
        assert USUAL_PORTS[peer.module] == peer.address.each[0].port
    assert f":{USUAL_AMQP_PORT}/" in defaults["ORDERSYS_AMQP_URL"]


COMPLETED = {
    "": sorted(COMMANDS.commands),
    "or": ["order", "orders"],
    "--json or": ["order", "orders"],
    "--timeout 3 or": ["order", "orders"],
    "orders --st": ["--state"],
    "orders --state pa": ["paid"],
    "orders --state=pa": ["paid"],
    "orders --state = pa": ["paid"],
    "orders --output=json": ["json", "jsonl"],
    "-o j": ["json", "jsonl"],
    "orders --customer a": [],
    "dead-letters ": ["discard", "list", "replay"],
    "dead-letters replay ": [],
    "notifications --service ": ["1", "2"],
    "completion ": ["bash", "fish", "zsh"],
    "product ": [],
    "nonsense": [],
}


@pytest.mark.parametrize("line", COMPLETED)
def test_completion_knows_what_the_parser_knows(line: str) -> None:
    """Commands, options, and values out of a few, as far as the line has come."""
    words = line.split(" ") if line else [""]
    assert sorted(completion.candidates(COMMANDS, completion.typed_words(words))) == COMPLETED[line]


@given(
    st.lists(st.sampled_from(["", "=", "--", "-o", "--state", "--output=", "orders", "x", "-", "--x=y"]), max_size=6)
)
def test_completion_never_fails(words: list[str]) -> None:
    """An error would stand in the middle of somebody's line, so none is shown for any words."""
    completion.candidates(COMMANDS, completion.typed_words(words))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_asks_the_installed_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    """Its script is the same for all versions of it."""
    assert run(PROGRAM, ["completion", shell]) == 0
    assert re.search(r"^complete|^compdef", capsys.readouterr().out, re.MULTILINE)
