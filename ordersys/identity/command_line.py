"""The command line of `python -m ordersys.identity`: commands that make identities, and one that shows them."""

import argparse
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from cryptography import x509

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.console.parser import Parser, UsageError
from ordersys.contract.access import RoleNumber
from ordersys.identity import description, files, issuing, minting
from ordersys.identity.authority import PROGRAM, Authority, utc_now
from ordersys.identity.description import Description, Unknown
from ordersys.identity.files import UnusableFile
from ordersys.identity.layout import OPERATOR, Layout

CUSTOMERS = ("anna", "ben", "carla")
"""The customers who get a token where none are named."""
_DONE, _EXPIRED, _WRONG_USE = 0, 1, 2
_CUSTOMER_ROLES: Collection[RoleNumber] = [Role.ROLE_CUSTOMER]
_OPERATOR_ROLES: Collection[RoleNumber] = [Role.ROLE_OPERATOR]
_WIDTH = 10


def main() -> NoReturn:
    """Does what is typed, and exits 0; 1 where something shown has expired; 2 for what can't be used.

    To be called behind `output.prepare`. Blocks for the disk, and while another process changes the same folder.
    """
    output.finish(PROGRAM, _run)


def _run() -> int:
    try:
        with interrupts.raising():  # what is being written is removed; the rest stays whole
            arguments = _arguments()
            status: int = arguments.work(arguments)
            return status
    except (UsageError, UnusableFile) as error:
        output.error(f"{PROGRAM}: {error}")
        return _WRONG_USE


def _init(arguments: argparse.Namespace) -> int:
    customers: Sequence[str] = arguments.customers or CUSTOMERS
    authority = Authority.make(arguments.folder)
    written = list(authority.renew())
    written.append(authority.write_token(OPERATOR, _OPERATOR_ROLES))
    written += [authority.write_token(name, _CUSTOMER_ROLES) for name in customers]
    for path in written:
        output.line(f"made {path}")
    for line in _exports(authority.layout, customers):
        output.line(line)
    return _DONE


def _exports(layout: Layout, customers: Sequence[str]) -> Iterator[str]:
    """The lines to copy into a shell, for each service and each client."""
    for name in issuing.services():
        yield from _block(f"{name}:", layout.service_environment(name))
    for name in (OPERATOR, *customers):
        yield from _block(f"a client of {name}:", layout.client_environment(name))


def _block(head: str, environment: Mapping[str, str]) -> Iterator[str]:
    yield from ("", head)
    yield from (f"  export {name}={shlex.quote(value)}" for name, value in environment.items())


def _certificate(arguments: argparse.Namespace) -> int:
    for path in Authority(arguments.folder).certificate(arguments.name, arguments.days):
        output.line(f"made {path}")
    return _DONE


def _token(arguments: argparse.Namespace) -> int:
    named = arguments.operator is None
    subject, roles = (arguments.customer, _CUSTOMER_ROLES) if named else (arguments.operator, _OPERATOR_ROLES)
    authority = Authority(arguments.folder)
    if arguments.out is None:
        output.line(authority.token(subject, roles, arguments.hours))
    else:
        authority.write_token(subject, roles, arguments.hours, arguments.out)
    return _DONE


def _show(arguments: argparse.Namespace) -> int:
    return max([_shown(path) for path in arguments.files])


def _shown(path: Path) -> int:
    """Shows what a file holds; the exit status that it alone would have."""
    try:
        contents = description.described(_contents(path), utc_now(), _authority_near(path))
    except (Unknown, UnusableFile) as error:
        output.error(f"{PROGRAM}: {f'{path} {error}' if isinstance(error, Unknown) else error}")
        return _WRONG_USE
    for held in contents:
        for line in _lines(path, held):
            output.line(line)
    return _EXPIRED if any(held.is_expired for held in contents) else _DONE


def _lines(path: Path, held: Description) -> Iterator[str]:
    yield f"{path}: {held.kind}"
    yield from (f"  {name:<{_WIDTH}}{fact}" for name, fact in held.facts)


def _contents(path: Path) -> bytes:
    octets = files.read(path)
    if octets is None:
        raise UnusableFile(f"{path} is missing; name a certificate, a token or a key set")
    return octets


def _authority_near(path: Path) -> x509.Certificate | None:
    """The authority that lies beside the file or one folder above, if one does."""
    for folder in files.absolute(path).parents[:2]:
        octets = files.read(Layout(folder).ca)
        if octets is not None:
            try:
                return issuing.parsed_certificate(octets)
            except ValueError as error:
                raise UnusableFile(f"{Layout(folder).ca} {error}") from None
    return None


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog=PROGRAM,
        description="Makes and shows the identities of a system: an authority, certificates of services, and bearer"
        " tokens of customers and operators, all in one folder.",
        epilog="Exit status: 0 done, 1 something that show was given has expired, 2 wrong usage, or a file or folder"
        " that can't be used, 4 the output could not be written, 129, 130, 143 ended by a signal, 141 whoever read the"
        " output has gone.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for add in (_add_init, _add_certificate, _add_token, _add_show):
        add(commands)
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def _add_init(commands: "argparse._SubParsersAction[Parser]") -> None:
    command = _added(commands, "init", _init, "make all that is missing, and what soon expires anew")
    command.add_argument("folder", type=Path, metavar="DIR", help="a folder for this alone")
    command.add_argument(
        "--customer",
        type=_customer,
        action="append",
        dest="customers",
        metavar="NAME",
        help=f"make a token for this customer; may be repeated (default: {', '.join(CUSTOMERS)})",
    )


def _add_certificate(commands: "argparse._SubParsersAction[Parser]") -> None:
    command = _added(commands, "certificate", _certificate, "make the certificate of a service anew, with a new key")
    command.add_argument("folder", type=Path, metavar="DIR", help="the folder that init has made")
    command.add_argument(
        "name", choices=issuing.names(), metavar="NAME", help=f"for whom: {', '.join(issuing.names())}"
    )
    command.add_argument(
        "--days",
        type=_days,
        default=issuing.DAYS,
        metavar="N",
        help=f"how long it is valid (default: {issuing.DAYS}, at most {issuing.MOST_DAYS})",
    )


def _add_token(commands: "argparse._SubParsersAction[Parser]") -> None:
    command = _added(commands, "token", _token, "make a bearer token")
    command.add_argument("folder", type=Path, metavar="DIR", help="the folder that init has made")
    whom = command.add_mutually_exclusive_group(required=True)
    whom.add_argument("--customer", type=_subject, metavar="NAME", help="for this customer")
    whom.add_argument("--operator", type=_subject, metavar="NAME", help="for this operator")
    command.add_argument(
        "--hours",
        type=_hours,
        default=minting.HOURS,
        metavar="N",
        help=f"how long it is valid (default: {minting.HOURS:g}, at most {minting.MOST_HOURS:g})",
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="write it there (default: to standard output)")


def _add_show(commands: "argparse._SubParsersAction[Parser]") -> None:
    command = _added(
        commands, "show", _show, "say what certificates, tokens and key sets are, and whether they expired"
    )
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a certificate, a token or a key set")


def _added(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    work: Callable[[argparse.Namespace], int],
    summary: str,
) -> Parser:
    command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    command.set_defaults(work=work)
    return command


def _customer(text: str) -> str:
    if text == OPERATOR:
        raise argparse.ArgumentTypeError(f"{text!r} is the name of the operator's token; choose another")
    return _subject(text)


def _subject(text: str) -> str:
    try:
        return minting.checked_subject(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _days(text: str) -> int:
    try:
        return issuing.checked_days(int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be from 1 to {issuing.MOST_DAYS} days") from None


def _hours(text: str) -> float:
    try:
        return minting.checked_hours(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be more than 0 and at most {minting.MOST_HOURS:g} hours"
        ) from None
