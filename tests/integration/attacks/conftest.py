"""One system with identities for all attacks: it logs all it can, serves reflection, and has secrets that are known.

Its broker and its database have a user with a password, which services read from files, as operations.md has it.
"""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest

from ordersys.identity.authority import Authority
from ordersys.local import ports
from ordersys.local.rabbitmq_installed import read_cookie
from ordersys.local.system import SERVICES, Choices, System
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.reconnecting import declare
from tests import postgresql, virtual_host
from tests.integration.api import eventually
from tests.integration.conftest import quietly, skip_without_rabbitmq
from tests.integration.test_permissions import users
from tests.integration.test_secured import Secured

_SETTINGS = {
    "ORDERSYS_LOG_LEVEL": "debug",
    "ORDERSYS_REFLECTION": "true",
    "ORDERSYS_CALL_TIMEOUT_SECONDS": "2",
}
_BOOT_SECONDS = 60.0
_LEAST_CHARACTERS = 12  # of a secret that can be looked for: a broker that is given may have guest as a password


class Target(NamedTuple):
    """A secured system, and what only its services may know beside their keys."""

    secured: Secured
    passwords: tuple[str, ...]
    """Of the broker's users, of the database's where the state is in PostgreSQL, and Erlang's cookie."""
    broker_log: Path | None
    """That of the broker, where it is a private one."""


@contextmanager
def open_mask() -> Iterator[None]:
    """Has what is made meanwhile open to all but where it is closed by who makes it."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Started under a mask that hides nothing."""
    folder = tmp_path_factory.mktemp("attacked")
    with ExitStack() as stack:
        broker = stack.enter_context(_broker(folder))
        database_url = stack.enter_context(_database(folder))
        settings = {**_SETTINGS, **_in_file(folder, "ORDERSYS_DATABASE_URL", database_url)}
        # The launcher is given a URL to declare with; each service finds its own in a file.
        programs = {
            module: (
                *("env", "-u", "ORDERSYS_AMQP_URL"),
                *(f"{name}={file}" for name, file in _in_file(folder / module, "ORDERSYS_AMQP_URL", url).items()),
                *(sys.executable, "-m", f"ordersys.{module}"),
            )
            for module, url in broker.of_services.items()
        }
        choices = Choices(secure=True, amqp_url=broker.url, settings=settings, programs=programs)
        with open_mask():
            system = stack.enter_context(System(folder / "system", quietly, choices))
        assert system.identities is not None
        secured = Secured(system, Authority(system.identities.layout.folder))
        urls_ = (broker.url, *broker.of_services.values(), database_url)
        passwords = [password for url in urls_ if (password := urlsplit(url).password)]
        cookies = [] if broker.log is None else [read_cookie(broker.log.parent.parent)]
        kept = (*passwords, *cookies)
        yield Target(secured, tuple(secret for secret in kept if len(secret) >= _LEAST_CHARACTERS), broker.log)


@pytest.fixture
def secured(target: Target) -> Secured:
    """The system alone."""
    return target.secured


def _in_file(folder: Path, name: str, secret: str) -> dict[str, str]:
    """The setting that names a file with a secret in it; none for none."""
    if not secret:
        return {}
    folder.mkdir(exist_ok=True)
    file = folder / f"{name.lower()}.secret"
    file.touch(0o600)
    file.write_text(secret)
    return {f"{name}_FILE": str(file)}


class _Broker(NamedTuple):
    """The URL for whoever declares, those of the services by module, and the log of a private one."""

    url: str
    of_services: dict[str, str]
    log: Path | None = None


@contextmanager
def _broker(folder: Path) -> Iterator[_Broker]:
    """A broker on which each service has a user of its own."""
    if given := virtual_host.given():
        with virtual_host.emptied(given) as url:
            yield _Broker(url, dict.fromkeys(SERVICES, url))
        return
    skip_without_rabbitmq()
    with System(folder / "broker", quietly, Choices(services=(), secure=False)) as system:
        (node,) = system.nodes
        names = {module: module.replace("_", "-") for module in ("topology", *SERVICES)}
        passwords = {name: secrets.token_urlsafe(16) for name in names.values()}
        everything = {"vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
        granted = [{"user": name, **everything} for name in passwords]
        (folder / "users.json").write_text(json.dumps({**json.loads(users(passwords)), "permissions": granted}))
        node.control("import_definitions", str(folder / "users.json"))
        place = f"{ports.LOOPBACK}:{node.port}/%2F"
        of_users = {module: f"amqp://{name}:{passwords[name]}@{place}" for module, name in names.items()}
        url = of_users.pop("topology")
        eventually(lambda: _is_declared(url), _BOOT_SECONDS)
        yield _Broker(url, of_users, node.log)


def _is_declared(url: str) -> bool:
    """True once the topology is declared: a node that has just started may take longer for it than a session waits."""
    try:
        asyncio.run(declare(urls.parse(url)))
    except BrokerUnavailable:
        return False
    return True


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    """The URL of a database with a password in it; empty where there is no PostgreSQL."""
    if postgresql.lacking():
        yield ""
        return
    with (
        postgresql.server(folder / "postgresql", "-F") as server,
        postgresql.database(server, f"attacked_{secrets.token_hex(4)}") as url,
    ):
        parts = urlsplit(url)
        user = f"{parts.username}:{parts.password or secrets.token_urlsafe(16)}"
        yield urlunsplit(parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}"))
