"""A private RabbitMQ cluster in a folder, of one node or of several that share a cookie and a port mapper.

A node that was killed or stopped joins again with its data when it is started.
"""

import re
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from ordersys.local.guard import Guard
from ordersys.local.packages import Installation
from ordersys.local.rabbitmq import Membership, Node, NotStarted
from ordersys.local.rabbitmq_container import ContainerNode, Image
from ordersys.local.rabbitmq_installed import InstalledNode, PortMapper, read_cookie
from ordersys.local.rabbitmq_security import BrokerSecurity

# Erlang takes any text; a short one was not written by us, or not to its end.
_COOKIE = re.compile(r"[!-~]{16,255}")


class Size(NamedTuple):
    """The size of a cluster, and its ports."""

    nodes: int
    amqp_ports: Sequence[int] = ()
    """Those of the first nodes; the others have free ones."""
    reserved: Collection[int] = ()
    """Those that are meant for others."""
    usual: int | None = None
    """That of the first node where it is free, and none was given."""


class Cluster:
    """That many nodes. Not running until `start`."""

    def __init__(
        self,
        folder: Path,
        broker: Installation | Image,
        guard: Guard,
        wanted: Size,
        security: BrokerSecurity | None = None,
    ) -> None:
        """Without `security` everything goes in clear.

        Raises NotStarted for several nodes of an image: they would need a network and names of their own."""
        size = wanted.nodes
        if isinstance(broker, Image) and size > 1:
            raise NotStarted(
                f"{size} nodes need an installed RabbitMQ, and there is none; {broker.engine.name} runs a single one:"
                " leave --brokers out, or install RabbitMQ"
            )
        names = [f"ordersys{number}@localhost" for number in range(1, size + 1)] if size > 1 else ["ordersys@localhost"]
        homes = _homes(folder, size)
        cookie = _cookie(homes)
        reserved = {*wanted.reserved, *wanted.amqp_ports}
        given = [*wanted.amqp_ports, *[None] * size]
        usual = [wanted.usual, *[None] * size]
        members = [
            Membership(name, port, names, cookie, reserved, first, security)
            for name, port, first in zip(names, given, usual, strict=False)
        ]
        self.nodes: Sequence[Node]
        self._security = security
        self._mapper: PortMapper | None = None
        if isinstance(broker, Image):
            self.nodes = [
                ContainerNode(home, broker, guard, member) for home, member in zip(homes, members, strict=True)
            ]
        else:
            self._mapper = mapper = PortMapper(broker, guard)
            self.nodes = [
                InstalledNode(home, broker, guard, member, mapper) for home, member in zip(homes, members, strict=True)
            ]

    @property
    def url(self) -> str:
        """The URLs of its nodes, as one text: a URL for each node, separated by commas."""
        return ",".join(node.url for node in self.nodes)

    @property
    def url_of_declarer(self) -> str:
        """The same for the one who may declare, who needs nothing else where the cluster is secured."""
        security = self._security
        if security is None:
            return self.url
        return ",".join(security.url_of_declarer(node.port) for node in self.nodes)

    def prepare(self) -> None:
        """Makes anew whatever is missing, or of no use, of what nodes need to start. Raises OSError."""
        for node in self.nodes:
            node.prepare()

    def start(self) -> None:
        """Starts all nodes and returns when they answer. Raises NotStarted."""
        if self.nodes[0].new:
            self.nodes[0].start()  # the others join it, and none finds itself alone
        for node in self.nodes:
            if not node.running:
                node.launch()  # one that was not the last to stop waits for the others
        for node in self.nodes:
            node.wait()

    def move(self) -> bool:
        """Chooses other ports for nodes whose own was taken meanwhile; whether there were any."""
        moved = [node.move() for node in self.nodes]  # each of them, not up to the first
        return any(moved)

    def renew(self) -> None:
        """Takes over a certificate that was renewed. Raises OSError."""
        for node in self.nodes:
            node.renew()

    def stop(self) -> None:
        """Stops all nodes in good order, the last one first."""
        for node in reversed(self.nodes):
            node.stop()
        if self._mapper is not None:
            self._mapper.stop()


def _homes(folder: Path, size: int) -> Sequence[Path]:
    """A folder for each node; of clusters of other sizes nothing is touched."""
    return [folder] if size == 1 else [folder / f"{number}-of-{size}" for number in range(1, size + 1)]


def _cookie(homes: Sequence[Path]) -> str:
    """The one that the nodes have, or a new one: all that matters is that it is the same for all of them."""
    cookies = (text for text in map(read_cookie, homes) if _COOKIE.fullmatch(text))
    return next(cookies, secrets.token_hex(16))
