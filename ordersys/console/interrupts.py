"""SIGINT, SIGTERM and SIGHUP end a command with 128 + the signal, and never with a traceback.

Until something is under way they end it at once. From then on the first one cancels the command, which may still say
how far it came, or what it has started is ended first; SIGHUP comes when its terminal is closed.

Imports nothing beyond the interpreter's own modules: it is loaded before anything that takes time.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Timer, current_thread, main_thread
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BASE = 128
_AGAIN_SECONDS = 0.05


class Interrupted(BaseException):
    """A signal came while the process waited for the other end of a pipe, or did what a signal interrupts."""


class Interrupts:
    """The signals of a process while a command is under way."""

    def __init__(self) -> None:
        self._number = 0
        self._cancel: Callable[[], object] | None = None
        self._blocking = False
        self._holding = False
        self._is_held = False

    @property
    def exit_status(self) -> int:
        """The one of the signal that came, 0 when none did."""
        return _BASE + self._number if self._number else 0

    @contextmanager
    def cancelling(self, cancel: Callable[[], object]) -> Iterator[None]:
        """The first signal calls `cancel`, from a signal handler; the next one ends the process."""
        self._cancel = cancel
        try:
            with _handled_by(self._handle):
                yield
        finally:
            self._cancel = None

    @contextmanager
    def raising(self) -> Iterator[None]:
        """The first signal raises Interrupted in the main thread, whatever that does; later ones do nothing.

        A terminal that closes sends several, and what has to be ended is being ended by then.
        """
        before = sys.unraisablehook
        sys.unraisablehook = partial(self._come_again, before)
        try:
            with _handled_by(self._raise_once):
                yield
        finally:
            sys.unraisablehook = before

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """A write may wait for ever for its reader, a read for its writer: a signal raises Interrupted."""
        self._blocking = True
        try:
            yield
        finally:
            self._blocking = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Work that may not end half done, and takes no time: a signal raises Interrupted when it is over.

        Such as a call of a library that takes a lock, which an exception would leave locked.
        """
        if self._holding or current_thread() is not main_thread():  # signals are handled in that one
            yield
            return
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._is_held:
                self._is_held = False
                raise Interrupted

    def _raise_once(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            return
        self._number = number
        if self._holding:
            self._is_held = True
        else:
            raise Interrupted

    def _come_again(
        self, otherwise: "Callable[[sys.UnraisableHookArgs], object]", dropped: "sys.UnraisableHookArgs"
    ) -> None:
        """Has a signal come again soon: Python drops what is raised while it clears something away."""
        if not issubclass(dropped.exc_type, Interrupted):
            otherwise(dropped)
            return
        number, self._number = self._number, 0
        # Not from here: what a handler raises within this hook is dropped as well.
        timer = Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        cancel = self._cancel
        if self._number or cancel is None:
            _end(number, frame)
            return
        self._number = number
        if self._blocking:
            raise Interrupted
        cancel()


def end_at_once() -> None:
    """From now on a signal ends the process, quietly."""
    for number in _wanted():
        signal.signal(number, _end)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Has `handler` take the signals meanwhile, and whoever took them before afterwards."""
    before = {number: signal.signal(number, handler) for number in _wanted()}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _wanted() -> Iterator[signal.Signals]:
    """A signal that whoever started the process has ignored (nohup, a shell's background job) stays ignored."""
    return (number for number in _SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None))


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(_BASE + number)


interrupts = Interrupts()
"""Those of this process."""
