"""The view on a terminal: what the page shows, from the same sources, for whoever looks at this terminal.

It is a process of its own also where the launcher shows it: whatever becomes of it, the system goes on.
"""

import asyncio
import json
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from ordersys.console.interrupts import Interrupted, interrupts
from ordersys.live import drawing
from ordersys.live.drawing import State
from ordersys.live.log_warnings import LogWarnings, Warned
from ordersys.live.screen import Screen, not_stopped
from ordersys.live.serving import Look, look
from ordersys.local import state, view_pipe

_FRAME_SECONDS = 0.5
_KEYS = 0
_MOST_TOLD = 50
_LAUNCHER = "ordersys.local"


async def shown(data_dir: str | None, pipe: int | None) -> int:
    """Shows the system that is found by `data_dir` or the environment until `q` or a signal; the exit status.

    `pipe` is the descriptor by which the launcher talks to its view. Raises UsageError, InvalidSetting, and OSError
    where the terminal is gone.
    """
    looked_at = look(data_dir)
    view = _View(looked_at, pipe)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    with interrupts.cancelling(lambda: loop.call_soon_threadsafe(task.cancel) if task else None):
        try:
            sources = asyncio.create_task(looked_at.sources.run())
            try:
                await view.run(sources)
            finally:
                view.end()  # first of all: connections take their time to be closed
                sources.cancel()
                await asyncio.wait([sources])
        except (asyncio.CancelledError, Interrupted):
            return 0
    return 0


class _View:
    """The state of what is shown. Used from one event loop."""

    def __init__(self, looked_at: Look, pipe: int | None) -> None:
        self._board, self._pipe = looked_at.board, pipe
        self._screen = Screen()
        self._logs = _logs(looked_at.folder)
        self._told: deque[Warned] = deque(maxlen=_MOST_TOLD)
        self._heard = b""
        self._document: dict[str, Any] = {}
        self._number = 0
        self._link = ""
        self._shows_link = self._is_paused = self._is_over = False
        self._wanted = asyncio.Event()
        self._reading = ExitStack()
        """Counts as somebody who looks, while it is not empty."""

    async def run(self, sources: "asyncio.Task[None]") -> None:
        """Draws twice a second, until somebody ends it. Raises OSError, and whatever ends the sources."""
        with self._signals():
            while not self._is_over:
                if sources.done():
                    sources.result()
                self._take_terminal()
                await self._read()
                self._screen.draw(
                    lambda size, encoding: drawing.lines(self._document, self._state(), time.time(), size, encoding)
                )
                try:
                    async with asyncio.timeout(_FRAME_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    pass
                self._wanted.clear()

    def end(self) -> None:
        """Gives the terminal back, and reads no key any more: they are somebody else's."""
        asyncio.get_running_loop().remove_reader(_KEYS)
        self._reading.close()
        with not_stopped():
            self._screen.give_back()

    def _take_terminal(self) -> None:
        """In the background it is somebody else's: what was stopped may go on there (`bg`)."""
        if not self._screen.is_taken and self._screen.is_ours:
            self._screen.take()
            asyncio.get_running_loop().add_reader(_KEYS, self._on_keys)
            self._look(not self._is_paused)

    def _look(self, looks: bool) -> None:
        self._reading.close()
        if looks and self._screen.is_taken:
            self._reading.enter_context(self._board.reader())

    async def _read(self) -> None:
        if self._is_paused or not self._screen.is_taken:
            return
        change = await self._board.after(self._number, 0.0)
        self._number = change.number
        self._document.update(change.sections)

    def _state(self) -> State:
        of_logs = self._logs.newest() if self._logs else ()
        warnings = sorted([*of_logs, *self._told], key=lambda warned: warned.time)
        knows_logs = self._logs is not None
        return State(warnings, knows_logs, self._is_paused, self._link, self._shows_link, self._pipe is not None)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Another size, the launcher's words, and Ctrl-Z: where there is a launcher, that passes it on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGWINCH, signal.SIGCONT):
            loop.add_signal_handler(number, self._wanted.set)
        loop.add_signal_handler(signal.SIGQUIT, self._quit)
        if self._pipe is None:
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        else:
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
            os.set_blocking(self._pipe, False)
            loop.add_reader(self._pipe, self._on_launcher, self._pipe)
        try:
            yield
        finally:
            if self._pipe is not None:
                loop.remove_reader(self._pipe)

    def _quit(self) -> None:
        """Ctrl-\\, which would leave the terminal as it is."""
        self._is_over = True
        self._wanted.set()

    def _on_keys(self) -> None:
        try:
            keys = os.read(_KEYS, 64).decode(errors="replace")
        except OSError:
            keys = ""
        if not keys:  # in the background, or gone; what is gone says so by SIGHUP
            asyncio.get_running_loop().remove_reader(_KEYS)
        for key in keys:
            self._press(key)
        self._wanted.set()

    def _press(self, key: str) -> None:
        if key in "qQ":
            self._is_over = True
        elif key in "pP":
            self._is_paused = not self._is_paused
            self._look(not self._is_paused)
        elif key in "oO":
            self._shows_link = not self._shows_link

    def _on_launcher(self, pipe: int) -> None:
        """A line of the launcher for each thing it says; its end is that of the view."""
        octets = os.read(pipe, 65_536)
        self._is_over = self._is_over or not octets
        *whole, self._heard = (self._heard + octets).split(b"\n")
        for line in whole:
            self._hear(json.loads(line))
        self._wanted.set()

    def _hear(self, told: dict[str, Any]) -> None:
        self._link = str(told.get(view_pipe.LINK, self._link))
        if view_pipe.LINE in told:
            self._told.append(Warned(time.time(), _LAUNCHER, str(told[view_pipe.LINE])))
        if view_pipe.SUSPEND in told:
            self._suspend()

    def _suspend(self) -> None:
        """Gives the terminal back, and stops until somebody has it go on."""
        self.end()
        os.kill(os.getpid(), signal.SIGSTOP)


def _logs(folder: str) -> LogWarnings | None:
    """The logs of the system that runs with the folder; None where none is named."""
    if not folder:
        return None
    try:
        since = psutil.Process(state.running(folder).pid).create_time()
    except (state.NotRunning, psutil.Error):
        return None
    return LogWarnings(Path(folder) / "log", since)
