"""A private RabbitMQ cluster in a folder, of one node or of several that share a cookie and a port mapper.

A node that was killed or stopped joins again with its data when it is started.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from ordersys.local.guard import Guard
from ordersys.local.packages import Installation
from ordersys.local.rabbitmq import Membership, Node, PortMapper


class Cluster:
    """That many nodes. Not running until `start`."""

    def __init__(
        self, folder: Path, installation: Installation, guard: Guard, size: int, amqp_ports: Sequence[int] = ()
    ) -> None:
        self._mapper = PortMapper(installation, guard)
        names = [f"ordersys{number}@localhost" for number in range(1, size + 1)] if size > 1 else ["ordersys@localhost"]
        cookie = secrets.token_hex(16)
        given = [*amqp_ports, *[None] * size]
        self.nodes = [
            Node(home, installation, guard, Membership(name, port, names, cookie, self._mapper))
            for home, name, port in zip(_homes(folder, size), names, given, strict=False)
        ]

    @property
    def url(self) -> str:
        """Where it answers: a URL for each node, separated by commas."""
        return ",".join(node.url for node in self.nodes)

    def start(self) -> None:
        """Starts all nodes and returns when they answer. Raises NotStarted."""
        if self.nodes[0].new:
            self.nodes[0].start()  # the others join it, and none finds itself alone
        for node in self.nodes:
            if not node.running:
                node.launch()  # one that was not the last to stop waits for the others
        for node in self.nodes:
            node.wait()

    def stop(self) -> None:
        """Stops all nodes in good order, the last one first."""
        for node in reversed(self.nodes):
            node.stop()
        self._mapper.stop()


def _homes(folder: Path, size: int) -> Sequence[Path]:
    """A folder for each node; of clusters of other sizes nothing is touched."""
    return [folder] if size == 1 else [folder / f"{number}-of-{size}" for number in range(1, size + 1)]
