"""Words in a log that grows: each look reads only what is new."""

from collections.abc import Sequence
from pathlib import Path

_MOST = 1_048_576  # bytes a look; the next one goes on from there


class LogWords:
    """Some words that a program may write into its log from now on."""

    def __init__(self, log: Path, words: Sequence[str]) -> None:
        """The log need not be there yet."""
        self._log = log
        self._words = [word.encode() for word in words]
        self._kept = max(map(len, self._words), default=1) - 1
        self._position = log.stat().st_size if log.exists() else 0
        self._end = b""
        """The end of what was read: a word may have been written by half."""
        self._are_there = False

    def are_there(self) -> bool:
        """True when one of them was written."""
        if not self._are_there:
            text = self._end + self._new()
            self._are_there = any(word in text for word in self._words)
            self._end = text[max(len(text) - self._kept, 0) :]
        return self._are_there

    def _new(self) -> bytes:
        try:
            with self._log.open("rb") as log:
                log.seek(self._position)
                octets = log.read(_MOST)
        except OSError:
            return b""  # there is none yet
        self._position += len(octets)
        return octets
