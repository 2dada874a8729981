"""A private RabbitMQ for those alone who have a certificate of the system's authority: each is the user of its name.

Users and their rights come from a file of definitions that each node imports when it boots, derived from the contract.
Nobody has a password, and none would be asked for: EXTERNAL is the one mechanism. Certificates, keys and definitions
lie in the folder of the node, which is for this user alone.
"""

import base64
import hashlib
import json
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ordersys.console.opening import read_regular
from ordersys.contract.permissions import DECLARER, contract_permissions, pattern
from ordersys.contract.topology import topology
from ordersys.identity.layout import BROKER, OBSERVER, Layout
from ordersys.local import ports
from ordersys.runtime.base.files import write_whole
from ordersys.runtime.base.tls_versions import modern
from ordersys.runtime.rabbitmq.tls import Files
from ordersys.topology.definitions import VHOST, definitions

PLUGINS = "[rabbitmq_auth_mechanism_ssl].\n"
_DEFINITIONS = "definitions.json"
_CA, _CERTIFICATE, _KEY = "tls/ca.pem", "tls/certificate.pem", "tls/key.pem"
_GUEST = "guest"
_HASHING = "rabbit_password_hashing_sha256"
_IMPORT = f"""\
definitions.import_backend = local_filesystem
definitions.local.path = {{folder}}/{_DEFINITIONS}
"""
# With PLAIN beside EXTERNAL, whoever has any certificate could try the passwords of others.
_CONFIGURATION = f"""\
listeners.tcp = none
listeners.ssl.1 = {{listen}}
ssl_options.cacertfile = {{folder}}/{_CA}
ssl_options.certfile = {{folder}}/{_CERTIFICATE}
ssl_options.keyfile = {{folder}}/{_KEY}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
auth_mechanisms.1 = EXTERNAL
ssl_cert_login_from = subject_alternative_name
ssl_cert_login_san_type = dns
ssl_cert_login_san_index = 0
"""
_NO_ANONYMOUS = "anonymous_login_user = none\n"
_KNOWS_ANONYMOUS = 4  # the first release with that mechanism; earlier ones do not boot with its setting


class BrokerSecurity:
    """The security of the nodes of a cluster, which share a certificate."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def declarer(self) -> Files:
        """The files by which somebody is the user that may declare."""
        return self._files(DECLARER)

    @property
    def observer(self) -> Files:
        """The files by which somebody is the user that may look at queues, and do nothing else."""
        layout = self._layout
        return Files(layout.ca, layout.certificate(OBSERVER), layout.key(OBSERVER))

    @property
    def context(self) -> ssl.SSLContext:
        """For one connection of the declarer. Reads the files. Raises OSError."""
        ca, certificate, key = self.declarer
        context = modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        context.load_verify_locations(ca)
        context.load_cert_chain(str(certificate), key)
        return context

    def url(self, port: int) -> str:
        """The URL of a node for whoever names its certificate in other ways. A service's could be for localhost too."""
        return f"amqps://{ports.LOOPBACK}:{port}/{quote(VHOST, safe='')}?server_name_indication={BROKER}"

    def url_of_declarer(self, port: int) -> str:
        """The URL of a node that says all that is needed to be the declarer: names of files, no secret."""
        return self.url_of(DECLARER, port)

    def url_of(self, user: str, port: int) -> str:
        """The same for any user of the broker that has a certificate here."""
        ca, certificate, key = (quote(str(path), safe="/") for path in self._files(user))
        named = {"cafile": ca, "certfile": certificate, "keyfile": key, "server_hostname": BROKER}
        options = "%2C".join(f"'{name}':'{value}'" for name, value in named.items())
        return f"amqps://{ports.LOOPBACK}:{port}/{quote(VHOST, safe='')}?ssl_options={{{options}}}"

    def _files(self, user: str) -> Files:
        return Files(self._layout.ca, self._layout.certificate(user), self._layout.key(user))

    def write(self, folder: Path, is_new: bool) -> None:
        """Writes what a node reads when it boots. `is_new` is a node without data. Raises OSError."""
        (folder / "tls").mkdir(mode=0o700, exist_ok=True)
        self.renew(folder)
        has_guest = _names_guest(folder) if (folder / _DEFINITIONS).exists() else not is_new
        write_whole(folder / _DEFINITIONS, json.dumps(_secured(has_guest), indent=2))

    def renew(self, folder: Path) -> None:
        """Takes over what was renewed; the node reads it within two minutes (Erlang's PEM cache). Raises OSError.

        The key first: until both have changed they do not fit, and the node goes on with what it has read.
        """
        layout = self._layout
        sources = {_CA: layout.ca, _KEY: layout.key(BROKER), _CERTIFICATE: layout.certificate(BROKER)}
        for name, source in sources.items():
            pem, target = read_regular(source).decode("ascii"), folder / name
            if not target.exists() or read_regular(target) != pem.encode():
                write_whole(target, pem)

    def configuration(self, listen: str, folder: str, version: str) -> str:
        """The part of a node's configuration; `folder` is its own as the node sees it, `version` empty if unknown."""
        major = version.partition(".")[0]
        no_anonymous = _NO_ANONYMOUS if major.isdecimal() and int(major) >= _KNOWS_ANONYMOUS else ""
        return _CONFIGURATION.format(listen=listen, folder=folder) + no_anonymous + _IMPORT.format(folder=folder)


def opened_again(folder: Path, seen_as: str) -> str:
    """The configuration of a node that was secured before and is no more: the guest has its rights back.

    Empty where it never was. `seen_as` is the folder as the node sees it. Raises OSError.
    """
    if not (folder / _DEFINITIONS).exists():
        return ""
    write_whole(folder / _DEFINITIONS, json.dumps(_of_guest(), indent=2))
    return _IMPORT.format(folder=seen_as)


def _secured(has_guest: bool) -> dict[str, Any]:
    """The definitions. On a blank node RabbitMQ then makes no guest; a guest that is there has no rights any more."""
    granted = contract_permissions()
    stated: dict[str, Any] = definitions(granted, topology())
    users = [*(_user(permission.user) for permission in granted), _user(OBSERVER)]
    stated["permissions"] = [*stated["permissions"], _of_observer()]
    if has_guest:
        users.append(_user(_GUEST))
        stated["permissions"] = [*stated["permissions"], _permission(_GUEST, "^$")]
    return {"vhosts": [{"name": VHOST}], "users": users, **stated}


def _of_observer() -> dict[str, str]:
    """May look at the queues (a passive declaration) and can neither take from them nor put into them.

    RabbitMQ wants no permission for that, and since 4.2.7 and 4.3.1 any one. To write to a queue is to bind it, for
    which an exchange has to be read, too; to publish, an exchange is written to, and that is none of these names.
    """
    queues = pattern(queue.name for queue in topology().queues)
    return {"user": OBSERVER, "vhost": VHOST, "configure": "^$", "write": queues, "read": "^$"}


def _of_guest() -> dict[str, Any]:
    salt = secrets.token_bytes(4)
    digest = hashlib.sha256(salt + _GUEST.encode()).digest()  # RabbitMQ: "Credentials and Passwords"
    guest = {**_user(_GUEST, "administrator"), "password_hash": base64.b64encode(salt + digest).decode()}
    return {"vhosts": [{"name": VHOST}], "users": [guest], "permissions": [_permission(_GUEST, ".*")]}


def _user(name: str, tags: str = "") -> dict[str, str]:
    """Without a hash there is no password that fits."""
    return {"name": name, "password_hash": "", "hashing_algorithm": _HASHING, "tags": tags}


def _permission(user: str, pattern: str) -> dict[str, str]:
    return {"user": user, "vhost": VHOST, "configure": pattern, "write": pattern, "read": pattern}


def _names_guest(folder: Path) -> bool:
    """True also where the file can't be read: a guest without rights is better than one with all."""
    try:
        users: Sequence[dict[str, str]] = json.loads(read_regular(folder / _DEFINITIONS))["users"]
        return any(user["name"] == _GUEST for user in users)
    except (OSError, ValueError, KeyError, TypeError):
        return True
