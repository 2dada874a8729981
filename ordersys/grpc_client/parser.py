"""Everything that can be typed: the commands by task, their arguments, and help. Imports nothing that takes time."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from ordersys.console import output
from ordersys.console.parser import Parser
from ordersys.grpc_client import arguments as typed
from ordersys.grpc_client import outcome
from ordersys.grpc_client.peers import PEERS, variable

MODULE = "python -m ordersys.grpc_client"
TABLE, JSON, JSONL, ID = "table", outcome.JSON, outcome.JSONL, "id"
FORMS = (TABLE, JSON, JSONL, ID)
WALK_IN = "walk-in"
LISTED = 100
"""The number that a command lists, unless it is told otherwise: some screens, and an answer at once."""
TAIL = 10
"""The number of earlier events that `events` shows, as `tail` does with lines."""
STATES = ("placed", "paid", "shipped", "delivered", "cancelled")
DEAD_LETTER_ACTIONS = ("list", "replay", "discard")
_MOST_ORDERS = 1_000_000
_HELP_COLUMNS = 100
"""Help is not wider than this: longer lines are hard to read."""

TASKS: Mapping[str, Sequence[str]] = {
    "Products and stock": ("products", "product", "restock"),
    "Orders": ("place", "orders", "order", "update", "cancel", "trace"),
    "Events": ("events", "notifications", "dead-letters"),
    "The running system": ("status", "wait", "doctor", "demo"),
    "Your shell": ("completion",),
}
EXAMPLES = (
    ("place oak-desk=1 footrest=2 --customer anna", "place an order"),
    ("update ORDER --state paid", "move it on"),
    ("orders --state placed -o id", "ids only, for scripts"),
    ("events --follow", "watch what happens"),
    ("--data-dir ./orders status", "of the system that lives in ./orders"),
)
_FORMS_OF: Mapping[str, Sequence[str]] = {  # commands that have not all of them
    "demo": (TABLE, JSON),
    "trace": (TABLE, JSON),
    "status": (TABLE, JSON, JSONL),
    "wait": (TABLE, JSON),
    "doctor": (TABLE, JSON, JSONL),
    "completion": (TABLE,),
}
_FILE_HELP = """\
The entries of ORDERS.JSON are requests as in {"customer_id": "anna", "items": [{"product_id": "oak-desk", "quantity":
1}]}; whatever else they have is passed over. The file may be placed again at any time, after Ctrl-C or without an
answer: the request ids follow from what stands in it (customers, products, quantities; equal entries are counted), so
that a repeat places nothing twice as long as the service remembers request ids, 24 hours at least. An entry may bring
a request_id of its own. A file with other orders in it is another file, and placed wholly; to add to a file, or to
place the same one once more, name the --batch it belongs to: an entry is placed once in each batch."""


class ClientParser(Parser):
    """The whole command line; its help shows the commands by task."""

    def __init__(self, program: str) -> None:
        super().__init__(prog=program, usage=argparse.SUPPRESS, add_help=False)
        self.summaries: dict[str, str] = {}
        """The purpose of each command, in a few words."""
        self._commands: argparse._SubParsersAction[Parser] = self.add_subparsers(
            dest="command", metavar="COMMAND", prog=program, help=argparse.SUPPRESS, parser_class=Parser
        )

    def command(self, name: str, summary: str, epilog: str | None = None) -> Parser:
        """Adds a command."""
        self.summaries[name] = summary
        return self._commands.add_parser(name, help=summary, description=f"{_capital(summary)}.", epilog=epilog)

    @property
    def commands(self) -> Mapping[str, Parser]:
        """The parser of each command."""
        return self._commands.choices

    def format_help(self) -> str:
        """Commands by task, examples, options, exit statuses; as wide as the terminal allows."""
        width = min(shutil.get_terminal_size().columns - 2, _HELP_COLUMNS)
        return "\n".join(
            [*self._tasks(width), *self._examples(width), super().format_help(), *_exit_statuses(width), ""]
        )

    def _tasks(self, width: int) -> Iterator[str]:
        yield from textwrap.wrap(
            f"{self.prog} COMMAND …: places and follows orders, and looks after the system.", width
        )
        for task, names in TASKS.items():
            yield from ("", f"{task}:")
            yield from (line for name in names for line in _described(name, self.summaries[name], width))

    def _examples(self, width: int) -> Iterator[str]:
        yield from ("", "Examples:")
        for words, meaning in EXAMPLES:
            command = f"  {self.prog} {words}"
            beside = f"{command:<58}  # {meaning}"
            yield from [beside] if len(beside) <= width else [f"  # {meaning}", command]
        yield ""


class _Version(argparse.Action):
    """Prints the version; looked up then, since that takes longer than all the rest of the help."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's word
        super().__init__(option_strings, argparse.SUPPRESS, 0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        output.line(f"ordersys {_version()}")
        parser.exit()


def build(program: str) -> ClientParser:
    """The parser of the command line of `program`."""
    parser = ClientParser(program)
    _add_products(parser)
    _add_orders(parser)
    _add_events(parser)
    _add_operation(parser)
    group = _add_options(parser, "Options, anywhere on the line", all_shown=True)
    group.add_argument("-h", "--help", action="help", help="print this help, or that of the command")
    for command in parser.commands.values():
        _add_options(command, f"options of every command; `{program} --help` has all", all_shown=False)
        command.usage = " ".join(["%(prog)s", *_operands(command), "[options]"])
    return parser


def _operands(command: Parser) -> Iterator[str]:
    """The operands of a command as they stand in its usage."""
    for action in command._actions:
        if action.metavar and not action.option_strings:
            dots = " …" if action.nargs == argparse.ZERO_OR_MORE else ""
            yield f"[{action.metavar}{dots}]" if action.nargs in ("?", "*") else str(action.metavar)


def parse(parser: ClientParser, words: Sequence[str]) -> argparse.Namespace:
    """The line as it was typed, with every option that was not set to its default. Raises UsageError."""
    line: argparse.Namespace = parser.parse_args(
        list(words), argparse.Namespace(output=TABLE, timeout=None, data_dir=None, **_NO_ADDRESSES)
    )
    if line.command is None:
        parser.error("a COMMAND is missing")
    forms = _FORMS_OF.get(line.command, FORMS)
    if line.output not in forms:
        parser.commands[line.command].error(f"-o {line.output} has no meaning here; choose {' or '.join(forms)}")
    return line


def wanted_form(words: Sequence[str]) -> str:
    """The form that `words` ask for, be they right or wrong: programs read errors in the form they asked for."""
    form = TABLE
    options = words[: words.index("--") if "--" in words else None]
    for word, following in zip(options, [*options[1:], ""], strict=False):
        flag, _, value = word.partition("=")
        if word == "--json":
            form = JSON
        elif flag == "--output" or word == "-o":
            form = value or following
        elif word.startswith("-o") and not word.startswith("--"):
            form = word[2:].removeprefix("=")
    return form


_NO_ADDRESSES: Mapping[str, None] = {peer.module: None for peer in PEERS}


def _add_options(parser: Parser, title: str, all_shown: bool) -> "argparse._ArgumentGroup":
    """The options that may stand before the command and behind it; those of each service are shown once.

    Without a default: what stands before the command would be overwritten by the default of what may stand behind it.
    """
    group = parser.add_argument_group(title)
    unset = argparse.SUPPRESS
    group.add_argument(
        "-o",
        "--output",
        choices=FORMS,
        default=unset,
        metavar="FORM",
        help="table for people; json, one document; jsonl, one document a line; id, ids only",
    )
    group.add_argument(
        "--json", dest="output", action="store_const", const=JSON, default=unset, help="-o json; errors too"
    )
    group.add_argument(
        "--timeout",
        type=typed.seconds,
        default=unset,
        metavar="S",
        help="seconds a call may take (10; status 3, doctor 2, demo and wait 60)",
    )
    group.add_argument(
        "--data-dir",
        type=typed.some,
        default=unset,
        metavar="DIR",
        help="talk to the `python -m ordersys.local` that runs with this folder (default: ORDERSYS_DATA_DIR)",
    )
    for peer in PEERS:
        group.add_argument(
            f"--{peer.module.replace('_', '-')}",
            type=typed.address,
            default=unset,
            metavar="HOST:PORT[,…]",
            help=f"address of the {peer.name} ({variable(peer.module)}; {peer.address})" if all_shown else unset,
        )
    group.add_argument("--version", action=_Version, help="print the version" if all_shown else unset)
    return group


def _add_products(parser: ClientParser) -> None:
    products = parser.command("products", "list all products")
    _add_limit(products, "all")
    product = parser.command("product", "show one product")
    product.add_argument("id", metavar="PRODUCT")
    restock = parser.command("restock", "add to the stock of a product")
    restock.add_argument("id", metavar="PRODUCT")
    delta = typed.of_rule("AdjustStockRequest", "delta")
    restock.add_argument("quantity", type=delta, metavar="QUANTITY", help="units to add; negative to take")
    _add_request_id(restock)


def _add_orders(parser: ClientParser) -> None:
    place = parser.command("place", "place an order, or those of a file", epilog=_FILE_HELP)
    place.add_argument("items", nargs="*", default=[], metavar="PRODUCT=QUANTITY")
    place.add_argument("--customer", help=f"who orders (default: {WALK_IN}, or whose token it is)")
    place.add_argument(
        "--file", type=typed.some, metavar="ORDERS.JSON", help="place an order for each entry of a JSON array"
    )
    place.add_argument(
        "--batch", type=typed.some, metavar="NAME", help="with --file: place what was not yet placed under this name"
    )
    orders = parser.command("orders", "list orders, the newest first")
    orders.add_argument("--customer", type=typed.some, help="only of this customer")
    orders.add_argument("--state", choices=STATES, help="only in this state")
    orders.add_argument("--page", type=typed.some, metavar="TOKEN", help="go on where a list ended, as it said")
    _add_limit(orders)
    order = parser.command("order", "show one order")
    order.add_argument("id", metavar="ORDER")
    update = parser.command("update", "change the items or the state of an order")
    update.add_argument("id", metavar="ORDER")
    update.add_argument("items", nargs="*", default=[], metavar="PRODUCT=QUANTITY", help="the items it shall have")
    update.add_argument("--state", choices=STATES[1:4], help="the state it shall move to")
    cancel = parser.command("cancel", "cancel an order")
    cancel.add_argument("id", metavar="ORDER")
    trace = parser.command(
        "trace",
        "draw what became of an order, as a waterfall (needs ordersys.local --live)",
        epilog="Whoever can read the key in the folder sees the traces of all orders; no token is asked for.",
    )
    trace.add_argument("id", metavar="ORDER")
    version = typed.of_rule("UpdateOrderRequest", "expected_version")
    for changing in (update, cancel):
        changing.add_argument("--expected-version", type=version, metavar="N", help="only if it is at this version")
    for command in (place, update, cancel):
        _add_request_id(command)


def _add_events(parser: ClientParser) -> None:
    events = parser.command("events", "show what has happened to orders, with --follow as it happens")
    events.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    _add_limit(events, str(TAIL), "how many earlier ones, or all")
    notifications = parser.command("notifications", "show what the notification services have recorded")
    _add_limit(notifications)
    letters = parser.command("dead-letters", "show, replay or discard what a notification service can't take")
    letters.add_argument(
        "action",
        nargs="?",
        choices=DEAD_LETTER_ACTIONS,
        default="list",
        metavar="ACTION",
        help="list, replay or discard (list)",
    )
    letters.add_argument(
        "ids", nargs="*", default=[], type=typed.dead_letter, metavar="ID", help="which to replay or discard"
    )
    letters.add_argument("--all", action="store_true", help="replay or discard all there are now")
    _add_limit(letters)
    for command in (events, notifications, letters):
        command.add_argument("--service", type=int, choices=(1, 2), help="only of this notification service")
    for command in (events, notifications):
        command.add_argument("--order", type=typed.some, metavar="ORDER", help="only of this order")


def _add_operation(parser: ClientParser) -> None:
    parser.command("status", "show whether each service works, where, and its dead letters")
    parser.command("wait", "wait until every service works, for scripts")
    parser.command("doctor", "find out what is wrong with this environment, and say what to do")
    demo = parser.command("demo", "walk through everything, then reconcile")
    burst = typed.between(1, _MOST_ORDERS)
    demo.add_argument("--orders", type=burst, default=300, metavar="N", help="size of the burst (300)")
    completion = parser.command(
        "completion",
        "print what makes a shell complete these commands",
        epilog='bash: eval "$(ordersys completion bash)" in ~/.bashrc. zsh: the same with zsh in ~/.zshrc, behind'
        " compinit. fish: ordersys completion fish | source, in ~/.config/fish/config.fish.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish", "words"), metavar="bash|zsh|fish")
    completion.add_argument("words", nargs="*", default=[], help=argparse.SUPPRESS)


def _add_limit(parser: Parser, default: str = str(LISTED), meaning: str = "how many at most, or all") -> None:
    """Without a default of its own: only a list that was cut by nobody's wish is told of to programs."""
    parser.add_argument("--limit", type=typed.limit, metavar="N", help=f"{meaning} ({default})")


def _add_request_id(parser: Parser) -> None:
    parser.add_argument(
        "--request-id", type=typed.request_id, metavar="UUID", help="repeat the request that had this id"
    )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - half of the time of all the help

    try:
        return version("ordersys")
    except PackageNotFoundError:
        return "(not installed: run from its source)"


def _described(name: str, meaning: str, width: int) -> Sequence[str]:
    return textwrap.wrap(meaning, width, initial_indent=f"  {name:<14}  ", subsequent_indent=" " * 18)


def _exit_statuses(width: int) -> Sequence[str]:
    statuses = ", ".join(f"{status} {meaning}" for status, meaning in outcome.EXIT_STATUSES.items())
    return textwrap.wrap(f"Exit status: {statuses}.", width)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
