"""Tokens: a good one proves its caller, and nothing else does; keys change while the process runs."""

import base64
import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.contract.access import Caller, InvalidToken
from ordersys.runtime.identity.key_sets import Keys, UnusableKeys, key_set
from ordersys.runtime.identity.profile import Profile
from ordersys.runtime.identity.tokens import LONGEST_SECONDS, MOST_CHARACTERS, Tokens
from ordersys.runtime.settings import Settings

Json: TypeAlias = dict[str, object]
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
NOW = 1_800_000_000
ISSUER, AUDIENCE = "https://issuer.example", "ordersys"
PROFILE = Profile.of(Settings(token_issuer=ISSUER, token_audience=AUDIENCE))
ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALGORITHMS = get_default_algorithms()
TEXTS = st.text(max_size=80) | st.sampled_from(["ordersys", "ordersys.operator", "ada", "at+jwt"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
_ticks = count(1)


@dataclass(frozen=True)
class Signer:
    """A key of an issuer, in one of its algorithms."""

    algorithm: str
    kid: str
    key: PrivateKey

    @property
    def jwk(self) -> Json:
        public = ALGORITHMS[self.algorithm].to_jwk(self.key.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    @property
    def header(self) -> Json:
        return {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt"}

    def signature(self, signed: str) -> str:
        return _encoded(ALGORITHMS[self.algorithm].sign(signed.encode(), self.key))

    def token(self, claims: Json | str, header: Json | str | None = None) -> str:
        """A token of these claims, signed by this key, whatever the header says."""
        signed = f"{_segment(self.header if header is None else header)}.{_segment(claims)}"
        return f"{signed}.{self.signature(signed)}"


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _segment(content: Json | str) -> str:
    return _encoded((content if isinstance(content, str) else json.dumps(content)).encode())


class Clock:
    """A clock that is set by hand."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


ES256 = Signer("ES256", "es256", ec.generate_private_key(ec.SECP256R1()))
RS256 = Signer("RS256", "rs256", rsa.generate_private_key(65537, 2048))
SIGNERS = (
    ES256,
    RS256,
    Signer("ES384", "es384", ec.generate_private_key(ec.SECP384R1())),
    Signer("PS256", "ps256", RS256.key),
    Signer("EdDSA", "eddsa", ed25519.Ed25519PrivateKey.generate()),
)
CLAIMS: Json = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ada",
    "scope": "openid ordersys.customer",
    "iat": NOW,
    "exp": NOW + 3600,
}
ADA = Caller("ada", frozenset({Role.ROLE_ANONYMOUS, Role.ROLE_CUSTOMER}))


def _claims(**changed: object) -> Json:
    """Good claims but for these; those that are ... are left out."""
    return {name: value for name, value in {**CLAIMS, **changed}.items() if value is not ...}


def _header(**changed: object) -> Json:
    return {name: value for name, value in {**ES256.header, **changed}.items() if value is not ...}


def _write(file: Path, *keys: Mapping[str, object]) -> None:
    _exchange(file, json.dumps({"keys": keys}).encode())


def _exchange(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    tick = next(_ticks)
    os.utime(file, ns=(tick, tick))  # two changes within one tick of the file system's clock are two


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the keys of the issuer."""
    made = tmp_path / "keys.json"
    _write(made, *(signer.jwk for signer in SIGNERS))
    return made


@pytest.fixture
def keys(file: Path) -> Keys:
    """The keys of the issuer."""
    return Keys(file)


@pytest.fixture
def clock() -> Clock:
    """The clock of the service."""
    return Clock()


@pytest.fixture
def tokens(keys: Keys, clock: Clock) -> Tokens:
    """The tokens of the issuer for this audience."""
    return Tokens(keys, PROFILE, clock)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """Tokens for all examples of a test; the clock stands still."""
    file = tmp_path_factory.mktemp("shared") / "keys.json"
    _write(file, *(signer.jwk for signer in SIGNERS))
    return Tokens(Keys(file), PROFILE, Clock())


@pytest.mark.parametrize("signer", SIGNERS, ids=[signer.algorithm for signer in SIGNERS])
def test_a_good_token_proves_its_caller(signer: Signer, tokens: Tokens) -> None:
    """By a key of each type, at first and when it is known."""
    token = signer.token(CLAIMS)
    assert tokens.caller(token) == ADA
    assert tokens.caller(token) == ADA


@pytest.mark.parametrize(
    ("scope", "roles"),
    [
        pytest.param(..., set(), id="missing"),
        pytest.param("", set(), id="empty"),
        pytest.param("openid profile", set(), id="others"),
        pytest.param("ordersys.customer-x", set(), id="longer"),
        pytest.param("ordersys", set(), id="shorter"),
        pytest.param("ORDERSYS.OPERATOR", set(), id="upper case"),
        pytest.param("\tordersys.operator\n", set(), id="other white space"),
        pytest.param("ordersys.operator", {Role.ROLE_OPERATOR}, id="operator"),
        pytest.param([], set(), id="empty list"),
        pytest.param(["a ordersys.operator"], set(), id="a word within one of a list"),
        pytest.param(["ordersys.operator"], {Role.ROLE_OPERATOR}, id="operator in a list"),
        pytest.param("a  ordersys.operator ordersys.customer", {Role.ROLE_OPERATOR, Role.ROLE_CUSTOMER}, id="both"),
    ],
)
def test_whole_words_of_the_scope_give_roles(scope: object, roles: set[Role.ValueType], tokens: Tokens) -> None:
    """Beside that of anybody, which a token without any of them leaves."""
    caller = tokens.caller(ES256.token(_claims(scope=scope)))
    assert caller == Caller("ada", frozenset({Role.ROLE_ANONYMOUS} | roles))


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(ES256.token(CLAIMS, _header(typ="application/at+jwt")), id="media type in full"),
        pytest.param(ES256.token(CLAIMS, _header(typ="AT+JWT")), id="type in upper case"),
        pytest.param(ES256.token(_claims(aud=[AUDIENCE])), id="list of the one audience"),
        pytest.param(ES256.token(_claims(aud=["account", AUDIENCE])), id="for others, too"),
        pytest.param(ES256.token(_claims(scope=["openid", "ordersys.customer"])), id="scope a list"),
        pytest.param(ES256.token(_claims(nonce="n", at_hash="h", typ="ID")), id="claims of an ID token"),
        pytest.param(ES256.token(_claims(iat=NOW + 30)), id="issued by a clock that is ahead"),
        pytest.param(ES256.token(_claims(nbf=NOW + 30)), id="begins by a clock that is ahead"),
        pytest.param(ES256.token(_claims(exp=NOW + 1)), id="last second"),
        pytest.param(ES256.token(_claims(exp=NOW + LONGEST_SECONDS)), id="longest"),
        pytest.param(ES256.token(_claims(jti="1", client_id="x", groups=[["a"], {}])), id="other claims"),
        pytest.param(ES256.token(CLAIMS, _header(jwk=RS256.jwk, jku="https://evil.example/")), id="keys in the header"),
    ],
)
def test_a_token_at_the_edge_of_the_rules_is_good(token: str, tokens: Tokens) -> None:
    """No issuer that keeps to RFC 9068 is refused."""
    assert tokens.caller(token) == ADA


def _forged(algorithm: str, secret: bytes) -> str:
    """A token whose signature is an HMAC: of anybody who has the public key, where it is taken for a secret."""
    signed = f"{_segment(_header(alg=algorithm))}.{_segment(CLAIMS)}"
    return f"{signed}.{_encoded(ALGORITHMS['HS256'].sign(signed.encode(), secret))}"


def _parts(token: str, part: int, content: str) -> str:
    parts = token.split(".")
    parts[part] = content
    return ".".join(parts)


GOOD = ES256.token(CLAIMS)
SIGNED, SIGNATURE = GOOD.rsplit(".", 1)
PEM = ES256.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
STRANGER = Signer("ES256", "es256", ec.generate_private_key(ec.SECP256R1()))
TWICE = json.dumps(CLAIMS)[:-1]
FORGED: Mapping[str, Mapping[str, str]] = {
    "not in the compact form of a JWS": {
        "empty": "",
        "no segments": "token",
        "two segments": SIGNED,
        "four segments": f"{GOOD}.",
        "five segments": f"{GOOD}.a.b",
        "no signature": f"{SIGNED}.",
        "padding": f"{GOOD}==",
        "white space after": f"{GOOD} ",
        "newline after": f"{GOOD}\n",
        "white space before": f" {GOOD}",
        "Bearer": f"Bearer {GOOD}",
        "garbage": "x" * 7000,
        "alg nOnE, no signature": f"{_segment(_header(alg='nOnE'))}.{_segment(CLAIMS)}.",
        "payload empty": ES256.token(""),
    },
    "signature does not fit": {
        "signature cut": GOOD[:-2],
        "signature of one octet": f"{SIGNED}.AA",
        "kid of another key, alg of that": ES256.token(CLAIMS, _header(kid="es384", alg="ES384")),
        "HMAC of the PEM, alg of the key": _forged("ES256", PEM),
        "key of a stranger": STRANGER.token(CLAIMS),
        "key of a stranger in the header": STRANGER.token(CLAIMS, _header(jwk=STRANGER.jwk)),
        "other claims": _parts(GOOD, 1, _segment(_claims(sub="bob"))),
    },
    "too long, or not ASCII": {
        "not ASCII": f"{GOOD}ä",
        "lone surrogate": f"{GOOD}\udcff",
        "too long": ES256.token(_claims(groups="x" * MOST_CHARACTERS)),
    },
    "header is not JSON in base64url": {
        "garbage in form": f"{'x' * 2000}.{'y' * 2000}.{'z' * 2000}",
        "header not base64": _parts(GOOD, 0, "A"),
        "header not UTF-8": _parts(GOOD, 0, _encoded(b'{"\xff"}')),
        "header not JSON": ES256.token(CLAIMS, "{"),
        "header nested deeply": ES256.token(CLAIMS, '{"a":' * 800 + "[" * 1500),
        "header with an endless number": ES256.token(CLAIMS, f'{{"kid":{"9" * 5000}}}'),
        "header with NaN": ES256.token(CLAIMS, json.dumps(_header(x=float("nan")))),
        "kid twice": ES256.token(CLAIMS, json.dumps(ES256.header)[:-1] + ',"kid":"es256"}'),
    },
    "header is no JSON object": {
        "header a list": ES256.token(CLAIMS, "[]"),
    },
    "unknown key": {
        "kid missing": ES256.token(CLAIMS, _header(kid=...)),
        "kid unknown": ES256.token(CLAIMS, _header(kid="other")),
        "kid a number": ES256.token(CLAIMS, _header(kid=1)),
        "kid a list": ES256.token(CLAIMS, _header(kid=["es256"])),
        "kid null": ES256.token(CLAIMS, _header(kid=None)),
        "kid a path": ES256.token(CLAIMS, _header(kid="../../es256")),
        "kid of 4 kB": ES256.token(CLAIMS, _header(kid="k" * 4096)),
    },
    "not the algorithm of its key": {
        "kid of another key": ES256.token(CLAIMS, _header(kid="es384")),
        "alg missing": ES256.token(CLAIMS, _header(alg=...)),
        "alg none": ES256.token(CLAIMS, _header(alg="none")),
        "alg a list": ES256.token(CLAIMS, _header(alg=["ES256"])),
        "alg of another family": ES256.token(CLAIMS, _header(alg="RS256")),
        "alg of the family, not of the key": RS256.token(CLAIMS, {**RS256.header, "alg": "PS256"}),
        "HMAC of the PEM": _forged("HS256", PEM),
        "HMAC of the JWK": _forged("HS256", json.dumps(ES256.jwk).encode()),
    },
    "critical, b64 or zip in the header": {
        "crit": ES256.token(CLAIMS, _header(crit=["exp"])),
        "crit empty": ES256.token(CLAIMS, _header(crit=[])),
        "crit null": ES256.token(CLAIMS, _header(crit=None)),
        "b64": ES256.token(CLAIMS, _header(crit=["b64"], b64=False)),
        "b64 true": ES256.token(CLAIMS, _header(b64=True)),
        "zip": ES256.token(CLAIMS, _header(zip="DEF")),
    },
    "not of the type at+jwt": {
        "typ JWT": ES256.token(CLAIMS, _header(typ="JWT")),
        "typ missing": ES256.token(CLAIMS, _header(typ=...)),
        "typ logout+jwt": ES256.token(CLAIMS, _header(typ="logout+jwt")),
        "typ a list": ES256.token(CLAIMS, _header(typ=["at+jwt"])),
    },
    "expired": {
        "exp now": ES256.token(_claims(iat=NOW - 60, exp=NOW)),
        "exp a second ago": ES256.token(_claims(iat=NOW - 60, exp=NOW - 1)),
    },
    "exp is no whole number": {
        "exp missing": ES256.token(_claims(exp=...)),
        "exp null": ES256.token(_claims(exp=None)),
        "exp text": ES256.token(_claims(exp=str(NOW + 3600))),
        "exp true": ES256.token(_claims(exp=True)),
        "exp with a fraction": ES256.token(_claims(exp=NOW + 3600.0)),
        "exp 1e30": ES256.token(_claims(exp=1e30)),
    },
    "payload is not JSON in base64url": {
        "exp NaN": ES256.token(_claims(exp=float("nan"))),
        "exp Infinity": ES256.token(_claims(exp=float("inf"))),
        "exp of 5,000 digits": ES256.token(json.dumps(CLAIMS).replace(str(NOW + 3600), "9" * 5000)),
        "sub twice": ES256.token(TWICE + ',"sub":"bob"}'),
        "scope twice": ES256.token(TWICE + ',"scope":"ordersys.operator"}'),
        "payload no JSON": ES256.token("ada"),
        "payload nested deeply": ES256.token('{"a":' + "[" * 5000),
    },
    "lasts for too long, or ends before it is issued": {
        "exp 10^30": ES256.token(_claims(exp=10**30)),
        "lasts a second too long": ES256.token(_claims(exp=NOW + LONGEST_SECONDS + 1)),
        "ends when it is issued": ES256.token(_claims(iat=NOW + 20, exp=NOW + 20)),
        "ends before it is issued": ES256.token(_claims(iat=NOW + 20, exp=NOW + 10)),
        "iat of yesterday": ES256.token(_claims(iat=NOW - LONGEST_SECONDS)),
    },
    "not valid yet": {
        "lasts too long, both far away": ES256.token(_claims(iat=10**30, exp=10**30 + 60)),
        "iat too far ahead": ES256.token(_claims(iat=NOW + 31)),
        "nbf too far ahead": ES256.token(_claims(nbf=NOW + 31)),
    },
    "iat is no whole number": {
        "iat missing": ES256.token(_claims(iat=...)),
        "iat true": ES256.token(_claims(iat=True)),
        "iat text": ES256.token(_claims(iat=str(NOW))),
    },
    "nbf is no whole number": {
        "nbf null": ES256.token(_claims(nbf=None)),
        "nbf text": ES256.token(_claims(nbf=str(NOW))),
    },
    "of another issuer": {
        "iss missing": ES256.token(_claims(iss=...)),
        "iss other": ES256.token(_claims(iss="https://other.example")),
        "iss with a slash more": ES256.token(_claims(iss=f"{ISSUER}/")),
        "iss a part": ES256.token(_claims(iss=ISSUER[:-1])),
        "iss a list": ES256.token(_claims(iss=[ISSUER])),
    },
    "not for this audience": {
        "aud missing": ES256.token(_claims(aud=...)),
        "aud other": ES256.token(_claims(aud="other")),
        "aud longer": ES256.token(_claims(aud=f"{AUDIENCE}-x")),
        "aud in upper case": ES256.token(_claims(aud=AUDIENCE.upper())),
        "aud of others": ES256.token(_claims(aud=["other", f"{AUDIENCE}-x"])),
        "aud in one of the list": ES256.token(_claims(aud=[f"{AUDIENCE} other"])),
        "aud not of texts alone": ES256.token(_claims(aud=[AUDIENCE, 1])),
        "aud in a list of lists": ES256.token(_claims(aud=[[AUDIENCE]])),
        "aud an empty list": ES256.token(_claims(aud=[])),
        "aud an object": ES256.token(_claims(aud={AUDIENCE: 1})),
    },
    "sub is not 1 to 64 lower-case letters, digits and inner hyphens": {
        "sub missing": ES256.token(_claims(sub=...)),
        "sub empty": ES256.token(_claims(sub="")),
        "sub a number": ES256.token(_claims(sub=1)),
        "sub in upper case": ES256.token(_claims(sub="Ada")),
        "sub of 65 characters": ES256.token(_claims(sub="a" * 65)),
        "sub with a hyphen first": ES256.token(_claims(sub="-a")),
        "sub with a hyphen last": ES256.token(_claims(sub="a-")),
        "sub with NUL": ES256.token(_claims(sub="ada\0")),
        "sub with a newline": ES256.token(_claims(sub="ada\n")),
        "sub with bidi": ES256.token(_claims(sub="ada\u202e")),
        "sub in other digits": ES256.token(_claims(sub="ada١")),
    },
    "scope is neither a text nor a list of texts": {
        "scope null": ES256.token(_claims(scope=None)),
        "scope an object": ES256.token(_claims(scope={"ordersys.operator": True})),
        "scope a list of lists": ES256.token(_claims(scope=[["ordersys.operator"]])),
        "scope not of texts alone": ES256.token(_claims(scope=["ordersys.operator", 1])),
    },
    "payload is no JSON object": {
        "payload no object": ES256.token("[]"),
    },
}
"""Tokens that break a rule, by the reason they are refused for."""


@pytest.mark.parametrize(
    ("reason", "token"),
    [pytest.param(reason, token, id=name) for reason, forged in FORGED.items() for name, token in forged.items()],
)
def test_a_token_that_breaks_a_rule_proves_nothing(reason: str, token: str, tokens: Tokens) -> None:
    """The reason is that of the rule, and no part of the token; it is the same the second time: nothing is kept."""
    for _ in range(2):
        with pytest.raises(InvalidToken) as caught:
            tokens.caller(token)
        assert str(caught.value) == reason


@given(st.integers(0, len(GOOD) - 1), st.characters(max_codepoint=0x10FFFF))
def test_a_token_with_any_character_changed_proves_nothing(shared: Tokens, place: int, character: str) -> None:
    """One text of a token is good: also the last character of a segment, of which base64 would ignore some bits."""
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed == GOOD:
        return
    with pytest.raises(InvalidToken):
        shared.caller(changed)


@given(st.integers(0, len(GOOD)), st.integers(0, 3), st.text(max_size=3))
def test_a_token_with_anything_taken_out_or_put_in_proves_nothing(
    shared: Tokens, place: int, left_out: int, text: str
) -> None:
    """Wherever it is."""
    changed = GOOD[:place] + text + GOOD[place + left_out :]
    if changed == GOOD:
        return
    with pytest.raises(InvalidToken):
        shared.caller(changed)


WRONG_CLAIMS: Json = {
    "iss": "other",
    "aud": "other",
    "sub": "",
    "scope": 1,
    "iat": NOW + 3000,
    "exp": NOW - 1,
    "nbf": NOW + 3000,
}


@given(st.sets(st.sampled_from(sorted(WRONG_CLAIMS)), min_size=1))
def test_a_token_with_any_wrong_claims_proves_nothing(shared: Tokens, wrong: set[str]) -> None:
    """However many are right."""
    with pytest.raises(InvalidToken):
        shared.caller(ES256.token({**CLAIMS, **{name: WRONG_CLAIMS[name] for name in wrong}}))


@given(st.sampled_from([*CLAIMS, "nbf"]), VALUES)
def test_a_claim_of_any_value_is_good_or_refused(shared: Tokens, name: str, value: object) -> None:
    """No other error comes of it; who is proved is named as the claims say, with no more roles than the scope gives."""
    with contextlib.suppress(InvalidToken):
        caller = shared.caller(ES256.token({**CLAIMS, name: value}))
        assert name == "scope" or caller.roles == ADA.roles
        assert caller.name == (value if name == "sub" else "ada")


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "x5c", "x5u", "cty"]), VALUES))
def test_a_header_of_any_values_is_good_or_refused(shared: Tokens, header: Json) -> None:
    """No other error comes of it."""
    with contextlib.suppress(InvalidToken):
        assert shared.caller(ES256.token(CLAIMS, {**ES256.header, **header})) == ADA


@given(st.text())
def test_any_text_is_refused(shared: Tokens, text: str) -> None:
    """By InvalidToken, and nothing else."""
    with pytest.raises(InvalidToken):
        shared.caller(text)


def test_the_twin_of_a_token_proves_the_same_caller(tokens: Tokens) -> None:
    """Of a signature (r, s) of ECDSA, anybody can make (r, n - s): a token is not to be told by its text."""
    octets = _decoded(SIGNATURE)
    s = ORDER_OF_P256 - int.from_bytes(octets[32:], "big")
    twin = f"{SIGNED}.{_encoded(octets[:32] + s.to_bytes(32, 'big'))}"
    assert tokens.caller(GOOD) == tokens.caller(twin) == ADA


def test_a_known_token_ends_when_it_says(tokens: Tokens, clock: Clock) -> None:
    """To the second."""
    assert tokens.caller(GOOD) == ADA
    clock.now = NOW + 3599.9
    assert tokens.caller(GOOD) == ADA
    clock.now = NOW + 3600
    with pytest.raises(InvalidToken, match="expired"):
        tokens.caller(GOOD)


def test_the_tokens_of_a_key_that_is_taken_out_prove_nothing(tokens: Tokens, keys: Keys, file: Path) -> None:
    """From the reload on, also those that were known; those of the others go on."""
    others = RS256.token(CLAIMS)
    assert tokens.caller(GOOD) == tokens.caller(others) == ADA
    _write(file, RS256.jwk)
    keys.reload()
    with pytest.raises(InvalidToken, match="unknown key"):
        tokens.caller(GOOD)
    assert tokens.caller(others) == ADA


def test_the_tokens_of_a_key_that_is_replaced_under_its_kid_prove_nothing(
    tokens: Tokens, keys: Keys, file: Path
) -> None:
    """Those of the new key do."""
    assert tokens.caller(GOOD) == ADA
    _write(file, STRANGER.jwk)
    keys.reload()
    with pytest.raises(InvalidToken, match="signature"):
        tokens.caller(GOOD)
    assert tokens.caller(STRANGER.token(CLAIMS)) == ADA


def test_known_tokens_take_no_memory_without_end(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not used for the longest time is forgotten, which does no harm; one in use is not."""
    verify = Tokens._verify
    verified: list[str] = []

    def counted(self: Tokens, token: str) -> object:
        verified.append(token)
        return verify(self, token)

    monkeypatch.setattr(Tokens, "_verify", counted)
    for number in range(1030):
        tokens.caller(ES256.token(_claims(sub=f"c{number}")))
        tokens.caller(GOOD)
    assert verified.count(GOOD) == 1
    assert len(tokens._verified) == 1024
    assert tokens.caller(ES256.token(_claims(sub="c0"))).name == "c0"


def test_a_known_token_is_not_verified_again(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the keys are the same."""
    tokens.caller(GOOD)
    monkeypatch.setattr(Tokens, "_verify", lambda *_: pytest.fail("verified"))
    assert tokens.caller(GOOD) == ADA


def test_bad_keys_are_not_taken_and_logged_once(
    tokens: Tokens, keys: Keys, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as the trouble is the same one; the next good ones are taken."""
    for content in (b"<html>", b"", b"{}", b'{"keys": []}'):
        _exchange(file, content)
        keys.reload()
        keys.reload()
    file.unlink()
    keys.reload()
    keys.reload()
    assert tokens.caller(ES256.token(CLAIMS)) == ADA
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 4  # the first two are no JSON
    assert all(str(file) in text for text in caplog.messages)
    caplog.set_level(logging.INFO)
    caplog.clear()
    _write(file, RS256.jwk)
    keys.reload()
    assert caplog.messages == [f"the token keys in {file} are taken: 1"]
    with pytest.raises(InvalidToken, match="unknown key"):
        tokens.caller(GOOD)


def _without(jwk: Json, *names: str) -> Json:
    return {name: value for name, value in jwk.items() if name not in names}


def _private(signer: Signer) -> Json:
    return {**ALGORITHMS[signer.algorithm].to_jwk(signer.key, as_dict=True), "kid": signer.kid}


SHORT = Signer("RS256", "short", rsa.generate_private_key(65537, 1024))  # noqa: S505 - which is why it is refused
OCT: Json = {"kty": "oct", "k": "c2VjcmV0", "kid": "o", "alg": "HS256"}
UNUSABLE: Mapping[str, tuple[Sequence[object] | bytes, str]] = {
    "empty file": (b"", "is not JSON"),
    "not JSON": (b"<html>secret", "is not JSON"),
    "not UTF-8": (b'{"keys": "\xff"}', "is not JSON"),
    "keys twice": (b'{"keys": [], "keys": []}', "is not JSON"),
    "nested deeply": (b"[" * 100_000, "is not JSON"),
    "a list": (b"[]", 'has no "keys"'),
    "no list": (b'{"keys": {}}', 'has no "keys"'),
    "no object": (["secret"], 'has no "keys"'),
    "no key": ([], "no public key"),
    "shared secret": ([ES256.jwk, OCT], "shared secret"),
    "private EC key": ([_private(ES256)], "private key"),
    "private RSA key": ([RS256.jwk, _private(RS256)], "private key"),
    "no kid": ([_without(ES256.jwk, "kid")], "no public key"),
    "kid a number": ([{**ES256.jwk, "kid": 1}], "no public key"),
    "for encryption": ([{**ES256.jwk, "use": "enc"}], "no public key"),
    "for signing": ([{**ES256.jwk, "key_ops": ["sign"]}], "no public key"),
    "alg of another type": ([{**ES256.jwk, "alg": "RS256"}], "no public key"),
    "alg HS256": ([{**ES256.jwk, "alg": "HS256"}], "no public key"),
    "other curve": ([{**ES256.jwk, "crv": "secp256k1"}], "no public key"),
    "other type": ([{**ES256.jwk, "kty": "XYZ"}], "no public key"),
    "type a list": ([{**ES256.jwk, "kty": ["EC"]}], "no public key"),
    "one kid twice": ([ES256.jwk, STRANGER.jwk], "two keys with one kid"),
    "no coordinate": ([_without(ES256.jwk, "y")], "can't be decoded"),
    "coordinate a number": ([{**ES256.jwk, "y": 1}], "can't be decoded"),
    "not on the curve": ([{**ES256.jwk, "y": ES256.jwk["x"]}], "can't be decoded"),
    "short RSA key": ([SHORT.jwk], "RSA key of less than 2048 bits"),
}


@pytest.mark.parametrize(("content", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_keys_that_cannot_be_used_are_told_at_the_start(
    content: Sequence[object] | bytes, words: str, file: Path
) -> None:
    """In one line, with the file, the reason and a way out, and without anything of its content."""
    _exchange(file, content if isinstance(content, bytes) else json.dumps({"keys": content}).encode())
    with pytest.raises(UnusableKeys) as caught:
        Keys(file)
    text = str(caught.value)
    assert text.startswith(f"{file} ")
    assert words in text
    assert ";" in text
    assert "\n" not in text
    assert "c2VjcmV0" not in text


def _make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda file: file.unlink(), "can't be read: No such file", id="missing"),
        pytest.param(_make_pipe, "can't be read: is no regular file", id="pipe"),
        pytest.param(lambda file: file.write_bytes(b" " * 1_100_000), "is larger than 1 MiB", id="too large"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_at_the_start(
    spoil: Callable[[Path], object], words: str, file: Path
) -> None:
    """And holds nobody up."""
    spoil(file)
    with pytest.raises(UnusableKeys, match=words):
        Keys(file)


def test_keys_for_something_else_stand_beside_those_for_tokens() -> None:
    """An issuer has more in its set than this system needs."""
    others = [{**RS256.jwk, "use": "enc"}, {**RS256.jwk, "alg": "RS512"}, {"kty": "new"}, _without(RS256.jwk, "kid")]
    assert set(key_set(json.dumps({"keys": [*others, ES256.jwk]}).encode())) == {"es256"}


@pytest.mark.parametrize("signer", SIGNERS, ids=[signer.algorithm for signer in SIGNERS])
def test_a_key_that_names_no_algorithm_has_that_of_its_type(signer: Signer) -> None:
    """For RSA, RS256."""
    keys = key_set(json.dumps({"keys": [_without(signer.jwk, "alg", "use")]}).encode())
    assert keys[signer.kid].algorithm_name == {"PS256": "RS256"}.get(signer.algorithm, signer.algorithm)


@given(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid"]), VALUES))
def test_a_key_of_any_values_is_taken_or_told(jwk: Json) -> None:
    """No error but the one that says why comes of it."""
    for signer in SIGNERS:
        with contextlib.suppress(ValueError):
            key_set(json.dumps({"keys": [{**signer.jwk, **jwk}]}).encode())


def test_a_forged_token_costs_no_more_than_a_signature(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even that, of somebody who knows no key: the header is looked at first."""
    monkeypatch.setattr("ordersys.runtime.identity.tokens._JWS", None)
    with pytest.raises(InvalidToken, match="unknown key"):
        tokens.caller(ES256.token(CLAIMS, _header(kid="guessed")))
