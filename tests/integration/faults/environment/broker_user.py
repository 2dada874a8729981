"""The user by whom the harness is in the broker: guest, or, where everybody needs a certificate, one of its own."""

import secrets
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pika
from pika.credentials import ExternalCredentials

from ordersys.identity import issuing
from ordersys.identity.layout import BROKER, Layout
from ordersys.local.rabbitmq import Node
from tests.integration.faults.environment.network import LOOPBACK

_NAME = "harness"
_EVERYTHING = (".*", ".*", ".*")
# It declares queues, purges, and publishes what services would: as their users, where events name these.
_TAGS = ("administrator", "impersonator")


class BrokerUser:
    """A user that may do everything, with a certificate of the system's own authority."""

    def __init__(self, layout: Layout, folder: Path, node: Node) -> None:
        """Adds the user to a running broker; restarts of that don't remove it."""
        authority = issuing.parsed_certificate(layout.ca.read_bytes())
        signing = issuing.Pair(authority, issuing.parsed_key(layout.ca_key.read_bytes()))
        own = issuing.leaf(signing, _NAME, datetime.now(UTC))
        files = folder / f"{_NAME}.pem", folder / f"{_NAME}.key"
        files[0].write_bytes(issuing.certificate_pem(own.certificate))
        files[1].write_bytes(issuing.key_pem(own.key))
        self._context = ssl.create_default_context(cafile=str(layout.ca))
        self._context.load_cert_chain(*files)
        node.control("add_user", _NAME, secrets.token_hex())  # whom passwords let in nobody here
        node.control("set_user_tags", _NAME, *_TAGS)
        node.control("set_permissions", _NAME, *_EVERYTHING)

    def parameters(self, port: int) -> pika.ConnectionParameters:
        """The way into the node at that port."""
        options = pika.SSLOptions(self._context, BROKER)
        return pika.ConnectionParameters(LOOPBACK, port, credentials=ExternalCredentials(), ssl_options=options)
