"""Permissions as RabbitMQ takes them: its definitions, and the commands of rabbitmqctl.

Neither has users or passwords: a user has to exist before its permissions are set.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ordersys.contract.permissions import Permissions
from ordersys.contract.topology import Exchange, Topology

VHOST = "/"
"""The virtual host that each RabbitMQ has."""
Definition: TypeAlias = dict[str, str | bool | dict[str, str]]


def exchange_definition(exchange: Exchange, vhost: str = VHOST) -> Definition:
    """A durable exchange among RabbitMQ's definitions."""
    return {
        "name": exchange.name,
        "vhost": vhost,
        "durable": True,
        "auto_delete": False,
        "arguments": {},
        "type": exchange.type,
        "internal": False,
    }


def document(granted: Sequence[Permissions], declared: Topology, vhost: str = VHOST) -> str:
    """The definitions as JSON, which `rabbitmqctl import_definitions` takes."""
    return json.dumps(definitions(granted, declared, vhost), indent=2) + "\n"


def definitions(
    granted: Sequence[Permissions], declared: Topology, vhost: str = VHOST
) -> dict[str, Sequence[Definition]]:
    """The permissions as definitions of RabbitMQ's, with the exchanges that they name.

    Since RabbitMQ 4.3.2 topic permissions of an exchange that does not exist are an error. Exchanges are imported
    before permissions are.
    """
    return {
        "permissions": [
            {"user": p.user, "vhost": vhost, "configure": p.configure, "write": p.write, "read": p.read}
            for p in granted
        ],
        "topic_permissions": [
            {"user": p.user, "vhost": vhost, "exchange": topic.exchange, "write": topic.write, "read": topic.read}
            for p in granted
            for topic in p.topics
        ],
        "exchanges": [exchange_definition(exchange, vhost) for exchange in declared.exchanges],
    }


def commands(granted: Sequence[Permissions], vhost: str = VHOST) -> Iterator[str]:
    """The commands, one a line, quoted for a shell. Those of topics are the last: they need the exchanges."""
    for p in granted:
        yield _command("set_permissions", vhost, p.user, p.configure, p.write, p.read)
    for p in granted:
        for topic in p.topics:
            yield _command("set_topic_permissions", vhost, p.user, topic.exchange, topic.write, topic.read)


def _command(name: str, vhost: str, *words: str) -> str:
    return shlex.join(["rabbitmqctl", name, "-p", vhost, *words])
