"""The places of identities within their folder, and the settings by which services and clients are told of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

BROKER, TOPOLOGY, OBSERVER = "rabbitmq", "topology", "observer"
"""Those with a certificate that are no service of the contract: the broker, whoever declares its queues, and whoever
only looks at them."""
CA_FILE, TOKEN_FILE = "ORDERSYS_CA_FILE", "ORDERSYS_TOKEN_FILE"
"""The variables of a client: whom it trusts, and whose token it shows."""
TLS_CA_FILE = "ORDERSYS_TLS_CA_FILE"
"""The variable of a service that says whom it trusts."""
OPERATOR = "operator"
"""The name of the operator, whose token lies beside those of the customers."""


class Layout(NamedTuple):
    """The files of a folder with identities."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate of the authority, which everybody trusts."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The key of the authority. No service needs it."""
        return self.folder / "ca.key"

    @property
    def issuer_key(self) -> Path:
        """The key that signs tokens. No service needs it."""
        return self.folder / "issuer.key"

    @property
    def token_keys(self) -> Path:
        """The key set by which services verify tokens."""
        return self.folder / "token-keys.json"

    @property
    def tokens(self) -> Path:
        """The folder of the tokens."""
        return self.folder / "tokens"

    def certificate(self, name: str) -> Path:
        """The certificate of a service."""
        return self.folder / name / "certificate.pem"

    def key(self, name: str) -> Path:
        """The key of a service."""
        return self.folder / name / "key.pem"

    def token(self, name: str) -> Path:
        """The token of a customer, or of the operator."""
        return self.tokens / f"{name}.token"

    def service_environment(self, name: str) -> Mapping[str, str]:
        """The settings of a service. Paths alone: no secret stands in an environment."""
        return {
            TLS_CA_FILE: str(self.ca),
            "ORDERSYS_TLS_CERTIFICATE_FILE": str(self.certificate(name)),
            "ORDERSYS_TLS_KEY_FILE": str(self.key(name)),
            "ORDERSYS_TOKEN_KEYS_FILE": str(self.token_keys),
        }

    def client_environment(self, name: str) -> Mapping[str, str]:
        """The settings of a client that calls as the one whose token that is."""
        return {CA_FILE: str(self.ca), TOKEN_FILE: str(self.token(name))}
