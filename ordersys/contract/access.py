"""Rights to calls, derived from the options of ordersys/api/auth/v1/access.proto, which nothing else reads at run time.

Pure rules: a caller, a method and a request -> allowed, or refused. `runtime.rpc` finds the caller by
a token or a certificate, and applies the rules.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from ordersys.api.auth.v1 import access_pb2
from ordersys.api.auth.v1.access_pb2 import DESCRIPTOR as ACCESS_FILE
from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import StatusError, order_not_found, status_error
from ordersys.contract.topology import events, publication, subscribers

RoleNumber: TypeAlias = "Role.ValueType"
TRUST_DOMAIN = "ordersys"
ISSUER = "https://ordersys.local"
"""Whoever issues tokens, where no other is named."""
AUDIENCE = "ordersys"
"""For whom tokens are issued: the services of this system."""
_SERVICE_ID = f"spiffe://{TRUST_DOMAIN}/service/"
_ANONYMOUS = frozenset({Role.ROLE_ANONYMOUS})
# A namespace nobody else has (RFC 9562 §5.5).
_REQUEST_IDS = uuid.UUID("6d0a5f0c-5a6c-4b0e-9f1d-7c1a3e0b8c55")
_REUSED = ErrorReason.Name(ErrorReason.REQUEST_ID_REUSED).encode()
# The rule `slug` of ordersys/api/rules/v1/rules.proto: the name of a customer is his customer_id.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_WORD_END = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])(?=[0-9])")


class InvalidToken(Exception):
    """A token that proves nothing. The text is for the log: a short reason, no part of the token."""


@dataclass(frozen=True)
class Caller:
    """Somebody who calls. What he may do follows from his roles or, of a service, from its name."""

    name: str = ""
    """As his token names him (`sub`, as a rule); empty for a service, for who has no token, and without identities."""
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


OF_CALLERS = frozenset(
    ErrorReason.Name(reason)
    for reason in (ErrorReason.CREDENTIALS_MISSING, ErrorReason.CREDENTIALS_INVALID, ErrorReason.NOT_PERMITTED)
)
"""The reasons that are about who calls, by name: none says what became of an earlier try."""
ANYBODY = Caller()
"""A caller without a credential."""
TRUSTED = Caller(is_trusted=True)
"""Everybody, where nobody has an identity."""


@dataclass(frozen=True)
class Access:
    """The rights to an RPC, and what of its request a customer has to own: at most one of the two fields is given."""

    roles: frozenset[RoleNumber]
    services: frozenset[str]
    customer_field: str
    order_field: str


def access(method: MethodDescriptor) -> Access:
    """The rights to `method`. Raises ValueError when the contract states none: such an RPC is not to be served."""
    option = method.GetOptions().Extensions[access_pb2.access]
    if not option.callers and not option.services:
        raise ValueError(f"{method.full_name} does not say who may call it (option ordersys.api.auth.v1.access)")
    return Access(frozenset(option.callers), frozenset(option.services), option.customer_field, option.order_field)


def is_name(text: str) -> bool:
    """True for a name that a token may give its caller: 1 to 64 lower-case letters, digits and inner hyphens."""
    return _NAME.fullmatch(text) is not None


def scopes() -> Mapping[str, RoleNumber]:
    """The role that each word in the `scope` of a token gives."""
    values = ACCESS_FILE.enum_types_by_name["Role"].values
    words = ((value.GetOptions().Extensions[access_pb2.scope], value.name) for value in values)
    return {word: Role.Value(name) for word, name in words if word}


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


class Rules:
    """The rules of one RPC, read from the contract once. Pure: changes nothing but the request it is given.

    Raises ValueError for an RPC of which the contract does not say who may call it.
    """

    def __init__(self, method: MethodDescriptor) -> None:
        self._access = access(method)
        entry = batched(method.input_type) or method.input_type
        self._setters = tuple(_setters(entry))
        self.has_request_ids = "request_id" in entry.fields_by_name

    def admit(self, caller: Caller) -> None:
        """Returns if `caller` may make this call at all. Raises StatusError (CREDENTIALS_MISSING, NOT_PERMITTED)."""
        _admit(caller, self._access.roles, self._access.services)

    def refusal(self, request: Any, caller: Caller) -> StatusError | None:
        """The refusal of this request, or one of a batch; None if he may. An owner he left out is filled in."""
        if caller.is_trusted:
            return None
        for field, roles, services in self._setters:
            if request.HasField(field) and not _is_one_of(caller, roles, services):
                return status_error(ErrorReason.NOT_PERMITTED, field=field)
        field = self._access.customer_field
        if field and caller.only_for is not None:
            if not getattr(request, field):
                setattr(request, field, caller.only_for)
            elif not caller.owns(getattr(request, field)):
                return status_error(ErrorReason.NOT_PERMITTED, field=field)
        return None


def admit_operator(caller: Caller) -> None:
    """Admits an operator to what is no call of the contract. Raises StatusError, as `Rules.admit`."""
    _admit(caller, frozenset({Role.ROLE_OPERATOR}), frozenset())


class NotOwned(StatusError):
    """An order that belongs to somebody else: to his caller a status like that of an order that never was."""


def check_owner(whom: Caller, order_id: str, customer_id: str) -> None:
    """Raises NotOwned unless the order is his, or he acts for all."""
    if not whom.owns(customer_id):
        raise NotOwned(order_not_found(order_id).status)


def batched(request: Descriptor) -> Descriptor | None:
    """The message type of the requests that a batch carries; None for a request that is no batch."""
    field = request.fields_by_name.get("requests")
    return field.message_type if field is not None and field.is_repeated else None


def _admit(caller: Caller, roles: frozenset[RoleNumber], services: frozenset[str]) -> None:
    if not caller.is_trusted and not _is_one_of(caller, roles, services):
        raise status_error(ErrorReason.CREDENTIALS_MISSING if caller == ANYBODY else ErrorReason.NOT_PERMITTED)


def _is_one_of(caller: Caller, roles: frozenset[RoleNumber], services: frozenset[str]) -> bool:
    """Only what is stated, and never the union of two credentials: a service has no role, a token is no service."""
    return caller.service in services if caller.service else not roles.isdisjoint(caller.roles)


def _setters(request: Descriptor) -> Iterator[tuple[str, frozenset[RoleNumber], frozenset[str]]]:
    for field in request.fields:
        option = field.GetOptions().Extensions[access_pb2.setters]
        if option.callers or option.services:
            yield field.name, frozenset(option.callers), frozenset(option.services)


class OwnRequestIds:
    """The request_ids of one call, as its caller chose them and as they are kept: one id, two callers, two requests.

    The kept ones are digests of the caller and of his id, and UUIDs as well. They are what the services, their
    tables and the services behind them know; a refusal that names one is told with the caller's own. Callers without
    a name share theirs: services, of which the contract names one for each RPC, and everybody where nobody has an
    identity.
    """

    def __init__(self, requests: Iterable[Any], caller: Caller) -> None:
        """Puts the kept ids into `requests`."""
        self._chosen: dict[bytes, bytes] = {}
        if caller.name:
            # Whoever acts for all may have been answered with what is not for him alone, though his name is the same.
            principal = f"customer {caller.name}" if caller.only_for is not None else f"operator {caller.name}"
            for request in requests:
                chosen = request.request_id.lower()  # as UUIDs are read (contract/normalisation.py)
                request.request_id = str(uuid.uuid5(_REQUEST_IDS, f"{principal} {chosen}"))
                self._chosen[request.request_id.encode()] = chosen.encode()

    def told(self, encoded: bytes) -> bytes:
        """A response or a status for the caller, encoded: only a request_id that was reused is named in one."""
        if self._chosen and _REUSED in encoded:
            # At once: one that was chosen may be one that is kept. All are as long, so that the encoding stays one.
            return re.sub(b"|".join(self._chosen), lambda kept: self._chosen[kept[0]], encoded)
        return encoded
