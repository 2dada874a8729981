"""Tokens as other issuers write them: who calls stands in other claims, and other tokens are signed by the same key.

Each is really signed. The claims are those that the documentation of Keycloak, Auth0 and Entra has; names are examples.
"""

import json
from collections.abc import Mapping, Sequence

import pytest

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract.access import Caller, InvalidToken, scopes
from ordersys.runtime.base.settings import InvalidSetting, read
from ordersys.runtime.identity.key_sets import Keys
from ordersys.runtime.identity.profile import Profile
from ordersys.runtime.identity.tokens import Tokens
from ordersys.runtime.settings import Settings
from tests.unit.test_tokens import NOW, RS256, Clock, Json

UUID = "6b2e0f0a-4f1c-4d53-9a55-0f6a4b1f2c11"
ANYBODY, CUSTOMER, OPERATOR = Role.ROLE_ANONYMOUS, Role.ROLE_CUSTOMER, Role.ROLE_OPERATOR
TIMES: Json = {"iat": NOW, "exp": NOW + 300}
KEYCLOAK: Json = {
    **TIMES,
    "auth_time": NOW - 5,
    "jti": "onrtac:1",
    "iss": "https://login.example/realms/shop",
    "aud": ["ordersys", "account"],
    "sub": UUID,
    "typ": "Bearer",
    "azp": "web-shop",
    "sid": "s",
    "acr": "1",
    "realm_access": {"roles": ["offline_access", "shop-customer"]},
    "resource_access": {"ordersys": {"roles": ["shop-operator"]}, "account": {"roles": ["view-profile"]}},
    "scope": "openid email profile",
    "preferred_username": "ada",
}
AUTH0: Json = {
    **TIMES,
    "exp": NOW + 86_400,
    "iss": "https://shop.auth0.example/",
    "sub": "auth0|64b2e0f0a4f1c4d539a550f6",
    "aud": ["https://ordersys.example", "https://shop.auth0.example/userinfo"],
    "azp": "client",
    "scope": "openid profile",
    "https://shop.example/customer_id": "ada",
    "https://shop.example/roles": ["ordersys.customer"],
}
ENTRA: Json = {
    **TIMES,
    "nbf": NOW,
    "aud": "11111111-2222-3333-4444-555555555555",
    "iss": "https://login.example/tenant/v2.0",
    "azp": "66666666-2222-3333-4444-555555555555",
    "oid": UUID,
    "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
    "roles": ["Orders.Operate"],
    "scp": "access_as_user",
    "tid": "tenant",
    "uti": "u",
    "ver": "2.0",
}
ISSUERS: Mapping[str, tuple[Json, Mapping[str, str], Caller]] = {
    "Keycloak, roles of the realm": (
        KEYCLOAK,
        {"TYPES": "JWT", "ROLES_CLAIM": "realm_access.roles", "CUSTOMER_ROLE": "shop-customer"},
        Caller(UUID, frozenset({ANYBODY, CUSTOMER})),
    ),
    "Keycloak, roles of the client": (
        KEYCLOAK,
        {"TYPES": "JWT", "ROLES_CLAIM": "resource_access.ordersys.roles", "OPERATOR_ROLE": "shop-operator"},
        Caller(UUID, frozenset({ANYBODY, OPERATOR})),
    ),
    "Auth0": (
        AUTH0,
        {
            "TYPES": "JWT",
            "CUSTOMER_CLAIM": r"https://shop\.example/customer_id",
            "ROLES_CLAIM": r"https://shop\.example/roles",
        },
        Caller("ada", frozenset({ANYBODY, CUSTOMER})),
    ),
    "Entra": (
        ENTRA,
        {
            "TYPES": "at+jwt, JWT",
            "CUSTOMER_CLAIM": "oid",
            "ROLES_CLAIM": "roles",
            "CUSTOMER_ROLE": "Orders.Place",
            "OPERATOR_ROLE": "Orders.Operate",
        },
        Caller(UUID, frozenset({ANYBODY, OPERATOR})),
    ),
}
OF_ISSUERS = pytest.mark.parametrize("issuer", ISSUERS)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The keys of every issuer here."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(json.dumps({"keys": [RS256.jwk]}))
    return Keys(file)


def settings(**given: str) -> Settings:
    """Settings whose variables begin with ORDERSYS_TOKEN_."""
    return read(Settings, {f"ORDERSYS_TOKEN_{name}": value for name, value in given.items()})


def caller(keys: Keys, issuer: str, claims: Json | None = None, header_type: object = "JWT") -> Caller:
    """The caller that a token of `issuer` proves, with these claims changed; ... takes one out."""
    usual, given, _ = ISSUERS[issuer]
    aud = usual["aud"]
    audience = str(aud[0] if isinstance(aud, list) else aud)
    profile = Profile.of(settings(ISSUER=str(usual["iss"]), AUDIENCE=audience, **given))
    return Tokens(keys, profile, Clock()).caller(
        RS256.token(_merged(usual, claims or {}), _merged(RS256.header, {"typ": header_type}))
    )


def _merged(usual: Json, changed: Json) -> Json:
    return {name: value for name, value in {**usual, **changed}.items() if value is not ...}


@OF_ISSUERS
def test_a_token_of_another_issuer_proves_its_caller(issuer: str, keys: Keys) -> None:
    """Once settings say where its claims stand."""
    assert caller(keys, issuer) == ISSUERS[issuer][2]


@pytest.mark.parametrize("name", ["nonce", "at_hash", "c_hash", "s_hash", "events"])
@OF_ISSUERS
def test_a_token_of_any_type_with_a_claim_of_an_id_token_is_refused(issuer: str, name: str, keys: Keys) -> None:
    """Or of a logout token, whatever the claim holds: its type does not tell them apart."""
    values: Sequence[object] = ("x", None, {})
    for value in values:
        with pytest.raises(InvalidToken, match="no access token"):
            caller(keys, issuer, {name: value})


@pytest.mark.parametrize("kind", ["ID", "Refresh", "Offline", "Logout", "bearer", "", None, ["Bearer"]])
def test_a_token_that_keycloak_calls_something_else_is_refused(kind: object, keys: Keys) -> None:
    """Its claim typ tells its tokens apart."""
    with pytest.raises(InvalidToken, match="no access token"):
        caller(keys, "Keycloak, roles of the realm", {"typ": kind})


@OF_ISSUERS
def test_a_token_of_any_type_without_the_claim_of_roles_is_refused(issuer: str, keys: Keys) -> None:
    """An ID token seldom has one."""
    names = ("realm_access", "resource_access", "https://shop.example/roles", "roles")
    for lacking in (..., None):
        with pytest.raises(InvalidToken, match="which an ID token lacks"):
            caller(keys, issuer, dict.fromkeys(names, lacking))


def test_a_token_of_the_type_of_access_tokens_is_told_by_that_alone(keys: Keys) -> None:
    """It may have a nonce, as of Keycloak's mapper for old clients, and no roles."""
    known = caller(keys, "Entra", {"nonce": "n", "roles": ...}, header_type="at+jwt")
    assert known == Caller(UUID, frozenset({ANYBODY}))


@pytest.mark.parametrize("type_", [..., None, "none", "logout+jwt", "at+jwt,JWT", ["JWT"], "J\u017fWT"])
def test_a_token_of_a_type_that_is_not_named_is_refused(type_: object, keys: Keys) -> None:
    """Also one without a type."""
    with pytest.raises(InvalidToken, match=r"not of the type at\+jwt or jwt"):
        caller(keys, "Entra", header_type=type_)


def test_a_token_without_a_type_is_accepted_where_settings_say_so(keys: Keys) -> None:
    """There are issuers that write none."""
    usual, given, known = ISSUERS["Entra"]
    profile = Profile.of(settings(ISSUER=str(usual["iss"]), AUDIENCE=str(usual["aud"]), **{**given, "TYPES": "none"}))
    tokens = Tokens(keys, profile, Clock())
    assert tokens.caller(RS256.token(usual, _merged(RS256.header, {"typ": ...}))) == known
    for type_ in ("JWT", "at+jwt", None):
        with pytest.raises(InvalidToken, match="not of the type none"):
            tokens.caller(RS256.token(usual, _merged(RS256.header, {"typ": type_})))


NO_ROLES: Mapping[str, Json] = {
    "other roles": {"realm_access": {"roles": ["customer", "shop-customer-x", "Shop-customer"]}},
    "the word of the demo": {"realm_access": {"roles": ["ordersys.customer"]}},
    "none": {"realm_access": {"roles": []}},
    "in another claim": {"roles": ["shop-customer"], "realm_access": {"roles": []}},
    "a claim whose name is the path": {"realm_access.roles": ["shop-customer"], "realm_access": {"roles": []}},
}


@pytest.mark.parametrize("claims", NO_ROLES.values(), ids=NO_ROLES)
def test_other_words_and_other_claims_give_no_role(claims: Json, keys: Keys) -> None:
    """Also the words that were replaced."""
    assert caller(keys, "Keycloak, roles of the realm", claims).roles == {ANYBODY}


@pytest.mark.parametrize(
    "roles", [1, True, {"shop-customer": True}, [["shop-customer"]], ["shop-customer", None]], ids=str
)
def test_roles_of_another_form_are_refused(roles: object, keys: Keys) -> None:
    """Nobody guesses what they mean."""
    with pytest.raises(InvalidToken, match="neither a text nor a list of texts"):
        caller(keys, "Keycloak, roles of the realm", {"realm_access": {"roles": roles}})


@pytest.mark.parametrize("name", [..., None, "", 1, ["ada"], "auth0|64b2", "Ada", "a" * 65, "ada\n"])
def test_the_claim_of_the_customer_has_a_customer_id(name: object, keys: Keys) -> None:
    """No other claim stands in for it."""
    with pytest.raises(InvalidToken, match="customer_id is not 1 to 64"):
        caller(keys, "Auth0", {"https://shop.example/customer_id": name, "sub": "ada", "customer_id": "ada"})


def test_a_token_of_the_demo_is_none_of_another_issuer(keys: Keys) -> None:
    """It has another type and another issuer."""
    own: Json = {
        **TIMES,
        "iss": "https://ordersys.local",
        "aud": "ordersys",
        "sub": "ada",
        "scope": "ordersys.operator",
    }
    profile = Profile.of(settings(ISSUER=str(KEYCLOAK["iss"]), TYPES="JWT,at+jwt"))
    with pytest.raises(InvalidToken, match="of another issuer"):
        Tokens(keys, profile, Clock()).caller(RS256.token(own))


WRONG: Mapping[str, tuple[str, str]] = {
    "CUSTOMER_CLAIM": ("a name", ".sub sub. a..b . \\ a\\ a\\b \\n su\x00b"),
    "ROLES_CLAIM": ("a name", ".roles realm_access..roles \\x"),
    "TYPES": ("types of tokens", ", at+jwt,, JWT;at+jwt +jwt \u00e4"),
    "CUSTOMER_ROLE": ("one word", "a\u00a0b a\x1bb"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (_, values) in WRONG.items() for value in values.split(" ")]
)
def test_a_setting_that_names_nothing_is_told(name: str, value: str) -> None:
    """In one line with its variable."""
    with pytest.raises(InvalidSetting) as wrong:
        settings(**{name: value})
    assert str(wrong.value).startswith(f"ORDERSYS_TOKEN_{name} is {value!r} but must be ")
    assert "\n" not in str(wrong.value)


def test_one_word_for_both_roles_is_told() -> None:
    """It would make every customer an operator."""
    with pytest.raises(InvalidSetting) as wrong:
        Profile.of(settings(CUSTOMER_ROLE="shop", OPERATOR_ROLE="shop"))
    assert str(wrong.value) == (
        "ORDERSYS_TOKEN_CUSTOMER_ROLE and ORDERSYS_TOKEN_OPERATOR_ROLE are both 'shop' but must be different"
    )


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("sub", ("sub",)),
        ("realm_access.roles", ("realm_access", "roles")),
        ("resource_access.my\\.app.roles", ("resource_access", "my.app", "roles")),
        ("https://shop\\.example/roles", ("https://shop.example/roles",)),
        ("cognito:groups", ("cognito:groups",)),
        ("a\\\\.b", ("a\\", "b")),
        ("a b.c", ("a b", "c")),
    ],
)
def test_a_path_leads_by_its_dots(path: str, names: tuple[str, ...]) -> None:
    """But for those with a backslash before them."""
    claims: object = "value"
    for name in reversed(names):
        claims = {name: claims}
    assert isinstance(claims, dict)
    assert settings(ROLES_CLAIM=path).token_roles_claim.value(claims, None) == "value"


def test_the_words_of_roles_are_those_of_the_contract() -> None:
    """Unless settings say otherwise."""
    assert Profile.of(settings()).words == scopes()
