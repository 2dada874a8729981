"""Requests of several clients, sent without a pause until somebody crashes; each is remembered with its answer."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.contract.harness.system_under_test import SystemUnderTest

_CLIENTS = 4
_ENOUGH = 12


class Traffic:
    """Clients that ask for one thing after the other; each ends with its first call that is not answered with OK."""

    def __init__(self, system: SystemUnderTest, ask: Callable[[], Any]) -> None:
        self._system = system
        self._ask = ask
        self._stopped = threading.Event()
        self.answered: list[tuple[Any, Any]] = []
        """Requests with their responses."""
        self.cut_off: list[Any] = []
        """Requests whose outcome nobody knows."""

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Under way, once some calls were answered."""
        with ThreadPoolExecutor(_CLIENTS) as pool:
            clients = [pool.submit(self._client) for _ in range(_CLIENTS)]
            try:
                self._system.eventually(lambda: len(self.answered) >= _ENOUGH)
                yield
            finally:
                self._stopped.set()
        for client in clients:
            client.result()

    def resolved(self) -> list[tuple[Any, Any]]:
        """All requests with their responses; what was cut off is repeated until it is answered."""
        answers = [(request, self._repeated(request)) for request in self.cut_off]
        return [*self.answered, *answers]

    def _repeated(self, request: Any) -> Any:
        return self._system.eventually(lambda: self._system.call(request).response)

    def _client(self) -> None:
        while not self._stopped.is_set():
            request = self._ask()
            answer = self._system.call(request)
            if answer.response is None:
                self.cut_off.append(request)
                return
            self.answered.append((request, answer.response))
