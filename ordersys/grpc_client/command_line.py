"""The command line: reads what is typed, runs one command, and ends with its exit status.

What needs no service – help, version, completion, wrong usage – is done before gRPC is imported.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.console.parser import UsageError
from ordersys.grpc_client import arguments as typed
from ordersys.grpc_client import completion, outcome, parser

INSTALLED = "ordersys"


def main() -> NoReturn:
    """Runs one command and exits as `outcome.EXIT_STATUSES` says. To be called behind `output.prepare`."""
    program = INSTALLED if Path(sys.argv[0]).name == INSTALLED else parser.MODULE
    output.finish(program, lambda: run(program, sys.argv[1:]))


def run(program: str, words: Sequence[str]) -> int:
    """Runs the command that `words` are; its exit status."""
    form = parser.wanted_form(words)
    try:
        return _command(program, words)
    except outcome.NotRunning as error:
        report = outcome.error("UNAVAILABLE", "NOT_RUNNING", str(error))
        return outcome.say(form, report, f"{program}: {error}", outcome.NOT_REACHABLE)
    except UsageError as error:
        report = outcome.error("INVALID_ARGUMENT", "WRONG_USAGE", str(error))
        return outcome.say(form, report, f"{program}: {error}", outcome.WRONG_USE)
    except outcome.Stopped as stopped:
        if not str(stopped):
            return interrupts.exit_status
        report = outcome.error("CANCELLED", "INTERRUPTED", str(stopped))
        return outcome.say(form, report, str(stopped), interrupts.exit_status)


def _command(program: str, words: Sequence[str]) -> int:
    commands = parser.build(program)
    if not words:
        commands.print_help()
        return outcome.DONE
    if words[0] == "completion" and words[1:2] == ["words"]:
        return completion.show_words(commands, words[2:])
    if words[0] == "help":  # typed by many, as other programs have it
        words = [*(word for word in words[1:] if word != "help"), "--help"]
    arguments = parser.parse(commands, typed.decoded(words))
    if arguments.command == "completion":
        return completion.show_script(arguments.shell)
    if arguments.command == "doctor":
        from ordersys.grpc_client import doctor  # noqa: PLC0415 - takes time

        return doctor.doctor(arguments)
    if arguments.command == "trace":
        with _importing():
            from ordersys.grpc_client import trace  # noqa: PLC0415 - takes time
        return trace.trace(arguments)
    with _importing():
        from ordersys.grpc_client import session  # noqa: PLC0415 - takes most of the time of a short command
    return session.run(arguments)


@contextmanager
def _importing() -> Iterator[None]:
    """Raises UsageError where what is imported can't be."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is missing: this installation is not complete; `doctor` says more") from error
    except Exception as error:  # whatever grpcio and protobuf refuse stubs of a newer generator with
        raise UsageError(
            f"this installation can't be used: {' '.join(str(error).split())}; `doctor` says more"
        ) from error
