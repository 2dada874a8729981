"""The view that the launcher shows on its terminal: a process of its own, so that nothing that it does ends the system.

It has the terminal while it runs. When it ends, however it does, the terminal is given back as it was.
"""

import json
import os
import signal
import subprocess
import termios
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import psutil

from ordersys.console import output
from ordersys.console.interrupts import interrupts
from ordersys.console.opening import open_regular
from ordersys.local import view_pipe
from ordersys.local.child import last_lines
from ordersys.local.display import Display
from ordersys.local.service import ours

LOG = "terminal.log"
_KEYS = 0
_WITHOUT_ANOTHER_SCREEN = ("", "dumb", "unknown", "linux", "vt52", "vt100", "vt220", "cons25")
"""Terminals, by TERM, that would lose what they show, the addresses among it, when a view takes them."""
_LEAVE = "\x1b[?1049l\x1b[?25h\x1b[0m"
"""The screen of before, the cursor, and no colour (ECMA-48, xterm)."""
_STOP_SECONDS = 2.0
_SUSPEND_SECONDS = 1.0
_POLL_SECONDS = 0.02
_KEPT = 200


def can_show() -> bool:
    """True where somebody sits at a terminal that has another screen to give, with this process in its foreground."""
    if os.environ.get("TERM", "") in _WITHOUT_ANOTHER_SCREEN:
        return False
    with suppress(OSError):
        return all(os.isatty(number) for number in (0, 1, 2)) and os.tcgetpgrp(_KEYS) == os.getpgrp()
    return False


class TerminalView:
    """The view of a system, while the context is open: it ends with that, or before by `q` or by a fault of its own.

    Lines for whoever watches go to the view while it is shown, and are printed when it has ended.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], link: str, display: Display) -> None:
        """`environment` holds what the view inherits; `link` is the address of the page, empty where there is none."""
        self._folder, self._environment, self._link, self._display = folder, environment, link, display
        self._log = folder / "log" / LOG
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._kept: deque[str] = deque(maxlen=_KEPT)
        self._before: list[Any] = []
        self._on_stop: Any = signal.SIG_DFL

    def __enter__(self) -> "TerminalView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            self._take_back(process)

    def start(self) -> None:
        """Starts it. Where it can't be, one line says so."""
        try:
            self._before = termios.tcgetattr(_KEYS)
            self._start()
        except (OSError, termios.error) as error:
            self._display.line(f"the view can't be shown: {error.args[-1]}; everything runs without it")

    def line(self, text: str) -> None:
        """Shows a line: in the view as long as there is one."""
        if self._process is None:
            self._display.line(text)
        else:
            self._kept.append(text)
            self._tell({view_pipe.LINE: text})

    def watch(self) -> None:
        """Takes the terminal back from a view that has ended, and says so; to be called now and then."""
        process = self._process
        if process is None or _is_running(process):
            return
        self._take_back(process)
        if process.returncode:
            reason = (self._complaint() or f"status {process.returncode}").rstrip(".")
            self._display.line(f"the view has ended ({reason}); everything runs on, Ctrl-C stops it (log: {self._log})")
        else:
            self._display.line("The view is closed, and everything runs on; Ctrl-C stops it.")

    def _start(self) -> None:
        command = [*ours("live"), "--terminal", "--data-dir", str(self._folder)]
        theirs, self._pipe = os.pipe()
        try:
            log = open_regular(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            try:
                self._process = subprocess.Popen(
                    [*command, "--pipe", str(theirs)], env=self._environment, stderr=log, pass_fds=[theirs]
                )
            finally:
                os.close(log)
        finally:
            os.close(theirs)
        os.set_blocking(self._pipe, False)
        self._on_stop = signal.signal(signal.SIGTSTP, self._suspend)
        self._tell({view_pipe.LINK: self._link})

    def _tell(self, words: Mapping[str, object]) -> None:
        with suppress(OSError):  # it has ended, or takes nothing: what was said is printed when it has
            os.write(self._pipe, (json.dumps(words) + "\n").encode())

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: stops when the view has given the terminal back, since a shell takes that at once."""
        process = self._process
        if process is not None and _is_running(process):
            self._tell({view_pipe.SUSPEND: True})
            until = time.monotonic() + _SUSPEND_SECONDS
            while time.monotonic() < until and not _is_stopped(process.pid):
                time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGSTOP)
        if process is not None and _is_running(process):
            with interrupts.holding():
                process.send_signal(signal.SIGCONT)

    def _take_back(self, process: "subprocess.Popen[bytes]") -> None:
        """The terminal as it was before, whether the view has come to that or not; then what was said meanwhile."""
        process.kill()
        process.wait()
        self._process = None
        signal.signal(signal.SIGTSTP, self._on_stop)
        os.close(self._pipe)
        with suppress(OSError, termios.error):
            # A view sets the terminal back last of all; another time would move the cursor to where it was then.
            if termios.tcgetattr(_KEYS) != self._before and os.tcgetpgrp(_KEYS) == os.getpgrp():
                output.resume(_KEYS)  # Ctrl-S would keep the shell on the view's screen
                self._display.command(_LEAVE)
                termios.tcsetattr(_KEYS, termios.TCSANOW, self._before)
        for text in self._kept:
            self._display.line(text)
        self._kept.clear()

    def _complaint(self) -> str:
        lines = [line for line in last_lines(self._log) if line.strip()]
        return lines[-1].strip() if lines else ""


def _is_running(process: "subprocess.Popen[bytes]") -> bool:
    with interrupts.holding():  # an exception in its midst would leave a lock of the process locked
        return process.poll() is None


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
    except psutil.Error:
        return True
