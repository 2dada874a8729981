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
from ordersys.local.rabbitmq import read_cookie
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
_USER = "attacked"
_EVERYTHING = {"user": _USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}


class Target(NamedTuple):
    """A secured system, and what only its services may know beside their keys."""

    secured: Secured
    passwords: tuple[str, ...]
    """Of the broker's user, of the database's where the state is in PostgreSQL, and Erlang's cookie."""
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
        broker_url, broker_log = stack.enter_context(_broker(folder))
        database_url = stack.enter_context(_database(folder))
        files = {"ORDERSYS_AMQP_URL": broker_url, "ORDERSYS_DATABASE_URL": database_url}
        settings = {**_SETTINGS, **_in_files(folder, files)}
        # The launcher is given the URL to declare with; services find it in a file.
        ours = ("env", "-u", "ORDERSYS_AMQP_URL", sys.executable, "-m")
        programs = {module: (*ours, f"ordersys.{module}") for module in SERVICES}
        choices = Choices(secure=True, amqp_url=broker_url, settings=settings, programs=programs)
        with open_mask():
            system = stack.enter_context(System(folder / "system", quietly, choices))
        assert system.identities is not None
        secured = Secured(system, Authority(system.identities.layout.folder))
        passwords = [password for url in files.values() if (password := urlsplit(url).password)]
        cookies = [] if broker_log is None else [read_cookie(broker_log.parent.parent)]
        yield Target(secured, (*passwords, *cookies), broker_log)


@pytest.fixture
def secured(target: Target) -> Secured:
    """The system alone."""
    return target.secured


def _in_files(folder: Path, secret: dict[str, str]) -> dict[str, str]:
    settings = {}
    for name, value in secret.items():
        if value:
            file = folder / f"{name.lower()}.secret"
            file.touch(0o600)
            file.write_text(value)
            settings[f"{name}_FILE"] = str(file)
    return settings


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[str, Path | None]]:
    """The URL of a broker with a user of its own; its log, where it is a private one."""
    if given := virtual_host.given():
        with virtual_host.emptied(given) as url:
            yield url, None
        return
    skip_without_rabbitmq()
    with System(folder / "broker", quietly, Choices(services=(), secure=False)) as system:
        (node,) = system.nodes
        password = secrets.token_urlsafe(16)
        definitions = {**json.loads(users({_USER: password})), "permissions": [_EVERYTHING]}
        (folder / "users.json").write_text(json.dumps(definitions))
        node.control("import_definitions", str(folder / "users.json"))
        url = f"amqp://{_USER}:{password}@{ports.LOOPBACK}:{node.port}/%2F"
        eventually(lambda: _is_declared(url), _BOOT_SECONDS)
        yield url, node.log


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
