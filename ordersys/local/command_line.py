"""The command line of the launcher: reads what is typed, starts the system, and ends with its exit status."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from ordersys.console import output
from ordersys.console.interrupts import Interrupted, interrupts
from ordersys.console.parser import Parser, UsageError
from ordersys.console.secret_files import text_or_file
from ordersys.contract import addresses
from ordersys.contract.addresses import Address
from ordersys.local import ports, state
from ordersys.local.display import Display
from ordersys.local.packages import NoRabbitMQ
from ordersys.local.postgresql import ServerNotStarted
from ordersys.local.postgresql_programs import NoPostgreSQL
from ordersys.local.rabbitmq import NotStarted
from ordersys.local.service import Misused, NotHealthy
from ordersys.local.system import (
    SERVICES,
    USUAL_AMQP_PORT,
    USUAL_AMQPS_PORT,
    USUAL_PORTS,
    CannotStart,
    Choices,
    System,
    said_in_one_line,
)
from ordersys.local.terminal_view import TerminalView, can_show
from ordersys.runtime.base import database_url, files
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.urls import shown

_PROGRAM = "python -m ordersys.local"
_INSECURE = ("Insecure: in clear, and everybody on this machine may do everything.", "")
_WATCH_SECONDS = 0.5
_MOST_REPLICAS = 16  # of each of four services: more would have a private PostgreSQL run out of connections
_ANYBODY = "Subscribers believe whoever may publish at this RabbitMQ: services share a user of it (docs/security.md)."
_FAILED = 1
_WRONG_USE = 2
# Asks a running system to restart its processes one at a time.
_ROLL_SIGNAL = signal.SIGUSR1
_ROLL_SECONDS = 600.0
_MAY_BE_IN_A_FILE = "; with a password as @FILE, a file that has it"
_PORT_OPTIONS = tuple(f"--{module.replace('_', '-')}-port" for module in SERVICES)
_SENSELESS_BESIDE = {
    "--database-url": ("--postgres", "--standby"),
    "--roll": (
        *("--amqp-url", "--amqp-port", "--brokers", "--broker-only", "--demo", "--live", "--program", *_PORT_OPTIONS),
        *("--break-it", "--insecure", "--postgres", "--standby", "--database-url", "--replicas"),
    ),
    "--amqp-url": ("--amqp-port", "--brokers", "--broker-only"),
    "--broker-only": (
        "--demo",
        "--live",
        "--break-it",
        "--program",
        "--postgres",
        "--database-url",
        "--replicas",
        *_PORT_OPTIONS,
    ),
}


class Ended(NamedTuple):
    """The end of the launcher: its exit status, and a text for programs."""

    status: int
    result: str = ""


def main() -> NoReturn:
    """Starts the system and stays, or walks through the demo. To be called behind `output.prepare`.

    Exits 0 unless something is wrong: 1 when it failed, 2 when it can't start with what it was given, else as
    `output.finish`; the demo has the statuses of the client.
    """
    os.umask(0o077)  # what this makes, and what it starts makes, is for this user alone: cookies, databases, logs
    output.finish(_PROGRAM, _run)


def _run() -> int:
    try:
        with interrupts.raising():
            arguments = _arguments()
            if arguments.roll:
                return _roll(arguments.data_dir)
            ended = _system_run(arguments, Display(arguments.plain))
    except (UsageError, CannotStart, Misused, state.NotRunning) as error:
        return _told(error, _WRONG_USE)
    except BrokerUnavailable as error:
        return _told(f"{error}; without --amqp-url a RabbitMQ of its own is started", _FAILED)
    except (NoRabbitMQ, NotStarted, NoPostgreSQL, ServerNotStarted, NotHealthy) as error:
        return _told(error, _FAILED)
    # Last of all, so that a program finds it as the last line.
    if ended.result:  # a terminal that takes nothing keeps also whoever writes nothing
        output.write(ended.result)
    return ended.status


def _system_run(arguments: argparse.Namespace, display: Display) -> Ended:
    try:
        with _folder(arguments.data_dir) as folder, _system(arguments, folder, display) as system:
            ended = _demo(system, arguments.json) if arguments.demo else _stay(system, display, arguments)
            display.line("stopping")
    finally:
        display.close()
    return ended


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog=_PROGRAM,
        description="Starts a private RabbitMQ and all services on this machine, and stays until Ctrl-C."
        " Nothing is installed; everything is kept in one folder.",
        epilog="Exit status: 0 stopped as it was told to, 1 it failed, 2 it can't start with what it was given, 4 the"
        " output could not be written, 129, 130, 143 ended by a signal while it started, 141 whoever read the output"
        " has gone; with --demo that of the client's demo.",
    )
    _add_system(parser.add_argument_group("the system"))
    _add_broker(parser.add_argument_group("the RabbitMQ"))
    _add_services(parser.add_argument_group("the services"))
    _add_database(parser.add_argument_group("the database"))
    _add_showing(parser.add_argument_group("to look at it, and to break it"))
    arguments: argparse.Namespace = parser.parse_args()
    given = (name for name, value in vars(arguments).items() if value != parser.get_default(name))
    _check_together({f"--{name.replace('_', '-')}" for name in given})
    return arguments


def _add_system(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data-dir", type=_path, metavar="DIR", help="keep everything there (default: a temporary folder)"
    )
    group.add_argument(
        "--insecure",
        action="store_true",
        help="do without certificates and tokens, which are else made in the folder: everybody on this machine may do"
        " everything; programs in the place of services need none",
    )
    group.add_argument(
        "--roll",
        action="store_true",
        help="restart the processes of the system that runs with --data-dir, one at a time, and return when all work",
    )
    group.add_argument(
        "--demo", action="store_true", help="walk through the demo, then stop; exit status 0 if all is even"
    )
    group.add_argument("--json", action="store_true", help="with --demo: one JSON object as the last line")


def _add_broker(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--amqp-url", type=_url, metavar="URL", help=f"use this RabbitMQ instead of a private one{_MAY_BE_IN_A_FILE}"
    )
    group.add_argument(
        "--amqp-port",
        type=_port,
        metavar="PORT",
        help=f"port of the private RabbitMQ ({USUAL_AMQPS_PORT} if it is free, with --insecure {USUAL_AMQP_PORT})",
    )
    group.add_argument(
        "--brokers", type=int, choices=(1, 3), default=1, help="how many nodes it has: 3 are a cluster (default: 1)"
    )
    group.add_argument("--broker-only", action="store_true", help="only the RabbitMQ, no services")


def _add_services(group: argparse._ArgumentGroup) -> None:
    for module in SERVICES:
        name = module.replace("_", "-")
        group.add_argument(
            f"--{name}-port", type=_port, metavar="PORT", help=f"port of {name} ({USUAL_PORTS[module]} if it is free)"
        )
    group.add_argument(
        "--replicas",
        type=int,
        choices=range(1, _MOST_REPLICAS + 1),
        default=1,
        metavar="N",
        help=f"processes of each service, up to {_MOST_REPLICAS}, on a PostgreSQL (default: 1)",
    )
    group.add_argument(
        "--program",
        action="append",
        type=_program,
        default=[],
        metavar="SERVICE=COMMAND",
        help="run COMMAND in the place of this service, in the environment it would have; may be repeated",
    )


def _add_database(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--postgres", action="store_true", help="keep the state in a private PostgreSQL instead of SQLite files"
    )
    group.add_argument(
        "--standby", action="store_true", help="with --postgres: a standby that has whatever was answered"
    )
    group.add_argument(
        "--database-url",
        type=_database_url,
        metavar="URL",
        help=f"keep the state in this PostgreSQL (postgresql://…){_MAY_BE_IN_A_FILE}",
    )


def _add_showing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--live", action="store_true", help="serve the live page, too, and print its link (extra: ordersys[live])"
    )
    group.add_argument(
        "--break-it",
        action="store_true",
        help="with --live: buttons that kill, pause, cut and flood this system; it comes back by itself",
    )
    group.add_argument("--plain", action="store_true", help="no spinner, and no view of the system on a terminal")


def _check_together(given: Collection[str]) -> None:
    """Raises CannotStart for options that would do nothing beside another."""
    for option, others in _SENSELESS_BESIDE.items():
        for other in others:
            if option in given and other in given:
                raise CannotStart(f"{other} does nothing beside {option}; leave one of them out")
    if "--roll" in given and "--data-dir" not in given:
        raise CannotStart("--roll needs the folder of the running system; name it with --data-dir")
    if "--json" in given and "--demo" not in given:
        raise CannotStart("--json does nothing without --demo; leave it out, or add that")


def _program(text: str) -> tuple[str, Sequence[str]]:
    name, _, command = text.partition("=")
    module = name.replace("-", "_")
    if module not in SERVICES or not command.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not SERVICE=COMMAND, such as order-service='./my-service -v'")
    try:
        return module, shlex.split(command)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} can't be taken apart as a shell does: {error}") from None


def _port(text: str) -> int:
    try:
        return addresses.parse(f"{ports.LOOPBACK}:{text}").port
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535") from None


def _url(text: str) -> str:
    """As it was given, for the services; it may hold a password, which is in no error."""
    given = text_or_file(text)
    try:
        urls.parse(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None
    return given


def _database_url(text: str) -> str:
    """As it was given, for the services; it may hold a password, which is in no error."""
    given = text_or_file(text)
    try:
        parsed = database_url.parse(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None
    if parsed is None:
        raise argparse.ArgumentTypeError(f"must be {database_url.WANTED}")
    return given


def _path(text: str) -> str:
    if not text:  # as of a variable that is not set: the current folder would not be meant
        raise argparse.ArgumentTypeError("'' must be a path")
    try:
        return str(files.path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be {error}") from None


@contextmanager
def _folder(chosen: str | None) -> Iterator[Path]:
    """The folder that was chosen, or a temporary one. Raises CannotStart."""
    with said_in_one_line(chosen or "the current folder"):
        folder = Path(chosen or ".").absolute()
    if chosen:
        yield folder
        return
    with said_in_one_line("a temporary folder"):
        made = tempfile.TemporaryDirectory(prefix="ordersys-", ignore_cleanup_errors=True)
    with made as name:
        yield Path(name)


def _system(arguments: argparse.Namespace, folder: Path, display: Display) -> System:
    ports = {module: getattr(arguments, f"{module}_port") for module in SERVICES}
    choices = Choices(
        amqp_url=arguments.amqp_url,
        amqp_ports=[] if arguments.amqp_port is None else [arguments.amqp_port],
        brokers=arguments.brokers,
        services=() if arguments.broker_only else SERVICES,
        programs=dict(arguments.program),
        addresses={module: f"127.0.0.1:{port}" for module, port in ports.items() if port is not None},
        database_url=arguments.database_url,
        postgres=arguments.postgres,
        standby=arguments.standby,
        replicas=arguments.replicas,
        secure=state.secure_by_default() and not arguments.insecure,
        live=arguments.live or arguments.break_it,
        break_it=arguments.break_it,
        usual_ports=True,
    )
    return System(folder, display.stage, choices)


def _stay(system: System, display: Display, arguments: argparse.Namespace) -> Ended:
    wanted = threading.Event()
    signal.signal(_ROLL_SIGNAL, lambda *_: wanted.set())
    try:
        for line in _greeting(system, arguments.data_dir):
            display.line(line)
        if arguments.plain or not system.services or not can_show():
            _watch(system, display.line, wanted)
        link = system.live.link if system.live is not None else ""
        with TerminalView(system.folder, system.environment_of_observer, link, display) as view:
            view.start()
            _watch(system, view.line, wanted, view.watch)
    except Interrupted:
        return Ended(0)


def _watch(
    system: System, say: Callable[[str], None], wanted: threading.Event, also: Callable[[], None] = lambda: None
) -> NoReturn:
    while True:
        system.watch(say)
        also()
        if wanted.is_set():
            wanted.clear()
            system.roll(say, also)
        time.sleep(_WATCH_SECONDS)


def _roll(data_dir: str) -> int:
    """Has the system of that folder restart its processes; 0 when it has, 1 where one did not come back."""
    before = state.running(data_dir)
    os.kill(before.pid, _ROLL_SIGNAL)
    output.line("restarting the processes one at a time, up to a minute each; the system's own output names them")
    until = time.monotonic() + _ROLL_SECONDS
    while time.monotonic() < until:
        outcomes = state.running(data_dir).rolls[len(before.rolls) :]
        if outcomes:
            if outcomes[0]:
                return _told(outcomes[0], _FAILED)
            output.line("all processes were restarted")
            return 0
        time.sleep(_WATCH_SECONDS)
    return _told(f"the processes were not restarted within {_ROLL_SECONDS:.0f} s; see its own words", _FAILED)


def _greeting(system: System, data_dir: str | None) -> Sequence[str]:
    return [
        "",
        *(_row(service.name, service.address, service.log) for service in system.services.values()),
        *(_row("rabbitmq", url, node.log) for url, node in zip(system.broker_urls, system.nodes, strict=False)),
        *(_row(server.name, f"{ports.LOOPBACK}:{server.port}", server.log) for server in system.servers),
        *([] if system.nodes else [f"  {'rabbitmq':<24} {shown(system.broker_urls)}"]),
        *([] if system.live is None else ["", f"  {'live page':<24} {system.live.link}"]),
        *(["", _ANYBODY] if system.believes_anybody and system.services else []),
        "",
        *(_INSECURE if system.identities is None else ()),
        *(_invitation(system, data_dir) if system.services else []),
        "For programs, and in other shells:" if system.services else "To talk to it, in another shell:",
        "",
        *(f"  {line}" for line in system.exports),
        "",
        "Running; Ctrl-C stops everything.",
    ]


def _invitation(system: System, data_dir: str | None) -> Sequence[str]:
    """The shortest command by which a client finds it."""
    usual = {module: Address(ports.LOOPBACK, port) for module, port in USUAL_PORTS.items()}
    at_usual_ports = all(usual.get(module) == address for module, address in system.addresses.items())
    found_by = (
        ""
        if at_usual_ports and system.identities is None
        else f"--data-dir {shlex.quote(data_dir or str(system.folder))} "
    )
    return [
        "To talk to it, in another shell (without an installed `ordersys`: python -m ordersys.grpc_client):",
        "",
        *(f"  ordersys {found_by}{command}" for command in ("products", "demo", "status")),
        "",
    ]


def _row(name: str, place: object, log: Path) -> str:
    return f"  {name:<24} {place!s:<20} {shlex.quote(str(log))}"


def _demo(system: System, as_json: bool) -> Ended:
    client = [sys.executable, "-m", "ordersys.grpc_client", *(["--json"] if as_json else []), "demo"]
    environment = {**os.environ, **system.environment}
    done = subprocess.run(client, env=environment, stdout=subprocess.PIPE if as_json else None, text=True, check=False)
    return Ended(done.returncode, done.stdout or "")


def _told(error: object, status: int) -> int:
    for line in f"ordersys.local: {error}".splitlines():
        output.error(line)
    return status
