"""The log of a process: one JSON object a line on standard output, whatever its texts hold and whoever reads it.

As long as somebody reads, a line is written when the call that logs it returns: a crash loses none. A reader that is
gone, one that has stopped, a full disk or a closed output never raise, end the service or hold up its event loop: up to
1 MiB of lines wait in memory, and what comes then is dropped. Standard error says so, in one line each time it begins.

A write costs more than the line it writes, and a record more than its text: whoever logs many at once does so inside
`together()`, and where all are alike by `info_each()`.
"""

import errno
import json
import logging
import math
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TypeAlias

_OUTPUT, _ERRORS = 1, 2
# Longer texts lose their middle: what something was is told at its beginning, why it failed at its end.
_MAX_CHARACTERS = 16_384
_MAX_LINE = 262_144  # bytes: of a longer line only the message is left, and how much was left out
_MAX_DEPTH = 8  # of nested values: deeper is an accident, or an attack on the formatter
# Beyond it (some 300 digits) readers of JSON take an integer for infinity, and Python refuses to write it in digits.
_MAX_BITS = 1023
_MAX_WAITING = 1_048_576  # bytes for a reader that is slow; then lines are dropped, and counted
_MANY = 65_536  # bytes of lines logged together: so many are written before there are more
# What may be better a second later; anything else that a write fails with lasts.
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOBUFS, errno.ENOMEM)
_RETRY_SECONDS = 1.0
_DRAIN_SECONDS = 0.01  # between tries while a pipe is full
_FLUSH_SECONDS = 1.0

Entry: TypeAlias = tuple[str, Mapping[str, object]]
"""A message, and the fields that stand beside it."""


def configure(service: str, level: str, closed: Collection[int] = ()) -> None:
    """Has this process log to standard output, from `level` on. Called once, before anything is opened.

    `closed` are the descriptors that were closed when it was started; /dev/null has to be in their place by now.
    """
    handler = LineHandler(service, _OUTPUT, _ERRORS)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if _OUTPUT in closed:
        handler.complain("standard output is closed: nothing is logged")


@contextmanager
def together() -> Iterator[None]:
    """Has all lines that this process logs meanwhile written at the end of it. Nothing is to be waited for inside."""
    with ExitStack() as stack:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, LineHandler):
                stack.enter_context(handler.together())
        yield


def info_each(logger: logging.Logger, entries: Sequence[Entry]) -> None:
    """Logs each entry as `logger.info(message, extra={"fields": fields})` does, all as of now, with one write.

    The handlers of this module need no record for that, which costs more than the line; any other is given one.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    at = time.time()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.info_each(entries, at)
        elif handler.level <= logging.INFO:
            for message, fields in entries:
                extra = {"fields": fields}
                handler.handle(
                    logger.makeRecord(logger.name, logging.INFO, __file__, 0, message, (), None, extra=extra)
                )


class LineHandler(logging.Handler):
    """Writes each record as a line to a file descriptor; says on another one when that does not work."""

    def __init__(self, service: str, output: int, errors: int) -> None:
        super().__init__()
        self._lines = JsonLines(service)
        self._errors = errors
        self._writer = LineWriter(output, self._notice, self.complain)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line, or drops it; never raises, never waits."""
        self._writer.write(self._lines.format(record))

    def info_each(self, entries: Sequence[Entry], at: float) -> None:
        """Writes a line for each entry, as of the moment `at`."""
        with self.together():
            for line in self._lines.each("info", at, entries):
                self._writer.write(line)

    def together(self) -> AbstractContextManager[None]:
        """Writes what is logged meanwhile at the end of it."""
        return self._writer.held()

    def flush(self) -> None:
        """Waits a second at most for a slow reader; at exit this is the last chance of what waits."""
        self._writer.flush(_FLUSH_SECONDS)

    def _notice(self, message: str) -> str:
        return self._lines.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None))

    def complain(self, message: str) -> None:
        """Puts one line on standard error, where somebody reads that."""
        ready = select.poll()
        ready.register(self._errors, select.POLLOUT)
        with suppress(OSError):  # there is nobody left to tell
            if ready.poll(0):
                os.write(self._errors, f"{self._notice(message)}\n".encode("ascii")[: select.PIPE_BUF])


class LineWriter:
    """Writes lines to a file descriptor without ever waiting for whoever reads it. Used from any thread.

    `notice` makes a line out of a message of this class; `complain` is told once each time that lines begin to be lost.
    """

    def __init__(self, descriptor: int, notice: Callable[[str], str], complain: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._complain = complain
        self._ready = self._poll()
        self._lock = threading.RLock()
        self._at_once = _at_once(descriptor)
        self._holders = 0
        self._waiting = bytearray()
        self._dropped = 0
        self._gone = False
        self._troubled = False
        self._drainer: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Writes a line in ASCII behind those that wait; drops it where too much waits, or nobody will ever read it."""
        data = f"{line}\n".encode("ascii")
        with self._lock:
            if self._gone:
                return
            if len(self._waiting) + len(data) > _MAX_WAITING:
                self._drop()
            else:
                self._waiting += data
            if not self._holders or len(self._waiting) > _MANY:
                self._go()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Writes what is handed in meanwhile at the end of it, or as soon as that is much."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                self._go()

    def flush(self, seconds: float) -> None:
        """Returns when nothing waits any more, or after `seconds`."""
        until = time.monotonic() + seconds
        ready = self._poll()
        while (left := until - time.monotonic()) > 0:
            with self._lock:
                if self._push() or self._troubled:
                    return
            ready.poll(left * 1000)

    def _poll(self) -> select.poll:
        # One per thread: an object that polls must not be asked by another one meanwhile.
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        return ready

    def _drain(self) -> None:
        """Writes what waits as its reader takes it, in a thread of its own that ends with the last of it."""
        ready, pause = self._poll(), threading.Event()
        while True:
            ready.poll()
            with self._lock:
                if self._push():
                    self._drainer = None
                    return
                troubled = self._troubled
            pause.wait(_RETRY_SECONDS if troubled else _DRAIN_SECONDS)

    def _go(self) -> None:
        """Writes what waits; has a thread write what can't be written now."""
        if not self._gone and not self._push() and self._drainer is None:
            self._drainer = threading.Thread(target=self._drain, name="log", daemon=True)
            self._drainer.start()

    def _push(self) -> bool:
        """Writes what can be written at once; whether nothing is left."""
        try:
            while self._waiting and self._ready.poll(0):
                written = os.write(self._descriptor, self._waiting[: self._next()])
                del self._waiting[:written]
                self._troubled = False
                if not self._waiting and self._dropped:
                    self._own_up()
        except BlockingIOError:
            pass  # somebody else has filled it between the two calls, and made it one that does not block
        except OSError as error:
            self._fail(error)
        return not self._waiting

    def _next(self) -> int:
        """The number of bytes to write next: whole lines, unless one alone is too long."""
        if len(self._waiting) <= self._at_once:
            return len(self._waiting)
        return self._waiting.rfind(b"\n", 0, self._at_once) + 1 or self._at_once

    def _own_up(self) -> None:
        lost, self._dropped = self._dropped, 0
        self._waiting += f"{self._notice(f'{lost} lines of this log were dropped here')}\n".encode("ascii")

    def _drop(self) -> None:
        if not self._dropped and not self._troubled:
            self._complain("whoever reads this log has stopped: lines are dropped until that goes on")
        self._dropped += 1

    def _fail(self, error: OSError) -> None:
        if error.errno not in _PASSING:
            self._gone = True
            self._waiting.clear()
            self._complain(f"nobody reads this log any more ({error.strerror}): nothing more is logged")
        elif not self._troubled:
            self._troubled = True
            self._complain(f"this log can't be written ({error.strerror}): lines are kept or dropped until it can")


def _at_once(descriptor: int) -> int:
    """The number of bytes that can be written in one go without blocking, and without being torn by another process.

    A pipe that is ready takes select.PIPE_BUF bytes without blocking, and undivided; a file takes any number.
    """
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return _MAX_WAITING
    return select.PIPE_BUF


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII, whatever the text holds: a log that stays parsable."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line; never raises, and is never longer than 256 KiB.

        Fields given as `extra={"fields": {…}}` stand beside the message; one that has the name of a part of every
        line gets an underscore.
        """
        message = _message(record)
        given = record.__dict__.get("fields", {})
        fields = given if isinstance(given, Mapping) else {"fields": given}
        start = self._start(record.levelname.lower(), record.created)
        return _line(start, message, fields, self._error(record))

    def each(self, level: str, at: float, entries: Iterable[Entry]) -> Iterator[str]:
        """The line of each entry, as of one moment."""
        start = self._start(level, at)
        return (_line(start, message, fields) for message, fields in entries)

    def _error(self, record: logging.LogRecord) -> str | None:
        try:
            return self.formatException(record.exc_info) if record.exc_info else None
        except Exception as failure:  # noqa: BLE001 - an exception that can't be shown is still one
            return f"(unreadable: {type(failure).__name__})"

    def _start(self, level: str, at: float) -> str:
        """The beginning of a line, up to the message."""
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        return _JSON({"time": moment, "level": level, "service": self._service})[:-1] + ", "


def _line(start: str, message: str, fields: Mapping[str, object], error: str | None = None) -> str:
    """A line: `start`, then the message and its fields."""
    try:
        line = start + _JSON(_content(message, fields, error))[1:]
    except Exception as failure:  # noqa: BLE001 - whatever somebody's __str__ raises: an event is never lost for its words
        line = start + _JSON({"message": f"{_short(message)} (unreadable: {type(failure).__name__})"})[1:]
    if len(line) > _MAX_LINE:
        line = start + _JSON({"message": _short(message), "left_out": len(line)})[1:]
    return line


def _content(message: str, fields: Mapping[str, object], error: str | None) -> dict[str, object]:
    content: dict[str, object] = {"message": _short(message)}
    if error is not None:
        content["error"] = _short(error)
    for name, value in fields.items():
        key = name if type(name) is str and len(name) <= _MAX_CHARACTERS else _short(_text_of(name))
        while key in content or key in _OWN:
            key += "_"
        content[key] = value if type(value) is str and len(value) <= _MAX_CHARACTERS else _plain(value)
    return content


_JSON = json.JSONEncoder(allow_nan=False).encode  # made once: json.dumps would make an encoder for each line
_OWN = frozenset({"time", "level", "service", "message", "error"})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments that do not fit, or raise when they are shown
        return f"{_text_of(record.msg)} (its arguments can't be shown: {type(error).__name__})"


def _text_of(value: object) -> str:
    """A text for anything, also for what raises when it is shown."""
    try:
        return repr(value) if isinstance(value, bytes | bytearray) else str(value)
    except Exception:  # noqa: BLE001 - its type is all that can be told of it
        return f"<{type(value).__name__}>"


def _short(text: str) -> str:
    over = len(text) - _MAX_CHARACTERS
    if over <= 0:
        return text
    half = _MAX_CHARACTERS // 2
    return f"{text[:half]} … {over} characters left out … {text[-half:]}"


def _plain(value: object, depth: int = 0) -> object:
    """A value as JSON has it: what JSON has no form for becomes its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MAX_BITS else hex(value)[:_MAX_CHARACTERS]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        return {_short(_text_of(name)): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_plain(inner, depth + 1) for inner in value]
    return _short(_text_of(value))
