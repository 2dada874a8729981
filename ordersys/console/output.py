"""Standard output and standard error: whatever is written is safe for a terminal, and failing to write is an outcome.

Nothing that others wrote reaches a terminal as a command. What the output's encoding lacks is written as an escape.
A command calls `prepare` first of all, and is run by `finish`, which knows the exit status of each outcome.
"""

import errno
import json
import os
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from ordersys.console.interrupts import Interrupted, interrupts

FAILED = 4
"""The exit status of a command whose output could not be written: what was asked may have been done."""
CLOSED = 141
"""128 + SIGPIPE, as other programs end whose reader has gone."""
_OUTPUT = 1
_STANDARD = 2
"""The last file descriptor that has a meaning: standard error."""


class OutputClosed(Exception):
    """The reader of the output has gone, as `head` does when it has enough."""


class OutputFailed(Exception):
    """The output can't be written; the text says why."""


def prepare() -> Sequence[int]:
    """Makes standard output and error writable without surprises; the descriptors that were closed.

    To be called once, before anything is opened.
    """
    closed = _fill_closed()
    for stream in (sys.stdout, sys.stderr):
        # Not "surrogateescape", which the POSIX locale brings: it would let raw bytes through.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        # A pipe that its other owner has set not to block would end a large listing in the middle.
        os.set_blocking(stream.fileno(), True)
    return closed


def finish(program: str, work: Callable[[], int]) -> NoReturn:
    """Does `work` and exits with what it returns, once all it has written is out.

    Exits with 4 and one line when that can't be written, with 141 when its reader has gone, and with 128 + the signal
    after one that nobody has taken for an answer.
    """
    try:
        status = _status(work)
        flush()
    except OutputClosed:
        status = CLOSED
        drop()
    except OutputFailed as failed:
        error(f"{program}: the output can't be written: {failed}")
        status = FAILED
        drop()
    except Interrupted:
        status = interrupts.exit_status
        drop()
    sys.exit(status)


def _status(work: Callable[[], int]) -> int:
    """The status that `work` returns, or that with which it exits, as `argparse` does after --help."""
    try:
        return work()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        raise


def line(text: str) -> None:
    """A line of standard output. Raises OutputClosed, OutputFailed."""
    write(shown(text) + "\n")


def document(value: object) -> None:
    """A JSON document, in ASCII, on a line of its own. Raises OutputClosed, OutputFailed."""
    write(json.dumps(value, allow_nan=False) + "\n")


def write(text: str) -> None:
    """Our own `text` as it is, control characters included. Raises OutputClosed, OutputFailed."""
    try:
        with interrupts.blocking():
            sys.stdout.write(text)
    except OSError as error:
        raise _gone(error) from error


def flush() -> None:
    """Everything written so far is out. Raises OutputClosed, OutputFailed."""
    try:
        with interrupts.blocking():
            sys.stdout.flush()
    except OSError as error:
        raise _gone(error) from error


def error(text: str) -> bool:
    """A line of standard error; false when its reader has just gone. Where it can't be written nobody can be told."""
    return errors(shown(text) + "\n")


def errors(text: str) -> bool:
    """Our own `text` as it is, on standard error; false when its reader has just gone."""
    try:
        with interrupts.blocking():
            sys.stderr.write(text)
            sys.stderr.flush()
    except OSError as error:
        _drop(sys.stderr)
        return not isinstance(error, BrokenPipeError)
    return True


def drop() -> None:
    """Forgets what could not be written, so that the interpreter does not try once more when it ends."""
    _drop(sys.stdout)


def drop_errors() -> None:
    """Forgets what could not be written to standard error, and writes nothing there any more."""
    _drop(sys.stderr)


def resume(terminal: int) -> None:
    """Has the terminal of that descriptor go on, if somebody has stopped it (Ctrl-S)."""
    with suppress(termios.error):
        # The one undoes the other alone: what a key has stopped goes on only when it was stopped by a call, too.
        termios.tcflow(terminal, termios.TCOOFF)
        termios.tcflow(terminal, termios.TCOON)


def shown(text: str) -> str:
    """Foreign text, made fit for a terminal: what commands it, or turns its direction, is spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def width() -> int | None:
    """The columns of the terminal; None where the output is none, or its width is unknown: nothing is folded."""
    if not sys.stdout.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and 0 < len(columns) < 5:  # noqa: PLR2004 - digits of a width
        return int(columns) or None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def moves(stream: TextIO) -> bool:
    """True where a line of `stream` can be written over: a terminal that knows how."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _fill_closed() -> Sequence[int]:
    """Opens what was closed (`>&-`) on the null device: a connection would get its number and the output with it.

    Standard output for reading alone: whatever is written there fails as on a closed one, and is not taken for said.
    """
    closed = []
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD:
        os.set_inheritable(descriptor, True)  # as the others are, for programs that are started
        closed.append(descriptor)
    os.close(descriptor)
    if _OUTPUT in closed:
        unwritable = os.open(os.devnull, os.O_RDONLY)
        os.dup2(unwritable, _OUTPUT)
        os.close(unwritable)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a descriptor, until the process ends
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - a descriptor, until the process ends
    return closed


def _gone(error: OSError) -> OutputClosed | OutputFailed:
    if isinstance(error, BrokenPipeError):
        return OutputClosed()
    return OutputFailed("it is closed" if error.errno == errno.EBADF else error.strerror or "")


def _drop(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
