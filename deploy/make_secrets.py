"""Makes the secrets of a deployment in a folder, and what is missing or soon expires anew: make-secrets.sh runs it.

identity/ has the keys of the authority and of the issuer, passwords/ those of the broker's users; neither is given to
a service. Each service has a folder, named as it is, with its own certificate, key and URL of the broker, and so have
the broker, the database, whoever declares the topology, and the client.
"""

import base64
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.topology import topology
from ordersys.identity import files, issuing
from ordersys.identity.authority import Authority
from ordersys.identity.files import SECRET, UnusableFile
from ordersys.topology import definitions

MOUNTED = "/run/ordersys"
"""The path of its own folder in each container."""
_PASSWORD_BYTES = 24
_SALT_BYTES = 4  # of RabbitMQ ("Credentials and Passwords")
_BROKER, _CLIENT, _POSTGRES = "rabbitmq", "client", "postgres"
_CA, _TOKEN_KEYS, _URL, _DATABASE_URL = "ca.pem", "token-keys.json", "amqp-url", "database-url"
_LABEL = "ordersys/secrets"


class Secrets:
    """A folder with secrets. Every method raises UnusableFile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files.make_folder(folder)
        self._authority = Authority.make(folder / "identity")

    def make(self) -> None:
        """Makes all of it. What is there and in order stays as it is, to the byte."""
        self._authority.renew()
        passwords = {user: self._password(user) for user in (*self.users, _POSTGRES)}
        for user in self.users:
            self._write(user, _URL, _broker_url(user, passwords[user]))
        for service in issuing.services():
            self._copy_identity(service)
            self._write(service, _TOKEN_KEYS, self._authority.layout.token_keys.read_bytes())
            self._write(service, _DATABASE_URL, _database_url(passwords[_POSTGRES]))
        self._copy_identity(_BROKER)
        self._write(_BROKER, "definitions.json", _definitions(passwords, self.users))
        for name in (DECLARER, _CLIENT):
            self._write(name, _CA, self._authority.layout.ca.read_bytes())
        self._write(_POSTGRES, "password", passwords[_POSTGRES].encode())

    @property
    def users(self) -> tuple[str, ...]:
        """The users of the broker: a service has one of its name, and so has whoever declares the topology."""
        return tuple(granted.user for granted in contract_permissions())

    def manifests(self) -> Iterator[dict[str, Any]]:
        """The same for Kubernetes. An identity has the keys that it would have of cert-manager."""
        for name in (*issuing.services(), _BROKER):
            names = {"tls.crt": "certificate.pem", "tls.key": "key.pem", "ca.crt": _CA}
            contents = {key: (self._folder / name / file).read_bytes() for key, file in names.items()}
            yield _secret(f"{name}-identity", "identity", contents, "kubernetes.io/tls")
        keys = {_TOKEN_KEYS: self._authority.layout.token_keys.read_text(encoding="utf-8")}
        yield {**_named("ConfigMap", "ordersys-token-keys", "token-keys"), "data": keys}
        for user in self.users:
            password, url = self._password(user).encode(), (self._folder / user / _URL).read_bytes()
            yield _secret(f"{user}-broker", "broker", {"username": user.encode(), "password": password, "url": url})

    def _password(self, user: str) -> str:
        """One that is kept: the broker's data and the database know it."""
        known = files.read_secret(self._folder / "passwords" / user)
        password = known or token_hex(_PASSWORD_BYTES).encode()
        self._write("passwords", user, password)
        return password.decode()

    def _copy_identity(self, name: str) -> None:
        """The key last: until both are there, whoever loads them keeps what he has."""
        layout = self._authority.layout
        for file in (layout.ca, layout.certificate(name), layout.key(name)):
            self._write(name, file.name, file.read_bytes())

    def _write(self, of: str, name: str, contents: bytes | str) -> None:
        octets = contents if isinstance(contents, bytes) else contents.encode()
        files.make_folder(self._folder / of)
        target = self._folder / of / name
        if files.read(target) != octets or not files.is_private(target):
            files.write(target, octets, SECRET)


def _broker_url(user: str, password: str) -> str:
    options = f"{{'cafile':'{MOUNTED}/{_CA}'}}"
    return f"amqps://{user}:{password}@{_BROKER}:5671/%2F?ssl_options={options}"


def _database_url(password: str) -> str:
    return f"postgresql://ordersys:{password}@{_POSTGRES}:5432/ordersys"


def _definitions(passwords: Mapping[str, str], users: tuple[str, ...]) -> str:
    """The users with their permissions. RabbitMQ imports it at each start, and makes no guest then."""
    granted = json.loads(definitions.document(contract_permissions(), topology()))
    listed = [
        {
            "name": user,
            "password_hash": _hashed(user, passwords[user]),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": [],
        }
        for user in users
    ]
    return json.dumps({"users": listed, "vhosts": [{"name": definitions.VHOST}], **granted}, indent=2) + "\n"


def _hashed(user: str, password: str) -> str:
    """Salted by the user's name: nobody computes a table of passwords as long and random as these."""
    salt = hashlib.sha256(user.encode()).digest()[:_SALT_BYTES]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _secret(name: str, subject: str, data: Mapping[str, bytes], kind: str = "Opaque") -> dict[str, Any]:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {**_named("Secret", name, subject), "type": kind, "data": encoded}


def _named(kind: str, name: str, subject: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": {_LABEL: subject}}}


def main() -> None:
    """Makes them; for Kubernetes it prints them as well, for `kubectl apply`. Exits with 1 for a file in the way."""
    purpose, folder = sys.argv[1:]
    try:
        secrets = Secrets(Path(folder))
        secrets.make()
    except UnusableFile as error:
        sys.exit(f"make-secrets.sh: {error}")
    if purpose == "kubernetes":
        json.dump({"apiVersion": "v1", "kind": "List", "items": list(secrets.manifests())}, sys.stdout)


if __name__ == "__main__":
    main()
