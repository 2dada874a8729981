"""Callers of a system with identities: operators and customers by tokens, services by certificates.

The folder is one that `python -m ordersys.identity` makes, or `python -m ordersys.local`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract import access
from ordersys.identity.authority import Authority

OPERATOR = "olga"
_PRODUCT = "product-service"
_LONGEST_HOURS = 24


class Identity:
    """The callers that the suite plays, by an authority and an issuer that the services trust."""

    def __init__(self, folder: Path, internal_address: str) -> None:
        """`internal_address` is where the Order Service listens to other services."""
        self.internal_address = internal_address
        self.authority = Authority(folder)
        self.operator = self.token(OPERATOR, Role.ROLE_OPERATOR)

    def token(self, name: str, *roles: Any) -> str:
        """A new token of somebody."""
        return self.authority.token(name, roles)

    def channel(
        self, target: str, options: Sequence[tuple[str, Any]], known_as: str = "", role: str = ""
    ) -> grpc.Channel:
        """A channel to the service `role`, with the certificate of the service `known_as`, if that is given."""
        layout = self.authority.layout
        own = (layout.key(known_as), layout.certificate(known_as)) if known_as else ()
        credentials = grpc.ssl_channel_credentials(layout.ca.read_bytes(), *(file.read_bytes() for file in own))
        named = [("grpc.ssl_target_name_override", role)] if role else []
        return grpc.secure_channel(target, credentials, [*options, *named])

    def channel_of_operator(self, target: str, options: Sequence[tuple[str, Any]], role: str) -> grpc.Channel:
        """A channel to the service `role` on which each call shows a token of the operator, which lasts for a day."""
        authorities = self.authority.layout.ca.read_bytes()
        token = self.authority.token(OPERATOR, [Role.ROLE_OPERATOR], _LONGEST_HOURS)
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(authorities), grpc.access_token_call_credentials(token)
        )
        return grpc.secure_channel(target, credentials, [*options, ("grpc.ssl_target_name_override", role)])

    def of_product_service(self, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
        """A channel to the Order Service, as the Product Service has it."""
        return self.channel(self.internal_address, options, _PRODUCT, "order-service")


def is_for_services(method: MethodDescriptor) -> bool:
    """True for an RPC that no token gives a right to."""
    return not access.access(method).roles


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)
