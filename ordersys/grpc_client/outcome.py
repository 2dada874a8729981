"""The end of a command: its exit status, and the form of an error for programs. Imports nothing that takes time."""

from collections.abc import Mapping, Sequence

from ordersys.console import output
from ordersys.console.parser import UsageError

JSON, JSONL = "json", "jsonl"
DONE, REFUSED, WRONG_USE, NOT_REACHABLE = range(4)
EXIT_STATUSES: Mapping[str, str] = {
    "0": "done",
    "1": "refused by the system",
    "2": "wrong usage",
    "3": "a service does not answer, or an outcome is open",
    "4": "the output could not be written",
    "130": "interrupted (Ctrl-C)",
    "129, 143": "ended by SIGHUP, SIGTERM",
    "141": "whoever read the output has gone",
}


class NotRunning(UsageError):
    """No system runs with the folder that was named."""


class Stopped(Exception):
    """A signal ended the command; the text says what has to be known about it, empty where that is nothing."""


def error(
    code: str,
    reason: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    details: Sequence[object] | None = None,
) -> dict[str, object]:
    """The form every error has for programs, whoever found it."""
    return {
        "error": {
            "code": code,
            "reason": reason,
            "message": message,
            "metadata": metadata or {},
            "details": details or [],
        }
    }


def say(form: str, error: dict[str, object], text: str, status: int) -> int:
    """Tells an error where its reader looks: programs find it where they would find the answer."""
    if form in (JSON, JSONL):
        output.document(error)
    else:
        output.flush()
        output.error(text)
    return status
