"""The ties of breaking to a system: refusals before it starts, its links, its processes, its identities."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import psutil

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.access import service_name
from ordersys.contract.addresses import Address, Addresses
from ordersys.contract.topology import publication, subscriptions
from ordersys.identity.layout import OPERATOR
from ordersys.local.breaking.breaking import Breaking, Victim, World
from ordersys.local.breaking.load import Entrance
from ordersys.local.choices import CannotStart
from ordersys.local.groups import members
from ordersys.local.listening import INTERNAL, Listening, variable
from ordersys.local.ports import LOOPBACK
from ordersys.local.rabbitmq import Node
from ordersys.local.rabbitmq_installed import InstalledNode
from ordersys.local.rabbitmq_security import BrokerSecurity
from ordersys.local.service import Service
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.urls import AMQP_URL

if TYPE_CHECKING:
    from ordersys.local.system import System

_ORDERS, _PRODUCTS = "order_service", "product_service"
_LOOPBACKS = ("127.", "::1", "::ffff:127.")


def check_loopback(services: Collection[Service]) -> None:
    """Raises CannotStart where a process of a running service listens to other machines."""
    for service in services:
        for address in _listening(service):
            if not address.startswith(_LOOPBACKS):
                raise CannotStart(
                    f"--break-it is for this machine alone, and {service.name} listens at {address};"
                    " have it listen at 127.0.0.1, or leave --break-it out"
                )


def _listening(service: Service) -> Iterator[str]:
    for process in [] if service.group is None else members(service.group):
        try:
            connections = process.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            raise CannotStart(
                f"--break-it is for this machine alone, and this user may not see where {service.name} listens;"
                " start it as the user it runs as, or leave --break-it out"
            ) from None
        yield from (connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN)


def over_links(breaking: Breaking, module: str, nodes: Sequence[Node], listening: Listening) -> dict[str, str]:
    """The settings by which a service reaches RabbitMQ, and the Order Service, over links that can be cut."""
    own = breaking.connect(f"{module}/rabbitmq", [Address(LOOPBACK, node.port) for node in nodes])
    pairs = zip(nodes, own, strict=True)
    settings = {AMQP_URL: ",".join(_moved(node.url, node.port, address) for node, address in pairs)}
    if module == _PRODUCTS:
        at = list(listening.internal.values()) or _each(listening.by_module[_ORDERS])
        name = INTERNAL if listening.internal else variable(_ORDERS)
        settings[name] = str(Addresses(tuple(breaking.connect(f"{module}/{_ORDERS}", at))))
    return settings


def _moved(url: str, port: int, address: Address) -> str:
    return url.replace(f"{LOOPBACK}:{port}", str(address), 1)


def _each(address: Address | Addresses) -> Sequence[Address]:
    return address.each if isinstance(address, Addresses) else [address]


def world(system: "System") -> World:
    """The system as it is broken: its processes, its entrance for orders, its broker."""
    identities = system.identities
    publisher = service_name(publication(OrderCreated.DESCRIPTOR).publisher)
    layout = None if identities is None else identities.layout

    def victims() -> Mapping[str, Victim]:
        services = {name: Victim(service, name) for name, service in system.services.items()}
        return {**services, **dict(_brokers(system.nodes))}

    def entrance() -> Entrance:
        address = system.addresses[_PRODUCTS]
        return Entrance(address, None, None) if layout is None else Entrance(address, layout.ca, layout.token(OPERATOR))

    def brokers() -> urls.BrokerUrls:
        if layout is None:
            return urls.parse(system.amqp_url)
        security = BrokerSecurity(layout)
        return urls.parse(",".join(security.url_of(publisher, node.port) for node in system.nodes))

    return World(
        victims=victims,
        subscribers=[subscription.consumer.replace("-", "_") for subscription in subscriptions()],
        hold=system.hold,
        entrance=entrance,
        brokers=brokers,
        publisher="" if layout is None else publisher,
    )


def _brokers(nodes: Iterable[Node]) -> Iterator[tuple[str, Victim]]:
    """Those that are processes of ours: a signal to the client of a container engine would not reach a container."""
    for number, node in enumerate(nodes, 1):
        if isinstance(node, InstalledNode):
            yield "rabbitmq" if number == 1 else f"rabbitmq-{number}", Victim(node, node.name)
