"""The setup of an environment: where the state is, how many processes run, and what everything is called."""

from collections.abc import Iterator
from typing import NamedTuple

from ordersys.local.system import SERVICES

_ORDER_SERVICE = "order_service"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
BROKER = "rabbitmq"
BROKERS = (BROKER, "rabbitmq-2", "rabbitmq-3")
SERVERS = ("postgresql-1", "postgresql-2")
"""The servers of the database: at first the primary and its standby; a failover lets them change places."""


class Setup(NamedTuple):
    """The database of the state, the number of processes of each service, and whether they have identities."""

    database: str = SQLITE
    replicas: int = 1
    secure: bool = False

    @property
    def processes(self) -> list[str]:
        """The names of all service processes, in the order they are started; the first has that of its service."""
        return [name for service in SERVICES for name in self.of(service)]

    @property
    def ports(self) -> list[str]:
        """The names of everything that has a port: every process, and every link."""
        servers = SERVERS if self.database == POSTGRESQL else ()
        inside = [for_services(process) for process in self.of(_ORDER_SERVICE)]
        return [*self.processes, *inside, *BROKERS, *map(way, BROKERS), *servers, *(link for link, _ in self.links)]

    @property
    def links(self) -> list[tuple[str, str]]:
        """The links by name, and what each leads to, without those to the brokers."""
        return list(self._links())

    def of(self, service: str) -> list[str]:
        """The processes of a service."""
        return [service, *(f"{service}-{number}" for number in range(2, self.replicas + 1))]

    def _links(self) -> Iterator[tuple[str, str]]:
        for kind, service in (("client", "product_service"), ("internal", _ORDER_SERVICE)):
            for process in self.of(service):
                target = for_services(process) if self.secure and service == _ORDER_SERVICE else process
                yield process.replace(service, kind), target
        for process in self.processes if self.database == POSTGRESQL else ():
            yield from ((to_database(process, server), server) for server in SERVERS)


USUAL = Setup()


def for_services(process: str) -> str:
    """The place where a process of the Order Service listens to other services, where there are identities."""
    return f"{process} for services"


def way(broker: str) -> str:
    """The link that leads to a broker."""
    return broker.replace(BROKER, "amqp")


def to_database(process: str, server: str) -> str:
    """The link on which a process reaches a server of the database."""
    return f"database of {process} at {server}"
