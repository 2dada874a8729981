"""The claims of an issuer's tokens -> a caller: what stands in which claim, and what has to stand there.

As RFC 9068 profiles them unless settings say otherwise. An issuer whose access tokens have the type of any JWT signs
other tokens that look alike, for other ends: those are told by their claims, as far as they can be.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeGuard

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract import access
from ordersys.contract.access import InvalidToken, RoleNumber
from ordersys.runtime.base import claims as names
from ordersys.runtime.base.claims import ClaimPath
from ordersys.runtime.base.settings import InvalidSetting
from ordersys.runtime.settings import Settings

_ACCESS_TOKEN = "at+jwt"  # noqa: S105 - RFC 9068, 4: no other token has this type
_NO_TYPE = "none"
_OF_OTHER_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash", "events")
"""Claims of ID tokens (OpenID Connect Core, 2 and 3.3.2.11; FAPI 1, 2, 5.1) and of events, such as a logout."""
_KINDS = ("Bearer", "DPoP")
"""The access tokens among those that Keycloak tells apart by a claim `typ`; the others are ID, Refresh, Logout …"""


class Profile(NamedTuple):
    """The form of an issuer's tokens, and for whom they have to be."""

    issuer: str
    audience: str
    types: frozenset[str]
    customer: ClaimPath
    roles: ClaimPath
    words: Mapping[str, RoleNumber]

    @classmethod
    def of(cls, settings: Settings) -> "Profile":
        """The profile that settings describe. Raises InvalidSetting."""
        customer, operator = settings.token_customer_role, settings.token_operator_role
        if customer == operator:
            text = "ORDERSYS_TOKEN_CUSTOMER_ROLE and ORDERSYS_TOKEN_OPERATOR_ROLE"
            raise InvalidSetting(f"{text} are both {customer!r} but must be different")
        return cls(
            settings.token_issuer,
            settings.token_audience,
            settings.token_types,
            settings.token_customer_claim,
            settings.token_roles_claim,
            {customer: Role.ROLE_CUSTOMER, operator: Role.ROLE_OPERATOR},
        )

    def type_of(self, header: Mapping[str, object]) -> str:
        """The type of a token, as types are compared. Raises InvalidToken for one that is not accepted."""
        given = header.get("typ", _NO_TYPE)
        if not isinstance(given, str) or names.type_name(given) not in self.types:
            raise InvalidToken(f"not of the type {' or '.join(sorted(self.types))}")
        return names.type_name(given)

    def caller(self, claims: Mapping[str, object], type_: str) -> access.Caller:
        """The caller that these claims of a token of this type name. Raises InvalidToken."""
        if claims.get("iss") != self.issuer:
            raise InvalidToken("of another issuer")
        aud = claims.get("aud")
        if aud != self.audience and not (_is_texts(aud) and self.audience in aud):
            raise InvalidToken("not for this audience")
        if type_ != _ACCESS_TOKEN:
            self._check_end(claims)
        name = self.customer.value(claims, None)
        if not isinstance(name, str) or not access.is_name(name):
            raise InvalidToken(f"{self.customer} is not 1 to 64 lower-case letters, digits and inner hyphens")
        given = self.roles.value(claims, "")
        words = given.split(" ") if isinstance(given, str) else given
        if not _is_texts(words):
            raise InvalidToken(f"{self.roles} is neither a text nor a list of texts")
        roles = {self.words[word] for word in words if word in self.words}
        return access.Caller(name, frozenset({Role.ROLE_ANONYMOUS, *roles}))

    def _check_end(self, claims: Mapping[str, object]) -> None:
        """Raises InvalidToken for claims that are of no access token, or may not be."""
        if any(name in claims for name in _OF_OTHER_TOKENS) or claims.get("typ", _KINDS[0]) not in _KINDS:
            raise InvalidToken("an ID token, or another that is no access token")
        if self.roles.value(claims, None) is None:
            raise InvalidToken(f"without {self.roles}, which an ID token lacks")


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
