"""A broker of the suite's own on which each service has a user of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from tests.running import EndedEarly


class Users(NamedTuple):
    """The users of a broker: the suite's own, which may do everything, in its URL, and one for each service."""

    url: str
    passwords: Mapping[str, str]

    def url_of(self, service: str, at: str) -> str:
        """The URL `at`, that of a proxy for example, for the user of a service."""
        parts = urlsplit(at)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{service}:{self.passwords[service]}@{place}"))


@contextmanager
def broker(folder: Path) -> Iterator[Users]:
    """A broker that ends with the block. Raises EndedEarly."""
    command = [sys.executable, "-m", "tests.broker_users", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            if not said:
                raise EndedEarly("the broker with a user for each service did not start")
            yield Users(**json.loads(said))
        finally:
            process.stdin.close()
