"""The start of the services of a system, at ports that nobody takes before they do."""

from collections.abc import Collection
from contextlib import ExitStack

from ordersys.contract import addresses
from ordersys.local import ports
from ordersys.local.breaking.breaking import Breaking
from ordersys.local.breaking.wiring import over_links
from ordersys.local.guard import Guard
from ordersys.local.listening import METRICS, program
from ordersys.local.live import LivePage
from ordersys.local.parties import Parties
from ordersys.local.service import NotHealthy, Program, Service, ours
from ordersys.runtime.rpc.server import CANNOT_LISTEN

_MOST_TRIES = 3  # the second hardly ever fails


class Starting:
    """One start. The addresses are those of the system: `choose_addresses` and `run` change them."""

    def __init__(
        self, parties: Parties, guard: Guard, in_use: Collection[int], breaking: Breaking | None, live: LivePage | None
    ) -> None:
        """`in_use` are the ports of all else that this system runs."""
        self.services: dict[str, Service] = {}
        """The processes by name: the module, with `-2` and so on behind it for the others of one."""
        self._parties = parties
        self._listening = parties.listening
        self._guard = guard
        self._in_use = in_use
        self._breaking = breaking
        self._live = live

    def choose_addresses(self, usual: bool) -> None:
        """Chooses those that were not given: the usual ones where they are wanted, and free. Raises OSError."""
        self._listening.choose(usual, self._in_use, self._parties.identities is not None)

    def run(self, started: ExitStack) -> None:
        """Starts all, has `started` stop them, and returns when all are healthy. Raises NotHealthy.

        Between the choice of a port and a service that listens there somebody may take it: then all get new ones, since
        each was told the addresses of the others.
        """
        for tries_left in reversed(range(_MOST_TRIES)):
            for name in self._listening.processes:
                self.services[name] = self._service(name)
                started.callback(self.services[name].stop)
                self.services[name].start()
            try:
                for service in self.services.values():
                    service.wait_healthy()
            except NotHealthy:
                if not tries_left or not self._has_lost_port():
                    raise
            else:
                return
            for service in self.services.values():
                service.stop()
            self.choose_addresses(usual=False)

    def _service(self, name: str) -> Service:
        parties, module = self._parties, name.partition("-")[0]
        links = {}
        if self._breaking is not None:
            links = over_links(self._breaking, module, parties.broker.nodes, self._listening)
        environment = parties.of_service(name, links)
        if self._live is not None:
            environment |= self._live.telemetry(environment)
        command = program(parties.choices, name) or ours(module)
        address = str(self._listening.addresses[name])
        return Service(name, address, Program(command, environment), parties.folder, self._guard)

    def _has_lost_port(self) -> bool:
        """True where a service has ended since it could not listen at the port that was chosen for it.

        Ours say so, which counts also where the port is free by now: another system that was just starting may have
        given it up.
        """
        ended = [service for service in self.services.values() if service.misused]
        given = self._listening.given
        chosen = [service for service in ended if service.name not in given or METRICS in service.last_line()]
        return any(
            CANNOT_LISTEN in service.last_line() or ports.trouble(addresses.parse(service.address).port)
            for service in chosen
        )
