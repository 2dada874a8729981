"""The environment in which services would start, examined by their own rules before any is started."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ordersys.contract import addresses
from ordersys.local.rabbitmq import answers
from ordersys.local.state import DATA_DIR
from ordersys.notification_service_1.__main__ import Settings as NotificationSettings1
from ordersys.notification_service_2.__main__ import Settings as NotificationSettings2
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from ordersys.runtime.settings import Settings

AMQP_URL = urls.AMQP_URL
_KINDS: tuple[type[Settings], ...] = (OrderSettings, ProductSettings, NotificationSettings1, NotificationSettings2)
_OF_BROKERS = (AMQP_URL, CA_FILE, CERTIFICATE_FILE, KEY_FILE)
_CONNECT_SECONDS = 2.0


class Broker(NamedTuple):
    """A broker as it is shown, without its password, and whether it can be used."""

    shown: str
    answers: bool


def chosen(environment: Mapping[str, str]) -> list[str]:
    """The variables of `environment` that are settings, or look like some."""
    return sorted(variable for variable in environment if variable.startswith(settings.PREFIX))


def misspelt(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of `environment` that look like a setting of some service and are none, each with that setting."""
    known = {setting.variable for kind in _KINDS for setting in settings.described(kind)}
    near = {variable: name for kind in _KINDS for variable, name in settings.misspelt(kind, environment)}
    return {variable: name for variable, name in near.items() if variable not in known}


def wrong(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each value of `environment` that a service would not start with; it names its variable.

    The addresses of several processes are for clients: whoever starts one of them names its own.
    """
    own = {variable: value for variable, value in environment.items() if not _is_list_of_addresses(variable, value)}
    sentences = (_error(kind, own) for kind in _KINDS)
    yield from dict.fromkeys(sentence for sentence in sentences if sentence)


def data_dir(environment: Mapping[str, str]) -> Path | None:
    """The folder that was chosen, as a service reads it; None where none was, or its name can't be used."""
    given = {name: value for name, value in environment.items() if name == DATA_DIR and value}
    return None if not given or _error(Settings, given) else settings.read(Settings, given).data_dir


def brokers(environment: Mapping[str, str]) -> Iterator[Broker]:
    """The brokers that services would use; none where their URLs can't be read. Waits some seconds for each."""
    url = {name: value for name, value in environment.items() if name in _OF_BROKERS}
    if _error(Settings, url):
        return
    for broker in settings.read(Settings, url).amqp_url:
        host, port = broker.parameters.host, broker.parameters.port
        speaks = _listens(host, port) if broker.parameters.ssl_options is not None else answers(port, host)
        yield Broker(str(broker), speaks)


def _is_list_of_addresses(variable: str, value: str) -> bool:
    try:
        return variable.endswith("_ADDRESS") and len(addresses.parse_list(value).each) > 1
    except ValueError:
        return False


def _error(kind: type[Settings], environment: Mapping[str, str]) -> str:
    try:
        settings.read(kind, environment)
    except settings.InvalidSetting as error:
        return str(error)
    return ""


def _listens(host: str, port: int) -> bool:
    """True where a connection can be made; more would need the certificates."""
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
