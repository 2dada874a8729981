"""Certificates, tokens and the folder they lie in: rules, renewal by the clock, and a folder that is whole again."""

import ipaddress
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import example, given
from hypothesis import strategies as st

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1 import order_pb2
from ordersys.contract import access
from ordersys.contract.access import RoleNumber
from ordersys.contract.permissions import DECLARER, contract_permissions
from ordersys.contract.validation import violations
from ordersys.identity import description, files, issuing, minting
from ordersys.identity.authority import Authority
from ordersys.identity.description import Unknown
from ordersys.identity.files import UnusableFile
from ordersys.identity.issuing import Key, Pair
from ordersys.identity.layout import OPERATOR, TOPOLOGY, Layout
from ordersys.local.identities import Identities

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
SKEW = timedelta(minutes=5)
KEY = issuing.new_key()
CA = Pair(issuing.authority(KEY, NOW), KEY)
CUSTOMER, OPERATORS = [Role.ROLE_CUSTOMER], [Role.ROLE_OPERATOR]
SERVICES = ["notification-service-1", "notification-service-2", "order-service", "product-service"]
NAMES = [*SERVICES, "rabbitmq", "topology", "observer"]
NEARBY: list[x509.GeneralName] = [
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
]


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """It stands at NOW."""
    return Clock()


@pytest.fixture
def authority(tmp_path: Path, clock: Clock) -> Authority:
    """An authority in a whole folder."""
    made = Authority.make(tmp_path / "identity", clock)
    made.renew()
    return made


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the one for git."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    """The one of that kind."""
    return certificate.extensions.get_extension_for_class(kind)


def alternatives(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """All names in it, in their order."""
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def loaded(path: Path) -> x509.Certificate:
    """A certificate from its file."""
    return issuing.parsed_certificate(path.read_bytes())


def verified(token: str, key_set: bytes, now: datetime = NOW) -> dict[str, object]:
    """The claims, by the key of the set that the header names; time is judged by `now`."""
    key = jwt.PyJWKSet.from_json(key_set.decode())[jwt.get_unverified_header(token)["kid"]]
    options: jwt.types.Options = {"require": ["exp", "iat", "iss", "aud", "sub", "jti"], "verify_exp": False}
    claims = jwt.decode(token, key, ["ES256"], options, audience=access.AUDIENCE, issuer=access.ISSUER, leeway=10**10)
    assert isinstance(claims["exp"], int) and claims["exp"] > now.timestamp()
    return claims


def test_those_with_a_certificate_are_the_services_of_the_contract_the_broker_and_those_who_only_call_it() -> None:
    """By the SPIFFE ids under which the contract knows the services."""
    assert list(issuing.names()) == NAMES
    assert {access.service_id(name) for name in issuing.services()} == access.service_ids().keys()
    assert access.service_id("rabbitmq") == "spiffe://ordersys/service/rabbitmq"


@pytest.mark.parametrize("name", SERVICES)
def test_a_certificate_of_a_service_is_for_one_identity_and_its_own_name(name: str) -> None:
    """One URI alone; the names of this machine are for tools."""
    certificate = issuing.leaf(CA, name, NOW).certificate
    assert alternatives(certificate) == [
        x509.UniformResourceIdentifier(f"spiffe://ordersys/service/{name}"),
        x509.DNSName(name),
        *NEARBY,
    ]
    assert certificate.subject.rfc4514_string() == f"CN={name}"


@pytest.mark.parametrize("name", SERVICES)
def test_the_first_name_in_a_certificate_is_the_user_that_has_the_rights_of_the_service(name: str) -> None:
    """RabbitMQ takes the first DNS name for the user; its permissions are the contract's."""
    certificate = issuing.leaf(CA, name, NOW).certificate
    assert issuing.hosts(certificate)[0] == name
    assert name in {granted.user for granted in contract_permissions()}
    assert TOPOLOGY == DECLARER


@pytest.mark.parametrize(
    ("name", "nearby", "use"),
    [
        ("rabbitmq", NEARBY, ExtendedKeyUsageOID.SERVER_AUTH),
        ("topology", [], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("observer", [], ExtendedKeyUsageOID.CLIENT_AUTH),
    ],
)
def test_the_broker_is_only_called_and_declarer_and_observer_only_call(
    name: str, nearby: list[x509.GeneralName], use: x509.ObjectIdentifier
) -> None:
    """None is a service: without a URI no service takes it for one."""
    certificate = issuing.leaf(CA, name, NOW).certificate
    assert alternatives(certificate) == [x509.DNSName(name), *nearby]
    assert extension(certificate, x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage([use])


@pytest.mark.parametrize(("name", "other"), [("rabbitmq", "topology"), ("topology", "order-service")])
def test_a_certificate_of_another_in_the_place_of_ones_own_is_made_anew(
    name: str, other: str, authority: Authority
) -> None:
    """A broker with the certificate of a service would be believed to be that service."""
    layout = authority.layout
    layout.certificate(name).write_bytes(layout.certificate(other).read_bytes())
    layout.key(name).write_bytes(layout.key(other).read_bytes())
    assert set(authority.renew()) == {layout.certificate(name), layout.key(name)}
    assert authority.renew() == []


def test_a_certificate_of_a_service_is_for_both_ends_of_a_connection_and_signs_no_other() -> None:
    """With the key identifiers by which a chain is built."""
    certificate = issuing.leaf(CA, "order-service", NOW).certificate
    assert extension(certificate, x509.BasicConstraints).value == x509.BasicConstraints(False, None)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    assert extension(certificate, x509.ExtendedKeyUsage).value == both
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_cert_sign
    issuer_id = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert issuer_id == CA.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    own_id = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    assert extension(certificate, x509.SubjectKeyIdentifier).value == own_id


def test_an_authority_signs_leaves_alone() -> None:
    """No authority below it, and nothing but certificates."""
    constraints = extension(CA.certificate, x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(True, 0)
    usage = extension(CA.certificate, x509.KeyUsage)
    assert usage.critical
    usage_of = CA.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage_of.key_cert_sign and not usage_of.digital_signature
    assert issuing.is_signed_by(CA.certificate, CA.certificate)


def test_keys_are_of_p_256() -> None:
    """Those of Ed25519 fail in gRPC."""
    for key in (KEY, issuing.leaf(CA, "rabbitmq", NOW).key):
        assert isinstance(key.curve, ec.SECP256R1)


@given(days=st.integers(1, issuing.MOST_DAYS))
def test_a_certificate_begins_a_little_earlier_and_is_renewed_at_two_thirds(days: int) -> None:
    """To the second."""
    certificate = issuing.leaf(CA, "order-service", NOW, days).certificate
    begin, end = NOW - SKEW, NOW + days * DAY
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (begin, end)
    due = end - (end - begin) / 3
    moments = (begin - SECOND, begin, due - SECOND, due, end)
    assert [issuing.is_current(certificate, moment) for moment in moments] == [False, True, True, False, False]


@pytest.mark.parametrize("days", [-1, 0, issuing.MOST_DAYS + 1])
def test_a_life_beyond_the_bounds_is_refused(days: int) -> None:
    """None outlives the authority, which is renewed when a third of a year is left."""
    with pytest.raises(ValueError, match="must be from 1 to 90"):
        issuing.leaf(CA, "order-service", NOW, days)
    assert issuing.MOST_DAYS < issuing.AUTHORITY_DAYS / 3


def test_a_renewed_authority_vouches_for_what_was_signed_before() -> None:
    """And the old one for what is signed from now on: no restart is needed at a time of its own."""
    later = issuing.authority(KEY, NOW + 300 * DAY)
    for signed_by, trusted in ((CA.certificate, later), (later, CA.certificate)):
        certificate = issuing.leaf(Pair(signed_by, KEY), "order-service", NOW).certificate
        assert issuing.is_signed_by(certificate, trusted)


def test_another_authority_vouches_for_nothing_of_this_one() -> None:
    """Even if it says it has the same name."""
    other = issuing.new_key()
    stranger = issuing.authority(other, NOW)
    certificate = issuing.leaf(CA, "order-service", NOW).certificate
    assert not issuing.is_signed_by(certificate, stranger)
    assert stranger.subject != CA.certificate.subject
    forged = issuing.leaf(Pair(CA.certificate, other), "order-service", NOW).certificate
    assert not issuing.is_signed_by(forged, CA.certificate)


@given(
    subject=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True),
    roles=st.sets(st.sampled_from([Role.ROLE_CUSTOMER, Role.ROLE_OPERATOR]), min_size=1),
    hours=st.floats(0, minting.MOST_HOURS, exclude_min=True),
)
def test_a_token_says_who_and_for_how_long(subject: str, roles: set[RoleNumber], hours: float) -> None:
    """Verified by the key set alone; its life is in whole seconds, at least one, at most a day."""
    token = minting.signed(minting.claims(subject, roles, NOW, hours), KEY)
    claims = verified(token, minting.with_key(b"", KEY))
    assert claims["sub"] == subject
    assert {access.scopes()[word] for word in str(claims["scope"]).split(" ")} == roles
    issued, expires = claims["iat"], claims["exp"]
    assert isinstance(issued, int) and isinstance(expires, int)
    assert issued == NOW.timestamp()
    assert 1 <= expires - issued <= 24 * 3600
    assert abs(expires - issued - hours * 3600) <= 1
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"


def test_no_two_tokens_are_the_same() -> None:
    """They differ in their id, by which one could be revoked."""
    assert minting.claims("anna", CUSTOMER, NOW)["jti"] != minting.claims("anna", CUSTOMER, NOW)["jti"]


@given(st.text(st.sampled_from("aZ09-_. \n/ü"), max_size=70) | st.text(max_size=70))
@example("a" * 64)
@example("a" * 65)
@example("a\n")
@example("")
def test_a_subject_is_what_the_contract_takes_for_a_customer(name: str) -> None:
    """The same names, no others."""
    broken = {violation.field for violation in violations(order_pb2.Order(customer_id=name))}
    if "customer_id" in broken:
        with pytest.raises(ValueError, match="must be 1 to 64"):
            minting.checked_subject(name)
    else:
        assert minting.checked_subject(name) == name


@pytest.mark.parametrize("hours", [0.0, -1.0, 24.01, float("nan"), float("inf")])
def test_a_token_without_end_is_refused(hours: float) -> None:
    """Nobody could take it back."""
    with pytest.raises(ValueError, match="at most 24"):
        minting.claims("anna", CUSTOMER, NOW, hours)


@pytest.mark.parametrize("roles", [[], [Role.ROLE_ANONYMOUS], [Role.ROLE_UNSPECIFIED, Role.ROLE_CUSTOMER]])
def test_a_role_that_no_token_gives_is_refused(roles: list[RoleNumber]) -> None:
    """Those that one gives are named."""
    with pytest.raises(ValueError, match=r"ordersys\.customer"):
        minting.claims("anna", roles, NOW)


def test_the_key_set_has_the_public_half_alone() -> None:
    """Its id is the thumbprint that any library computes."""
    (member,) = json.loads(minting.with_key(b"", KEY))["keys"]
    assert member.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (member["alg"], member["use"]) == ("ES256", "sig")
    ours = {"kty": member["kty"], "crv": member["crv"], "x": member["x"], "y": member["y"]}
    assert jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True) == ours
    assert minting.holds(minting.with_key(b"", KEY), KEY)
    assert not minting.holds(minting.with_key(b"", issuing.new_key()), KEY)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"keys": 1}', b'{"a":' * 100_000])
def test_what_is_no_key_set_holds_no_key(text: bytes) -> None:
    """It is made anew."""
    assert not minting.holds(text, KEY)


def test_a_whole_folder_has_all_that_others_rely_on(authority: Authority) -> None:
    """By these names."""
    pairs = {f"{name}/{part}" for name in NAMES for part in ("certificate.pem", "key.pem")}
    folder = authority.layout.folder
    assert contents(folder).keys() == {"ca.pem", "ca.key", "issuer.key", "token-keys.json", *pairs}
    assert authority.write_token(OPERATOR, OPERATORS) == folder / "tokens" / "operator.token"


def test_what_is_there_and_good_is_left(authority: Authority, clock: Clock) -> None:
    """Up to the last second of two thirds of a certificate's life."""
    before = contents(authority.layout.folder)
    end = loaded(authority.layout.certificate("rabbitmq")).not_valid_after_utc
    clock.now = end - (end - NOW + SKEW) / 3 - SECOND
    assert authority.renew() == []
    assert contents(authority.layout.folder) == before


def test_certificates_are_renewed_at_two_thirds_of_their_life(authority: Authority, clock: Clock) -> None:
    """With new keys; the authority lives longer."""
    before = contents(authority.layout.folder)
    clock.now += 20 * DAY
    written = authority.renew()
    assert {path.parent.name for path in written} == set(NAMES)
    after = contents(authority.layout.folder)
    assert {name for name in after if after[name] == before[name]} == {
        "ca.pem", "ca.key", "issuer.key", "token-keys.json"
    }  # fmt: skip
    assert loaded(authority.layout.certificate("topology")).not_valid_after_utc == clock.now + 30 * DAY


def test_an_authority_is_renewed_with_the_key_it_has(authority: Authority, clock: Clock) -> None:
    """Those who trust the old certificate trust what is signed under the new one."""
    old, key = loaded(authority.layout.ca), authority.layout.ca_key.read_bytes()
    clock.now += 250 * DAY
    authority.renew()
    new = loaded(authority.layout.ca)
    assert authority.layout.ca_key.read_bytes() == key
    assert new.not_valid_after_utc == clock.now + 365 * DAY
    assert issuing.is_signed_by(loaded(authority.layout.certificate("rabbitmq")), old)


def test_no_certificate_outlives_the_authority(authority: Authority, clock: Clock) -> None:
    """One that is asked for has the authority renewed before."""
    clock.now += 300 * DAY
    assert authority.layout.ca in authority.certificate("rabbitmq", issuing.MOST_DAYS)
    end = loaded(authority.layout.certificate("rabbitmq")).not_valid_after_utc
    assert end < loaded(authority.layout.ca).not_valid_after_utc


def test_a_clock_that_was_put_back_has_everything_made_anew(authority: Authority, clock: Clock) -> None:
    """A certificate that is not valid yet is of no use."""
    clock.now -= DAY
    authority.renew()
    assert loaded(authority.layout.ca).not_valid_before_utc == clock.now - SKEW


DAMAGES: dict[str, Callable[[Layout], object]] = {
    "no certificate": lambda layout: layout.certificate("rabbitmq").unlink(),
    "no key": lambda layout: layout.key("rabbitmq").unlink(),
    "cut off": lambda layout: layout.certificate("rabbitmq").write_bytes(b"-----BEGIN CERTIFICATE-----\nMII"),
    "an empty key": lambda layout: layout.key("rabbitmq").write_bytes(b""),
    "a key of another": lambda layout: layout.key("rabbitmq").write_bytes(layout.key("topology").read_bytes()),
    "of another": lambda layout: [
        layout.certificate("rabbitmq").write_bytes(layout.certificate("topology").read_bytes()),
        layout.key("rabbitmq").write_bytes(layout.key("topology").read_bytes()),
    ],
    "of another authority": lambda layout: replaced(layout, "rabbitmq"),
    "a key that others may read": lambda layout: layout.key("rabbitmq").chmod(0o640),
}


def replaced(layout: Layout, name: str) -> None:
    """Puts a pair of another authority there."""
    other = issuing.new_key()
    pair = issuing.leaf(Pair(issuing.authority(other, NOW), other), name, NOW)
    layout.certificate(name).write_bytes(issuing.certificate_pem(pair.certificate))
    layout.key(name).write_bytes(issuing.key_pem(pair.key))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_certificate_that_is_no_good_is_made_anew(authority: Authority, damage: str) -> None:
    """It alone."""
    DAMAGES[damage](authority.layout)
    assert list(authority.renew()) == [authority.layout.key("rabbitmq"), authority.layout.certificate("rabbitmq")]
    assert authority.renew() == []


def test_a_lost_key_of_the_authority_is_not_replaced(authority: Authority, clock: Clock) -> None:
    """Nobody would trust the new one. Until something is to be signed it is not missed."""
    authority.layout.ca_key.unlink()
    assert authority.renew() == []
    with pytest.raises(UnusableFile, match=r"ca\.key is missing; put it back"):
        authority.certificate("rabbitmq")
    clock.now += 20 * DAY
    with pytest.raises(UnusableFile, match=r"ca\.key is missing; put it back"):
        authority.renew()


def test_a_key_of_another_authority_signs_nothing(authority: Authority) -> None:
    """Clients would refuse every certificate that it signed."""
    files.write(authority.layout.ca_key, issuing.key_pem(issuing.new_key()), files.SECRET)
    with pytest.raises(UnusableFile, match=r"is not of ca\.key"):
        authority.certificate("rabbitmq")


@pytest.mark.parametrize("name", ["ca.key", "issuer.key"])
def test_a_signing_key_that_others_may_read_is_refused(authority: Authority, name: str) -> None:
    """Somebody may have copied it, which only its owner can judge."""
    (authority.layout.folder / name).chmod(0o604)
    with pytest.raises(UnusableFile, match=rf"{name} may be read by others.*chmod 600"):
        authority.renew()


@pytest.mark.parametrize("name", ["ca.key", "ca.pem", "issuer.key"])
@pytest.mark.parametrize("octets", [b"", b"secret"])
def test_a_damaged_file_that_all_else_hangs_on_is_left_to_its_owner(
    authority: Authority, name: str, octets: bytes
) -> None:
    """Named, with the way out, and not with what stands in it."""
    (authority.layout.folder / name).write_bytes(octets)
    with pytest.raises(UnusableFile, match=rf"{name} is no .*move it (and ca.pem )?away") as raised:
        authority.renew()
    assert "secret" not in str(raised.value)


def test_a_lost_issuer_key_is_made_anew_beside_what_was_trusted(authority: Authority) -> None:
    """Its tokens end by themselves; a key that was stolen is taken out of the set by hand."""
    old = authority.token("anna", CUSTOMER)
    authority.layout.issuer_key.unlink()
    assert list(authority.renew()) == [authority.layout.issuer_key, authority.layout.token_keys]
    key_set = authority.layout.token_keys.read_bytes()
    assert verified(authority.token("anna", CUSTOMER), key_set)["sub"] == "anna"
    assert verified(old, key_set)["sub"] == "anna"
    assert len(json.loads(key_set)["keys"]) == 2


def test_a_key_set_without_the_own_key_gets_it_beside_the_others(authority: Authority) -> None:
    """Those of another issuer stay trusted."""
    path = authority.layout.token_keys
    path.write_bytes(minting.with_key(b"", KEY))
    assert authority.renew() == [path]
    assert next(member["kid"] for member in json.loads(path.read_bytes())["keys"]) == minting.key_id(KEY)
    assert verified(authority.token("anna", CUSTOMER), path.read_bytes())["sub"] == "anna"


def test_a_token_is_written_over_no_file_with_something_else(authority: Authority) -> None:
    """A key would be gone for good; an older token is what it is for."""
    for key in (authority.layout.ca_key, authority.layout.token_keys):
        before = key.read_bytes()
        with pytest.raises(UnusableFile, match="holds something else than a token"):
            authority.write_token("anna", CUSTOMER, out=key)
        assert key.read_bytes() == before
    out = authority.layout.folder / "mine"
    for _ in range(2):
        assert authority.write_token("anna", CUSTOMER, out=out) == out


def test_a_key_set_with_the_keys_of_others_is_left(authority: Authority) -> None:
    """Their tokens may be accepted as well."""
    path = authority.layout.token_keys
    members = json.loads(path.read_bytes())["keys"] + json.loads(minting.with_key(b"", KEY))["keys"]
    path.write_text(json.dumps({"keys": members}))
    assert authority.renew() == []
    path.write_bytes(minting.with_key(b"", KEY))
    assert list(authority.renew()) == [path]


def test_a_certificate_is_for_those_who_are_known(authority: Authority) -> None:
    """The error lists them."""
    with pytest.raises(ValueError, match=", ".join(NAMES)):
        authority.certificate("../order-service")


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("writes", range(18))
def test_a_folder_that_was_left_half_made_becomes_whole(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Ended at any write, with a file half written: the next one goes on where it stood."""
    left = iter(range(writes))

    def dying(path: Path, octets: bytes, mode: int) -> None:
        if next(left, None) is None:
            # As a kill would leave it: whoever is killed clears nothing away.
            monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
            path.write_bytes(octets[:10])
            raise Stopped
        write_new(path, octets, mode)

    write_new = files._write_new
    with monkeypatch.context() as patched:
        patched.setattr(files, "_write_new", dying)
        with pytest.raises(Stopped):
            Authority.make(tmp_path / "identity", clock).renew()
    monkeypatch.undo()
    key_alone = writes > 4 and writes % 2  # made anew with its certificate
    authority = Authority.make(tmp_path / "identity", clock)
    assert len(authority.renew()) == 18 - writes + key_alone
    assert_whole(authority)


def assert_whole(authority: Authority) -> None:
    """All is there, fits, and nothing else lies about."""
    layout = authority.layout
    assert len(contents(layout.folder)) == 18
    for name in NAMES:
        certificate, key = loaded(layout.certificate(name)), issuing.parsed_key(layout.key(name).read_bytes())
        assert issuing.fits(certificate, key) and issuing.is_signed_by(certificate, loaded(layout.ca))
    assert authority.renew() == []


def planted_link(folder: Path) -> None:
    """A link to a folder that is fine by itself."""
    (folder.parent / "elsewhere").mkdir(0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def open_to_all(folder: Path) -> None:
    """Made under any umask."""
    folder.mkdir()
    folder.chmod(0o777)


UNSAFE: Sequence[tuple[Callable[[Path], object], str]] = [
    (planted_link, "is a symbolic link"),
    (open_to_all, "may be written by others; chmod go-w"),
    (lambda folder: folder.write_text(""), "is no folder"),
    (lambda folder: folder.symlink_to(folder), "is a symbolic link"),
]


@pytest.mark.parametrize(("plant", "words"), UNSAFE)
def test_an_unsafe_folder_is_refused(tmp_path: Path, plant: Callable[[Path], object], words: str) -> None:
    """Nothing is written into it."""
    plant(tmp_path / "identity")
    before = sorted(tmp_path.rglob("*"))
    for use in (Authority.make, Authority):
        with pytest.raises(UnusableFile, match=words):
            use(tmp_path / "identity")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_within_is_no_link_either(authority: Authority, tmp_path: Path) -> None:
    """A key would be written to wherever it leads."""
    own = authority.layout.key("rabbitmq").parent
    own.rename(tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnusableFile, match="is a symbolic link"):
        authority.renew()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He can put his keys in the place of ours."""
    (tmp_path / "identity").mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnusableFile, match="belongs to another user"):
        Authority.make(tmp_path / "identity")


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    """It may be somebody's home, and would be closed to others."""
    (tmp_path / "letter.txt").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(UnusableFile, match="holds other things"):
        Authority.make(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_git_passes_over_a_folder_with_keys(tmp_path: Path) -> None:
    """It is often made in a clone; one that a crash has left with nothing else in it is still ours."""
    folder = tmp_path / "identity"
    for _ in range(2):
        Authority.make(folder)
        assert {path.name: path.read_text() for path in folder.iterdir()} == {".gitignore": "*\n"}


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    """One that is empty, or made by an earlier run."""
    folder = tmp_path / "identity"
    for _ in range(2):
        folder.mkdir(0o755, exist_ok=True)
        folder.chmod(0o755)
        Authority.make(folder).renew()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_is_whole_or_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves the old one, and nothing beside it."""
    target = tmp_path / "key.pem"
    files.write(target, b"old", files.SECRET)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnusableFile, match=r"key\.pem can't be written: No space left"):
        files.write(target, b"new", files.SECRET)
    assert contents(tmp_path) == {"key.pem": b"old"}


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Every mode is as it is asked for."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_a_secret_is_never_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even before its first byte."""
    modes = []
    fchmod = os.fchmod

    def noted(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", noted)
    files.write(tmp_path / "key.pem", b"secret", files.SECRET)
    assert modes == [0o600]


def test_a_path_that_is_a_link_is_not_written_over(tmp_path: Path) -> None:
    """/dev/stdout is one."""
    (tmp_path / "out").symlink_to("/dev/null")
    with pytest.raises(UnusableFile, match="is no regular file"):
        files.write(tmp_path / "out", b"", files.SECRET)
    assert (tmp_path / "out").is_symlink()


def test_settings_are_paths_alone(authority: Authority) -> None:
    """Of files that are there."""
    layout = authority.layout
    authority.write_token("anna", CUSTOMER)
    service, client = layout.service_environment("order-service"), layout.client_environment("anna")
    assert all(Path(value).is_file() for value in (*service.values(), *client.values()))
    assert not any(str(value) in (str(layout.ca_key), str(layout.issuer_key)) for value in service.values())


def facts(octets: bytes, now: datetime = NOW, authority: x509.Certificate | None = None) -> dict[str, str]:
    """Those of the one thing that is in a file."""
    (held,) = description.described(octets, now, authority)
    assert held.is_expired == ("expired" in dict(held.facts)["valid"])
    return dict(held.facts)


def test_a_certificate_is_described() -> None:
    """And whether the authority near it has signed it."""
    octets = issuing.certificate_pem(issuing.leaf(CA, "order-service", NOW).certificate)
    said = facts(octets, authority=CA.certificate)
    assert said["subject"] == "CN=order-service"
    assert said["URI"] == "spiffe://ordersys/service/order-service"
    assert said["names"] == "order-service, localhost, 127.0.0.1, ::1"
    assert said["issuer"] == CA.certificate.subject.rfc4514_string()
    assert said["valid"] == "2026-11-27T11:55:00Z to 2026-12-27T12:00:00Z, 30 d 0 h left"
    assert said["signed"] == "by the authority in ca.pem"
    stranger = issuing.authority(issuing.new_key(), NOW)
    assert facts(octets, authority=stranger)["signed"].startswith("by another authority")
    assert facts(octets, NOW + 30 * DAY)["valid"].endswith("expired")
    assert facts(octets, NOW - DAY)["valid"].endswith("not yet valid")


def test_a_token_is_described_and_not_shown() -> None:
    """No part of it."""
    token = minting.signed(minting.claims("anna", CUSTOMER, NOW), KEY)
    said = facts(token.encode())
    assert said["sub"] == "anna"
    assert said["scope"] == "ordersys.customer"
    assert (said["iss"], said["aud"]) == (access.ISSUER, access.AUDIENCE)
    assert said["valid"] == "2026-11-27T12:00:00Z to 2026-11-27T13:00:00Z, 60 min left"
    assert not any(part in repr(said) for part in token.split("."))
    assert facts(token.encode(), NOW + timedelta(hours=1))["valid"].endswith("expired")


def test_a_key_is_named_and_not_shown() -> None:
    """Nor is one within a key set."""
    (held,) = description.described(issuing.key_pem(KEY), NOW, None)
    assert held == ("private key", [("kind", "ECDSA P-256")], False)
    (held,) = description.described(minting.with_key(b"", KEY), NOW, None)
    assert held == ("key set", [("key", f"{minting.key_id(KEY)}, ES256")], False)


def signed(claims: dict[str, object], key: Key = KEY) -> bytes:
    """A token that says this."""
    return jwt.encode(claims, key, "ES256").encode()


@given(st.binary(max_size=200))
@example(b"-----BEGIN CERTIFICATE-----\n")
@example(b"-----BEGIN PRIVATE KEY-----\n")
@example(b'{"keys": [{"kty": "EC"}]}')
@example(b'{"keys": [1]}')
@example(b'{"a":' * 100_000)
@example(b"a.b.c")
@example(signed({}))
@example(signed({"iat": 1, "exp": "9999999999"}))
@example(signed({"iat": 1, "exp": 10**30}))
def test_what_is_nothing_of_all_this_is_said_to_be_so(octets: bytes) -> None:
    """Without a word of it."""
    with pytest.raises(Unknown) as raised:
        description.described(octets, NOW, None)
    assert re.match("is (no|a token whose) ", str(raised.value))


@pytest.mark.parametrize(("seconds", "is_due"), [(1.0, False), (7200.0, True), (-7200.0, True)])
def test_tokens_of_a_machine_that_slept_are_renewed_as_it_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, is_due: bool
) -> None:
    """They end by the clock, which went on without the time that a process counts; or which was set back."""
    identities = Identities(tmp_path / "identity")
    slept = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + seconds)
    monkeypatch.setattr("ordersys.local.identities.time", slept)
    assert identities.is_due is is_due
    assert not identities.keep()
    assert not identities.is_due
