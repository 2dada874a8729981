"""A rolling restart: the processes of all services are started again, one at a time.

It is taken step by step, so that whoever takes it can watch over everything else meanwhile.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from ordersys.local.service import NotHealthy, Service

# Clients try a connection again after 1 s and less; ours between services as well as most others.
_SETTLE_SECONDS = 3.0


class Rolling:
    """The restart of some services, from `steps` on."""

    def __init__(self, services: Mapping[str, Service], has_replicas: bool, changed: Callable[[], None]) -> None:
        """`changed` is called when there is another process of a service."""
        self._services = services
        self._settle_seconds = _SETTLE_SECONDS if has_replicas else 0.0
        self._changed = changed
        self.under_way = ""
        """The name of the process that is being restarted, and is nobody else's to start; empty for none."""
        self.trouble = ""
        """The reason for which it has ended before all were restarted; empty where it has not."""

    def steps(self, say: Callable[[str], None]) -> Iterator[None]:
        """Restarts each when the one before is healthy, and yields while there is something to wait for.

        One that does not get healthy ends it: the others go on as they are.
        """
        for name, service in self._services.items():
            say(f"restarting {name}")
            self.under_way = name
            try:
                yield from service.stopping()
                service.start()
                yield from service.getting_healthy()
            except (NotHealthy, OSError) as error:
                self.trouble = f"{name} did not come back: {str(error).splitlines()[0]}"
                break
            finally:
                self.under_way = ""
            self._changed()
            yield from self._settling()
        say(self.trouble or "all processes were restarted")

    def _settling(self) -> Iterator[None]:
        """Lets clients come back to a process that was restarted before the next one is: nobody here can see that."""
        until = time.monotonic() + self._settle_seconds
        while time.monotonic() < until:
            yield
