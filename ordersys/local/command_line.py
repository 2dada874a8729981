"""`python -m ordersys.local`: the whole system on this machine with one command."""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from ordersys.contract import addresses
from ordersys.local import ports
from ordersys.local.display import Display
from ordersys.local.packages import NoRabbitMQ
from ordersys.local.rabbitmq import NotStarted
from ordersys.local.service import Misused, NotHealthy
from ordersys.local.system import SERVICES, CannotStart, Choices, System
from ordersys.runtime import files, urls
from ordersys.runtime.broker import BrokerUnavailable
from ordersys.runtime.urls import shown

_WATCH_SECONDS = 0.5
_FAILED = 1
_WRONG_USE = 2
_SENSELESS_BESIDE = {
    "--amqp-url": ("--amqp-port", "--brokers", "--broker-only"),
    "--broker-only": ("--demo", "--program", *(f"--{module.replace('_', '-')}-port" for module in SERVICES)),
}


class Ended(NamedTuple):
    """How it ended: the exit status, and what a program wants to know."""

    status: int
    result: str = ""


def main() -> None:
    """Starts the system and stays, or walks through the demo; exits 0 unless something is wrong."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o077)  # what this makes, and what it starts makes, is for this user alone: cookies, databases, logs
    try:
        arguments = _arguments()
        display = Display(arguments.plain)
        with (
            _folder(arguments.data_dir) as folder,
            _system(arguments, Path(folder), display) as system,
        ):
            ended = _demo(system, arguments.json) if arguments.demo else _stay(system, display)
            display.line("stopping")
        # Last of all, so that a program finds it as the last line.
        sys.stdout.write(ended.result)
        sys.exit(ended.status)
    except (CannotStart, Misused) as error:
        _fail(error, _WRONG_USE)
    except (NoRabbitMQ, NotStarted, NotHealthy, BrokerUnavailable) as error:
        _fail(error, _FAILED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends it as Ctrl-C does."""
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = _Parser(
        prog="python -m ordersys.local",
        description="Starts a private RabbitMQ and all services on this machine, and stays until Ctrl-C."
        " Nothing is installed; everything is kept in one folder.",
    )
    parser.add_argument(
        "--data-dir", type=_path, metavar="DIR", help="keep everything there (default: a temporary folder)"
    )
    parser.add_argument("--amqp-url", type=_url, metavar="URL", help="use this RabbitMQ instead of a private one")
    parser.add_argument("--amqp-port", type=_port, metavar="PORT", help="port of the private RabbitMQ (default: free)")
    parser.add_argument(
        "--brokers", type=int, choices=(1, 3), default=1, help="how many nodes it has: 3 are a cluster (default: 1)"
    )
    for module in SERVICES:
        name = module.replace("_", "-")
        parser.add_argument(f"--{name}-port", type=_port, metavar="PORT", help=f"port of {name} (default: free)")
    parser.add_argument(
        "--demo", action="store_true", help="walk through the demo, then stop; exit status 0 if all is even"
    )
    parser.add_argument("--json", action="store_true", help="with --demo: one JSON object as the last line")
    parser.add_argument("--broker-only", action="store_true", help="only the RabbitMQ, no services")
    parser.add_argument(
        "--program",
        action="append",
        type=_program,
        default=[],
        metavar="SERVICE=COMMAND",
        help="run COMMAND in the place of this service, in the environment it would have; may be repeated",
    )
    parser.add_argument("--plain", action="store_true", help="no spinner")
    arguments = parser.parse_args()
    given = (name for name, value in vars(arguments).items() if value != parser.get_default(name))
    _check_together({f"--{name.replace('_', '-')}" for name in given})
    return arguments


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise CannotStart(f"{message}; --help shows what can be given")


def _check_together(given: Collection[str]) -> None:
    """Raises CannotStart for options that would do nothing beside another."""
    for option, others in _SENSELESS_BESIDE.items():
        for other in others:
            if option in given and other in given:
                raise CannotStart(f"{other} does nothing beside {option}; leave one of them out")
    if "--json" in given and "--demo" not in given:
        raise CannotStart("--json does nothing without --demo; leave it out, or add that")


def _program(text: str) -> tuple[str, Sequence[str]]:
    name, _, command = text.partition("=")
    module = name.replace("-", "_")
    if module not in SERVICES or not command.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not SERVICE=COMMAND, such as order-service='./my-service -v'")
    return module, shlex.split(command)


def _port(text: str) -> int:
    try:
        return addresses.parse(f"{ports.LOOPBACK}:{text}").port
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535") from None


def _url(text: str) -> str:
    """As it was given, for the services; it may hold a password, which is in no error."""
    try:
        urls.parse(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None
    return text.strip()


def _path(text: str) -> str:
    if not text:  # as of a variable that is not set: the current folder would not be meant
        raise argparse.ArgumentTypeError("'' must be a path")
    try:
        return str(files.path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be {error}") from None


def _folder(chosen: str | None) -> AbstractContextManager[str]:
    return nullcontext(chosen) if chosen else tempfile.TemporaryDirectory(prefix="ordersys-")


def _system(arguments: argparse.Namespace, folder: Path, display: Display) -> System:
    ports = {module: getattr(arguments, f"{module}_port") for module in SERVICES}
    choices = Choices(
        amqp_url=arguments.amqp_url,
        amqp_ports=[] if arguments.amqp_port is None else [arguments.amqp_port],
        brokers=arguments.brokers,
        services=() if arguments.broker_only else SERVICES,
        programs=dict(arguments.program),
        addresses={module: f"127.0.0.1:{port}" for module, port in ports.items() if port is not None},
    )
    return System(folder.absolute(), display.stage, choices)


def _stay(system: System, display: Display) -> Ended:
    for line in _greeting(system):
        display.line(line)
    try:
        while True:
            system.watch(display.line)
            time.sleep(_WATCH_SECONDS)
    except KeyboardInterrupt:
        return Ended(0)


def _greeting(system: System) -> Sequence[str]:
    return [
        "",
        *(f"  {service.module:<24} {service.address:<20} {service.log}" for service in system.services.values()),
        *(
            f"  {'rabbitmq':<24} {url!s:<20} {node.log}"
            for url, node in zip(system.broker_urls, system.nodes, strict=False)
        ),
        *([] if system.nodes else [f"  {'rabbitmq':<24} {shown(system.broker_urls)}"]),
        "",
        "To talk to it, in another shell:",
        "",
        *(f"  {line}" for line in system.exports),
        *(f"  python -m ordersys.grpc_client {command}" for command in ("products", "demo") if system.services),
        "",
        "Running; Ctrl-C stops everything.",
    ]


def _demo(system: System, as_json: bool) -> Ended:
    client = [sys.executable, "-m", "ordersys.grpc_client", *(["--json"] if as_json else []), "demo"]
    environment = {**os.environ, **system.environment}
    done = subprocess.run(client, env=environment, stdout=subprocess.PIPE if as_json else None, text=True, check=False)
    return Ended(done.returncode, done.stdout or "")


def _fail(error: Exception, status: int) -> None:
    print(f"ordersys.local: {error}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
