"""`python -m tests.broker_users FOLDER`: a private RabbitMQ with a user for each service, as docs/operations.md has it.

Prints a line of JSON, the URL of a user that may do everything and the passwords of the services, and runs until its
input ends.
"""

import base64
import hashlib
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pika

from ordersys.contract.permissions import contract_permissions
from ordersys.contract.topology import topology
from ordersys.local.system import Choices, System
from ordersys.topology.definitions import document

_SUITE = "guest"  # as in the URL of a private RabbitMQ
# Who publishes as any service, to see what becomes of that.
_TAGS = "administrator,impersonator"


def main() -> None:
    """Runs the broker in the folder that is named."""
    folder = Path(sys.argv[1])
    with System(folder, _quietly, Choices(services=())) as system:
        passwords = {granted.user: secrets.token_hex(16) for granted in contract_permissions()}
        listed = [*(definition(name, word) for name, word in passwords.items()), definition(_SUITE, _SUITE, _TAGS)]
        file = folder / "users.json"  # no password stands on a command line
        file.write_text(json.dumps({"users": listed, **json.loads(document(contract_permissions(), topology()))}))
        system.nodes[0].control("import_definitions", str(file))
        file.unlink()
        # The first login after a boot can take longer on a busy machine than services wait.
        parameters = pika.URLParameters(system.amqp_url)
        parameters.connection_attempts, parameters.retry_delay = 5, 1
        pika.BlockingConnection(parameters).close()
        print(json.dumps({"url": system.amqp_url, "passwords": passwords}), flush=True)
        sys.stdin.read()


def definition(name: str, password: str, tags: str = "") -> Mapping[str, str]:
    """A user as RabbitMQ's definitions: the salted hash of its password (RabbitMQ: "Credentials and Passwords")."""
    salt = secrets.token_bytes(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    return {"name": name, "password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": tags}


@contextmanager
def _quietly(name: str) -> Iterator[Callable[[str], None]]:
    """A stage nobody looks at."""
    yield lambda word: None


if __name__ == "__main__":
    main()
