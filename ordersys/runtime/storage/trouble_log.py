"""Trouble with a database, as the log tells it: when it begins, every 30 s, and when it is over."""

import logging
import time

_log = logging.getLogger(__name__)
_SAY_AGAIN_SECONDS = 30.0
_QUIET_SECONDS = 3.0
_MOST_TEXTS = 16


class TroubleLog:
    """The trouble of one database. Not safe for several threads: for those of the event loop."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._said: dict[str, float] = {}
        """Each text of the trouble there is now, and when it was last said, in seconds of the monotonic clock."""
        self._met_at = 0.0

    def met(self, text: str) -> None:
        """An operation failed, for the reason `text`."""
        self._met_at = time.monotonic()
        if self._met_at < self._said.get(text, float("-inf")) + _SAY_AGAIN_SECONDS:
            return
        if len(self._said) >= _MOST_TEXTS:
            self._said.clear()
        self._said[text] = self._met_at
        _log.error("database %s %s", self._database, text)

    def done(self) -> None:
        """An operation was done. One of several may be, while others fail: it is over when none did for 3 s."""
        if self._said and time.monotonic() > self._met_at + _QUIET_SECONDS:
            self._said.clear()
            _log.info("database %s can be used again", self._database)
