"""Who may call what, derived from the options of ordersys/api/auth/v1/access.proto, which no other module reads.

Pure rules: a caller, a method and a request -> allowed, or refused. Where a caller comes from (a token, a certificate)
and where the rules are applied: `runtime.rpc`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from google.protobuf.descriptor import MethodDescriptor

from ordersys.api.auth.v1 import access_pb2
from ordersys.api.auth.v1.access_pb2 import DESCRIPTOR as ACCESS_FILE
from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract.topology import events, publication, subscribers

RoleNumber: TypeAlias = "Role.ValueType"
TRUST_DOMAIN = "ordersys"
ISSUER = "https://ordersys.local"
"""The `iss` of tokens where no other issuer is set: a name, nothing is fetched from it."""
AUDIENCE = "ordersys"
"""The `aud` of tokens for this system where no other is set."""
_SERVICE_ID = f"spiffe://{TRUST_DOMAIN}/service/"
_ANONYMOUS = frozenset({Role.ROLE_ANONYMOUS})
_WORD_END = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])(?=[0-9])")


@dataclass(frozen=True)
class Caller:
    """Who calls. What he may do follows from his roles or, of a service, from its name."""

    name: str = ""
    """The `sub` of his token; empty for a service, for a caller without a token, and where nobody has an identity."""
    roles: frozenset[RoleNumber] = _ANONYMOUS
    service: str = ""
    """The full name of a service of the contract, known by its certificate."""
    is_trusted: bool = False
    """Everybody, where nobody has an identity: may do everything."""

    @property
    def only_for(self) -> str | None:
        """The customer for whom alone this caller acts, None for one who acts for all."""
        is_one = Role.ROLE_CUSTOMER in self.roles and Role.ROLE_OPERATOR not in self.roles
        return self.name if is_one and not self.is_trusted else None

    def owns(self, customer_id: str) -> bool:
        """True if what belongs to this customer is his to read and change."""
        return self.only_for in (None, customer_id)

    def __str__(self) -> str:
        """Fit for a log: a role and a name, no credential."""
        if self.service:
            return service_name(self.service)
        words = [Role.Name(role).removeprefix("ROLE_").lower() for role in sorted(self.roles - _ANONYMOUS)]
        return " ".join([*words, self.name]) if self.name else "anonymous"


ANYBODY = Caller()
"""A caller without a credential."""
TRUSTED = Caller(is_trusted=True)
"""Everybody, where nobody has an identity."""


@dataclass(frozen=True)
class Access:
    """Who may call an RPC, and what of its request a customer has to own: at most one of the two fields is given."""

    roles: frozenset[RoleNumber]
    services: frozenset[str]
    customer_field: str
    order_field: str


def access(method: MethodDescriptor) -> Access:
    """The rights to `method`. Raises ValueError when the contract states none: such an RPC is not to be served."""
    option = method.GetOptions().Extensions[access_pb2.access]
    if not option.callers and not option.services:
        raise ValueError(f"{method.full_name} does not say who may call it (option ordersys.api.auth.v1.access)")
    return Access(
        frozenset(option.callers), frozenset(option.services), option.customer_field, option.order_field
    )


def scopes() -> Mapping[str, RoleNumber]:
    """The role that each word in the `scope` of a token gives."""
    values = ACCESS_FILE.enum_types_by_name["Role"].values
    return {word: value.number for value in values if (word := value.GetOptions().Extensions[access_pb2.scope])}


@cache
def service_ids() -> Mapping[str, str]:
    """The full name of each service that publishes or subscribes by its SPIFFE id, which is in its certificate."""
    publishers = {publication(event).publisher for event in events().values()}
    return {service_id(name): name for name in publishers | {service.full_name for service in subscribers()}}


def service_id(full_name: str) -> str:
    """The SPIFFE id of a service: ordersys.api.order.v1.OrderService -> spiffe://ordersys/service/order-service."""
    return _SERVICE_ID + service_name(full_name)


def service_name(full_name: str) -> str:
    """The name a service has in certificates and logs: ordersys.api.order.v1.OrderService -> order-service."""
    return _WORD_END.sub("-", full_name.rpartition(".")[2]).lower()
