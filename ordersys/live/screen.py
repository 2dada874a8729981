"""A terminal while a view has it: its alternate screen without a cursor, its keys one by one; given back as it was.

It is never waited for: of one that takes nothing (Ctrl-S, a connection that is gone) frames are left out. Of one that
takes no more in the midst of a frame, that frame waits, until a signal cuts it off.
"""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.live.drawing import Size

_KEYS, _FRAMES = 0, 1
_USUAL = Size(80, 24)
_GIVE_UP_MILLISECONDS = 500
_LEAVE = b"\x1b[?1049l\x1b[?25h\x1b[0m"
"""The screen of before, the cursor, and no colour (ECMA-48, xterm)."""


@contextmanager
def not_stopped() -> Iterator[None]:
    """Meanwhile the terminal may be written to and set from the background, as somebody does who gives it back."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTOU, signal.SIGTTIN)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Screen:
    """The terminal of standard input and output. Not taken until `take`."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, force_terminal=True, force_interactive=True, highlight=False)
        self._live: Live | None = None
        self._before: list[int | list[bytes | int]] = []
        self._is_cut = False
        """True while something is written, and from then on if that was cut off."""

    @property
    def is_taken(self) -> bool:
        """True while the view is on it."""
        return self._live is not None

    @property
    def is_ours(self) -> bool:
        """True where this process is in the foreground of its terminal."""
        with suppress(OSError):
            return os.tcgetpgrp(_KEYS) == os.getpgrp()
        return False

    def take(self) -> None:
        """Takes the terminal. Raises OSError where it is gone, Interrupted."""
        try:
            self._before = termios.tcgetattr(_KEYS)
            tty.setcbreak(_KEYS, termios.TCSANOW)
        except termios.error as error:
            raise OSError(*error.args) from error
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        with self._cut_by_signals():
            self._live.start()

    def draw(self, lines: Callable[[Size, str], Sequence[Text]]) -> None:
        """Shows these lines, which are made for its size and encoding as they are now. Raises OSError, Interrupted."""
        if self._live is None or not _takes(0):
            return
        self._console.size = size = _size()
        frame = Group(*lines(size, self._console.encoding))
        with self._cut_by_signals():
            self._live.update(frame, refresh=True)

    def give_back(self) -> None:
        """Leaves the terminal as it was. Never raises: one that is gone needs nothing."""
        live, self._live = self._live, None
        if live is None:
            return
        output.resume(_FRAMES)  # Ctrl-S would keep the shell on this screen, without a cursor
        with suppress(OSError):
            if _takes(_GIVE_UP_MILLISECONDS):
                if self._is_cut:
                    os.write(_FRAMES, _LEAVE)
                else:
                    live.stop()
        if self._is_cut:
            output.drop()  # the rest of the frame is in a buffer, and the last write of all would wait with it
        with suppress(termios.error):
            termios.tcsetattr(_KEYS, termios.TCSANOW, self._before)

    @contextmanager
    def _cut_by_signals(self) -> Iterator[None]:
        """A signal raises Interrupted meanwhile: a write to a terminal that takes no more goes on after any other."""
        self._is_cut = True
        with interrupts.blocking():
            yield
        self._is_cut = False


def _takes(milliseconds: int) -> bool:
    ready = select.poll()
    ready.register(_FRAMES, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in ready.poll(milliseconds))


def _size() -> Size:
    with suppress(OSError):
        columns, rows = os.get_terminal_size(_FRAMES)
        if columns and rows:
            return Size(columns, rows)
    return _USUAL
