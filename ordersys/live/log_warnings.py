"""Warnings and errors of the processes of a system, read on from the logs in its folder: one JSON object a line."""

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ordersys.console.opening import open_regular

_LEVELS = ("warning", "error", "critical")
_MOST_BYTES = 65_536
"""So much of the end of a log is read at a time: more than a terminal shows, however fast it grows."""
_KEPT = 50


class Warned(NamedTuple):
    """A line of a log. `time` is seconds since 1970, `source` the process that wrote it."""

    time: float
    source: str
    text: str


class LogWarnings:
    """The warnings in the logs of a folder since a moment, in seconds since 1970: others are of an earlier run."""

    def __init__(self, folder: Path, since: float) -> None:
        self._folder, self._since = folder, since
        self._read_to: dict[Path, int] = {}
        self._newest: deque[Warned] = deque(maxlen=_KEPT)

    def newest(self) -> Sequence[Warned]:
        """Reads on; the newest warnings, the latest last. A log that can't be read is passed over."""
        fresh = [warned for log in sorted(self._folder.glob("*.log")) for warned in self._fresh(log)]
        if fresh:
            self._newest = deque(sorted([*self._newest, *fresh], key=lambda warned: warned.time), _KEPT)
        return self._newest

    def _fresh(self, log: Path) -> Iterator[Warned]:
        try:
            octets = self._lines(log)
        except OSError:
            return
        for line in octets.splitlines():
            warned = _warned(line, log.stem)
            if warned is not None and warned.time >= self._since:
                yield warned

    def _lines(self, log: Path) -> bytes:
        """The whole lines that were added; a log that was cut or replaced is read from its end. Raises OSError."""
        descriptor = open_regular(log, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            before = self._read_to.get(log, 0)
            begin = max(before if before <= size else 0, size - _MOST_BYTES)
            octets = os.pread(descriptor, size - begin, begin)
        finally:
            os.close(descriptor)
        whole = octets.rfind(b"\n") + 1
        self._read_to[log] = begin + (whole if whole or len(octets) < _MOST_BYTES else len(octets))
        return octets[:whole]


def _warned(line: bytes, source: str) -> Warned | None:
    if b'"level": "info"' in line[:200]:  # nearly all are: these need not be decoded
        return None
    try:
        entry = json.loads(line)
        if entry["level"] not in _LEVELS:
            return None
        return Warned(datetime.fromisoformat(entry["time"]).timestamp(), source, str(entry["message"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None  # of another program, or the first half of a line
