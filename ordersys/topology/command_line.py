"""The command line of `python -m ordersys.topology`.

Services that may not declare anything find everything declared: by this command, run as the one user that may.
"""

import argparse
import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from ordersys.console import output
from ordersys.console.parser import Parser, UsageError
from ordersys.console.secret_files import text_or_file
from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import topology
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq import reconnecting, urls
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, Files
from ordersys.runtime.rabbitmq.urls import AMQP_URL, BrokerUrls, shown
from ordersys.runtime.settings import Settings
from ordersys.topology import definitions

_PROGRAM = "python -m ordersys.topology"
_DONE, _NOT_SO, _WRONG_USE, _NO_ANSWER = 0, 1, 2, 3
# A node of a cluster that hangs keeps the others from declaring for up to 30 s.
_SECONDS = 60.0
_MOST_OCTETS = 255  # AMQP 0-9-1 §4.2.5.3, short strings
_FILES = (CA_FILE, CERTIFICATE_FILE, KEY_FILE)
T = TypeVar("T")


def main() -> NoReturn:
    """Does what was typed, and exits: 0 done, 1 refused or something is missing, 2 wrong usage, 3 no answer.

    To be called behind `output.prepare`. Blocks for a minute at most.
    """
    # The library logs its refusals for a service's log. Here each is an outcome, which is printed.
    logging.getLogger("ordersys").addHandler(logging.NullHandler())
    output.finish(_PROGRAM, _run)


def _run() -> int:
    try:
        arguments = _arguments()
        status: int = arguments.work(arguments)
    except (UsageError, settings.InvalidSetting) as error:
        return _failed(error, _WRONG_USE)
    except BrokerRefused as error:
        return _failed(f"RabbitMQ refuses: {error}", _NOT_SO)
    except BrokerUnavailable as error:
        return _failed(f"{error}; start RabbitMQ, or name another one with --amqp-url or {AMQP_URL}", _NO_ANSWER)
    return status


def _declare(arguments: argparse.Namespace) -> int:
    broker = _broker(arguments)
    if forbidden := _answer(reconnecting.declare(broker)):
        way = f"use the user {DECLARER!r}, whose permissions `{_PROGRAM} permissions` prints"
        return _failed(f"this user may not declare all of it; {way}. The first refusal: {forbidden[0]}", _NOT_SO)
    declared = topology()
    counts = f"{len(declared.exchanges)} exchanges, {len(declared.queues)} queues, {len(declared.bindings)} bindings"
    output.line(f"declared at {shown(broker)}: {counts}")
    return _DONE


def _check(arguments: argparse.Namespace) -> int:
    broker = _broker(arguments)
    missing = _answer(reconnecting.missing(broker))
    for entity in missing:
        output.line(f"missing at {shown(broker)}: {entity}")
    if missing:
        return _failed(f"something is missing; `{_PROGRAM} declare` declares it", _NOT_SO)
    output.line(f"all exchanges and queues are there at {shown(broker)}; RabbitMQ shows nobody its bindings")
    return _DONE


def _permissions(arguments: argparse.Namespace) -> int:
    if arguments.json:
        output.write(definitions.document(contract_permissions(), topology(), arguments.vhost))
    else:
        for command in definitions.commands(contract_permissions(), arguments.vhost):
            output.line(command)
    return _DONE


def _broker(arguments: argparse.Namespace) -> BrokerUrls:
    """The broker that was typed, else that of the environment, by the rules of the services. Raises InvalidSetting."""
    given: BrokerUrls | None = arguments.amqp_url
    # Only these: what is wrong with another setting is no trouble of this command.
    names = _FILES if given else (AMQP_URL, f"{AMQP_URL}_FILE", *_FILES)
    read = settings.read(Settings, {name: value for name, value in os.environ.items() if name in names})
    if given is None:
        return read.amqp_url
    try:
        return urls.identified(given, Files(read.amqp_ca_file, read.tls_certificate_file, read.tls_key_file))
    except ValueError as error:
        raise UsageError(f"--amqp-url {error}") from None


def _answer(question: Coroutine[Any, Any, T]) -> T:
    """The broker's answer. Raises BrokerUnavailable, also where it takes too long."""

    async def asked() -> T:
        try:
            async with asyncio.timeout(_SECONDS):
                return await question
        except TimeoutError as error:
            raise BrokerUnavailable(f"RabbitMQ has not done it within {_SECONDS:.0f} s") from error

    return asyncio.run(asked())


def _failed(reason: object, status: int) -> int:
    output.error(f"{_PROGRAM}: {reason}")
    return status


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog=_PROGRAM,
        description="Exchanges, queues and bindings of the contract in a RabbitMQ, and the permissions of its users.",
        epilog="Exit status: 0 done, 1 RabbitMQ refuses or something is missing, 2 wrong usage, 3 it does not answer.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    declare = commands.add_parser("declare", help="declare all that is missing; what is there stays as it is")
    check = commands.add_parser("check", help="name the exchanges and queues that are missing; declare nothing")
    for command, work in ((declare, _declare), (check, _check)):
        _add_broker(command, work)
    permissions = commands.add_parser(
        "permissions", help="print the commands that give each user of the contract its permissions and no others"
    )
    permissions.set_defaults(work=_permissions)
    permissions.add_argument(
        "--vhost", type=_vhost, default=definitions.VHOST, help=f"the virtual host (default: {definitions.VHOST})"
    )
    permissions.add_argument(
        "--json", action="store_true", help="as definitions, for `rabbitmqctl import_definitions`; without users"
    )
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def _add_broker(command: Parser, work: Callable[[argparse.Namespace], int]) -> None:
    command.set_defaults(work=work)
    command.add_argument(
        "--amqp-url",
        type=_urls,
        metavar="URL",
        help=f"the RabbitMQ; with a password as @FILE, a file that has it: everybody sees a list of processes (default:"
        f" {AMQP_URL}, or the file that {AMQP_URL}_FILE names); amqps:// without a user shows the certificate of"
        f" {CERTIFICATE_FILE}",
    )


def _urls(text: str) -> BrokerUrls:
    try:
        return urls.parse(text_or_file(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}") from None


def _vhost(text: str) -> str:
    if not (text and text.isprintable() and len(text.encode()) <= _MOST_OCTETS):
        raise argparse.ArgumentTypeError(f"{text!r} must be a name of 1 to {_MOST_OCTETS} octets")
    return text
