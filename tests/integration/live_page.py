"""The live page as a browser hears it, and a system with identities that has one."""

import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from ordersys.identity.authority import Authority
from ordersys.local.system import Choices, System
from tests.integration.conftest import quietly, skip_without_rabbitmq
from tests.integration.test_secured import Secured

CHROMIUM = os.environ.get("ORDERSYS_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# As root there is no sandbox; the others keep a browser from asking its vendor for anything.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@contextmanager
def secured_with_page(folder: Path) -> Iterator[Secured]:
    """A system with identities and its page; nobody has said where spans go."""
    skip_without_rabbitmq()
    with System(folder, quietly, Choices(secure=True, live=True)) as system:
        assert system.identities is not None
        yield Secured(system, Authority(system.identities.layout.folder))


class LivePage:
    """A connection to the stream of a page, and the document as it is after whatever was read."""

    def __init__(self, link: str, last_id: str = "") -> None:
        """`last_id` is that of the state which the browser has seen before."""
        parts = urlsplit(link)
        self.host, self.key = parts.netloc, parts.fragment.removeprefix("key=")
        self.document: dict[str, Any] = {}
        self.last_id = last_id

    def __enter__(self) -> "LivePage":
        self._connection = http.client.HTTPConnection(self.host, timeout=30)
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        self._connection.request("GET", f"/live/events?key={self.key}", headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._answer.close()
        self._connection.close()

    def until(self, wanted: Callable[[Mapping[str, Any]], object], seconds: float) -> float:
        """Reads on until the document is as wanted; how many seconds that took."""
        began = time.monotonic()
        while not (self.document and wanted(self.document)):
            assert time.monotonic() - began < seconds, json.dumps(self.document.get("checks"))
            self._read()
        return time.monotonic() - began

    def _read(self) -> None:
        line = self._answer.readline().decode()
        assert line, "the stream has ended"
        if line.startswith("id: "):
            self.last_id = line[4:].strip()
        if line.startswith("data: "):
            self.document.update(json.loads(line[6:]))

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], str]:
        """The status, headers and body of another request."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.getheaders()), body
