"""Certificates: what can't be used is told at the start, what is exchanged is used at the next connection.

Servers and channels are those of gRPC, on this machine's loopback; certificates are real ones, made for the run.
"""

import asyncio
import base64
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from ordersys.contract import access
from ordersys.runtime.identity.certificates import Certificates, UnusableCertificate
from ordersys.runtime.rpc import limits
from ordersys.runtime.rpc.callers import service_of
from ordersys.runtime.settings import Settings

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
ORDER = "spiffe://ordersys/service/order-service"
PRODUCT = "spiffe://ordersys/service/product-service"
ORDER_SERVICE = access.service_ids()[ORDER]
PRODUCT_SERVICE = access.service_ids()[PRODUCT]
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
DAY = timedelta(days=1)
NOBODY = b"nobody"
_ticks = count(1)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Issued:
    """A certificate, what leads from it to its authority, and its key."""

    chain: Sequence[x509.Certificate]
    key: Key

    @property
    def chain_pem(self) -> bytes:
        return _pem(*self.chain)

    def key_pem(self, encryption: KeySerializationEncryption | None = None) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


class Authority:
    """An authority, at the root or below another."""

    def __init__(
        self,
        name: str,
        above: "Authority | None" = None,
        days: tuple[int, int] = (-2, 30),
        *,
        key: Key | None = None,
        is_identified: bool = True,
    ) -> None:
        self.key: Key = key or _new_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = above or self
        identifier = [x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())] if is_identified else []
        self.certificate = _signed(self.name, signer, self.key, identifier, days, is_authority=True)
        self.path: tuple[x509.Certificate, ...] = (*above.path, self.certificate) if above else ()

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate)

    def issue(
        self,
        spiffe_id: str = ORDER,
        *,
        uris: Sequence[str] | None = None,
        dns: Sequence[str] | None = None,
        uses: Sequence[x509.ObjectIdentifier] = BOTH,
        key: Key | None = None,
        days: tuple[int, int] = (-1, 10),
        is_authority: bool = False,
    ) -> Issued:
        """A certificate of a service, right in all that is not said otherwise."""
        name = spiffe_id.rpartition("/")[2]
        uris, dns = (spiffe_id,) if uris is None else uris, (name,) if dns is None else dns
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        extensions: list[x509.ExtensionType] = [x509.SubjectAlternativeName(names)] if names else []
        extensions += [x509.ExtendedKeyUsage(uses)] if uses else []
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        chosen = key or _new_key()
        leaf = _signed(subject, self, chosen, extensions, days, is_authority=is_authority)
        return Issued((leaf, *reversed(self.path)), chosen)


def _signed(
    subject: x509.Name,
    signer: Authority,
    key: Key,
    extensions: Sequence[x509.ExtensionType],
    days: tuple[int, int],
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer.key, hashes.SHA256())


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


class Clock:
    """A clock that is some days ahead."""

    days = 0.0

    def __call__(self) -> float:
        return (datetime.now(UTC) + self.days * DAY).timestamp()


@dataclass
class Files:
    """The three files of a service."""

    ca: Path
    certificate: Path
    key: Path

    def write(self, ca: bytes | None = None, issued: Issued | None = None) -> None:
        """Exchanges what is given."""
        if ca is not None:
            _exchange(self.ca, ca)
        if issued is not None:
            _exchange(self.certificate, issued.chain_pem)
            _exchange(self.key, issued.key_pem())

    def load(self, spiffe_id: str = ORDER, now: Callable[[], float] | None = None) -> Certificates:
        return Certificates(self.ca, self.certificate, self.key, spiffe_id, now or Clock())


def _exchange(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(content)
    tick = next(_ticks)
    os.utime(path, ns=(tick, tick))  # two changes within one tick of the file system's clock are two


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture(scope="module")
def foreign() -> Authority:
    return Authority("ours")  # the same name, and another key


def _files(folder: Path, ca: bytes, issued: Issued) -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "ca.pem", folder / "service.pem", folder / "service.key")
    files.write(ca, issued)
    return files


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    """The files of the Order Service, in order."""
    return _files(tmp_path / "order-service", authority.pem, authority.issue())


@asynccontextmanager
async def _served(
    certificates: Certificates, of_services: bool = True, options: Sequence[tuple[str, int]] = ()
) -> AsyncIterator[str]:
    """The address of a server that answers each call with the service that made it."""

    async def name(_: bytes, context: Context) -> bytes:
        return (service_of(context.auth_context()) or "nobody").encode()

    server = grpc.aio.server(options=options)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Name": grpc.unary_unary_rpc_method_handler(name)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Caller", handlers),))
    port = server.add_secure_port("127.0.0.1:0", certificates.server_credentials(of_services))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def _called(address: str, credentials: grpc.ChannelCredentials, server: str = "order-service") -> bytes:
    """The answer to a call by a new connection. Raises AioRpcError."""
    options = [("grpc.ssl_target_name_override", server), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Caller/Name")
        answer: bytes = await call(b"", timeout=20)
        return answer


async def _is_refused(address: str, credentials: grpc.ChannelCredentials, server: str = "order-service") -> bool:
    try:
        await _called(address, credentials, server)
    except grpc.aio.AioRpcError as error:
        return error.code() == grpc.StatusCode.UNAVAILABLE
    return False


def _credentials(ca: bytes, issued: Issued) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(ca, issued.key_pem(), issued.chain_pem)


KEYS: Mapping[str, Callable[[], Key]] = {
    "EC P-256": _new_key,
    "EC P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
async def test_services_know_each_other_by_their_certificates(
    kind: str, tmp_path: Path, authority: Authority, files: Files
) -> None:
    """With a key of each type that is taken."""
    files.write(issued=authority.issue(key=KEYS[kind]()))
    product = _files(tmp_path / "product", authority.pem, authority.issue(PRODUCT, key=KEYS[kind]())).load(PRODUCT)
    async with _served(files.load()) as address:
        assert await _called(address, product.channel_credentials()) == PRODUCT_SERVICE.encode()


async def test_services_of_an_intermediate_authority_know_each_other(tmp_path: Path, authority: Authority) -> None:
    """The root alone is trusted; the chain leads to it."""
    below = Authority("below", Authority("between", authority))
    order = _files(tmp_path / "order", authority.pem, below.issue()).load()
    product = _files(tmp_path / "product", authority.pem, below.issue(PRODUCT)).load(PRODUCT)
    async with _served(order) as address:
        assert await _called(address, product.channel_credentials()) == PRODUCT_SERVICE.encode()


async def test_a_client_without_a_certificate_is_refused(files: Files, authority: Authority) -> None:
    """Before any handler runs."""
    async with _served(files.load()) as address:
        assert await _is_refused(address, grpc.ssl_channel_credentials(authority.pem))


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(lambda ours, other: other.issue(PRODUCT), id="foreign authority"),
        pytest.param(lambda ours, other: ours.issue(PRODUCT, days=(-2, -1)), id="expired"),
        pytest.param(lambda ours, other: ours.issue(PRODUCT, days=(1, 2)), id="not yet valid"),
        pytest.param(lambda ours, other: ours.issue(PRODUCT, uses=BOTH[:1]), id="for servers only"),
        pytest.param(lambda ours, other: _of_a_leaf(ours), id="issued by a service"),
    ],
)
async def test_a_client_with_a_certificate_that_proves_nothing_is_refused(
    stranger: Callable[[Authority, Authority], Issued], files: Files, authority: Authority, foreign: Authority
) -> None:
    """Although its id is a service's, and its authority has the name of ours."""
    async with _served(files.load()) as address:
        assert await _is_refused(address, _credentials(authority.pem, stranger(authority, foreign)))


def _of_a_leaf(authority: Authority) -> Issued:
    leaf = authority.issue()
    made = Authority("made", key=leaf.key)
    made.name = leaf.chain[0].subject
    issued = made.issue(PRODUCT)
    return Issued((*issued.chain, *leaf.chain), issued.key)


@pytest.mark.parametrize(
    ("uris", "dns"),
    [
        pytest.param((), (), id="common name only"),
        pytest.param((), ("product-service",), id="DNS name only"),
        pytest.param((), (PRODUCT.removeprefix("spiffe://"),), id="DNS name like an id"),
        pytest.param((PRODUCT, ORDER), (), id="two ids"),
        pytest.param((PRODUCT, PRODUCT), (), id="one id twice"),
        pytest.param((PRODUCT, "https://example.org"), (), id="another URI beside it"),
        pytest.param((f"{PRODUCT}/",), (), id="trailing slash"),
        pytest.param((f"{PRODUCT}?",), (), id="empty query"),
        pytest.param((PRODUCT.replace("ordersys", "ORDERSYS"),), (), id="upper case"),
        pytest.param((PRODUCT.replace("ordersys", "ordersys:80"),), (), id="port"),
        pytest.param((PRODUCT.replace("/product", "/x/../product"),), (), id="path to be normalised"),
        pytest.param((PRODUCT.replace("spiffe:", "https:"),), (), id="another scheme"),
        pytest.param((PRODUCT.replace("ordersys", "other"),), (), id="another trust domain"),
        pytest.param(("spiffe://ordersys/service/rabbitmq",), (), id="no service of the contract"),
    ],
)
async def test_a_certificate_without_the_id_of_a_service_is_of_none(
    uris: Sequence[str], dns: Sequence[str], files: Files, authority: Authority
) -> None:
    """Although a trusted authority has issued it, for the common name product-service."""
    client = _credentials(authority.pem, authority.issue(PRODUCT, uris=uris, dns=dns))
    async with _served(files.load()) as address:
        assert await _called(address, client) == NOBODY


async def test_a_public_port_asks_for_no_certificate(files: Files, authority: Authority) -> None:
    """A client that has one is nobody there, like a client that has none."""
    async with _served(files.load(), of_services=False) as address:
        assert await _called(address, grpc.ssl_channel_credentials(authority.pem)) == NOBODY
        assert await _called(address, _credentials(authority.pem, authority.issue(PRODUCT))) == NOBODY


async def test_a_client_refuses_a_server_of_another_authority_or_another_name(
    tmp_path: Path, files: Files, authority: Authority, foreign: Authority
) -> None:
    """So no service can pose as another one, on one machine either."""
    client = files.load().channel_credentials()
    stranger = _files(tmp_path / "stranger", foreign.pem + authority.pem, foreign.issue()).load()
    other = _files(tmp_path / "other", authority.pem, authority.issue(PRODUCT)).load(PRODUCT)
    async with _served(stranger) as of_stranger, _served(other) as of_other:
        assert await _is_refused(of_stranger, client)
        assert await _is_refused(of_other, client)
        assert await _called(of_other, client, "product-service") == ORDER_SERVICE.encode()


async def test_new_connections_meet_the_new_certificate(files: Files, authority: Authority, foreign: Authority) -> None:
    """An open connection goes on."""
    certificates = files.load()
    old = _credentials(authority.pem, authority.issue(PRODUCT))
    new = _credentials(foreign.pem, authority.issue(PRODUCT))
    options = [("grpc.ssl_target_name_override", "order-service")]
    async with _served(certificates) as address, grpc.aio.secure_channel(address, old, options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Caller/Name")
        assert await call(b"", timeout=20) == PRODUCT_SERVICE.encode()
        assert await _is_refused(address, new)
        files.write(authority.pem + foreign.pem, foreign.issue())
        assert await _is_refused(address, new)
        certificates.reload()
        assert await _called(address, new) == PRODUCT_SERVICE.encode()
        assert await _is_refused(address, old)
        assert await call(b"", timeout=20) == PRODUCT_SERVICE.encode()


async def test_new_connections_meet_the_new_authorities(files: Files, authority: Authority, foreign: Authority) -> None:
    """Both while one replaces the other, then the new one alone: on each port of the server."""
    certificates = files.load()
    client = _credentials(authority.pem, foreign.issue(PRODUCT))
    async with _served(certificates) as first, _served(certificates) as second:
        for address in (first, second):
            assert await _is_refused(address, client)
        files.write(authority.pem + foreign.pem)
        certificates.reload()
        for address in (first, second):
            assert await _called(address, client) == PRODUCT_SERVICE.encode()
        files.write(authority.pem)
        certificates.reload()
        for address in (first, second):
            assert await _is_refused(address, client)


async def test_a_connection_of_an_authority_that_is_trusted_no_more_ends(
    files: Files, authority: Authority, foreign: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once, but when it has the age that connections of services come to: the next one is not let in."""
    monkeypatch.setattr(limits, "_SERVICES_AGE_MILLISECONDS", 300)
    files.write(authority.pem + foreign.pem)
    certificates = files.load()
    shown = _credentials(authority.pem, foreign.issue(PRODUCT))
    options = [("grpc.ssl_target_name_override", "order-service")]
    async with (
        _served(certificates, options=limits.options(Settings(), of_services=True)) as address,
        grpc.aio.secure_channel(address, shown, options) as channel,
    ):
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Caller/Name")
        assert await call(b"", timeout=20) == PRODUCT_SERVICE.encode()
        files.write(authority.pem)
        certificates.reload()
        assert await call(b"", timeout=20) == PRODUCT_SERVICE.encode()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(_made_again_and_again(call), 20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def _made_again_and_again(call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
    while True:
        await call(b"", timeout=20)


async def test_a_client_takes_the_new_certificate_with_a_new_channel(
    files: Files, tmp_path: Path, authority: Authority, foreign: Authority
) -> None:
    """The generation says when to make one."""
    product = _files(tmp_path / "product", foreign.pem + authority.pem, foreign.issue(PRODUCT))
    certificates = product.load(PRODUCT)
    async with _served(files.load()) as address:
        assert await _is_refused(address, certificates.channel_credentials())
        before = certificates.generation
        product.write(issued=authority.issue(PRODUCT), ca=authority.pem)
        certificates.reload()
        assert certificates.generation == before + 1
        assert await _called(address, certificates.channel_credentials()) == PRODUCT_SERVICE.encode()


def test_what_has_not_changed_is_not_loaded_again(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """No line is logged for it, either."""
    caplog.set_level(logging.INFO)
    certificates = files.load()
    for _ in range(3):
        certificates.reload()
    assert certificates.generation == 1
    assert caplog.messages == []


def test_a_new_certificate_is_logged_with_its_end(
    files: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line."""
    caplog.set_level(logging.INFO)
    certificates = files.load()
    issued = authority.issue()
    files.write(issued=issued)
    certificates.reload()
    ends = f"{issued.chain[0].not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
    assert caplog.messages == [f"the certificate in {files.certificate} is taken, valid until {ends}"]


def test_the_links_that_kubernetes_exchanges_are_followed(tmp_path: Path, authority: Authority) -> None:
    """`..data` leads to a folder, and at an update to another one; the files themselves stay links to `..data/…`."""
    names = ("ca.pem", "service.pem", "service.key")
    for folder in ("..1", "..2"):
        _files(tmp_path / folder, authority.pem, authority.issue())
    data = tmp_path / "..data"
    data.symlink_to("..1")
    for name in names:
        (tmp_path / name).symlink_to(Path("..data") / name)
    certificates = Files(*(tmp_path / name for name in names)).load()
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(data)
    certificates.reload()
    assert certificates.generation == 2


async def test_a_bad_exchange_changes_nothing_and_is_logged_once(
    files: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as the trouble is the same one; the next good files are taken."""
    certificates = files.load()
    client = _credentials(authority.pem, authority.issue(PRODUCT))
    async with _served(certificates) as address:
        _exchange(files.key, authority.issue().key_pem())
        for _ in range(3):
            certificates.reload()
        files.ca.unlink()
        for _ in range(3):
            certificates.reload()
        assert await _called(address, client) == PRODUCT_SERVICE.encode()
        assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
        assert str(files.key) in caplog.messages[0]
        assert str(files.ca) in caplog.messages[1]
        assert certificates.generation == 1
        files.write(authority.pem, authority.issue())
        certificates.reload()
        assert certificates.generation == 2
        assert await _called(address, client) == PRODUCT_SERVICE.encode()


def test_a_certificate_of_tomorrow_is_taken_tomorrow(files: Files, authority: Authority) -> None:
    """Although its file has not changed any more."""
    clock = Clock()
    certificates = files.load(now=clock)
    files.write(issued=authority.issue(days=(1, 12)))
    certificates.reload()
    assert certificates.generation == 1
    clock.days = 1.5
    certificates.reload()
    assert certificates.generation == 2


def test_the_end_of_the_certificate_is_warned_of_once_and_told_once(
    files: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Three days before, and when it has come; a new certificate ends that."""
    clock = Clock()
    certificates = files.load(now=clock)
    for clock.days in (0, 6.9, 7.1, 7.2, 9.9, 10.1, 10.2, 10.3):
        certificates.reload()
    assert [re.sub(":.*", "", text) for text in caplog.messages] == [
        f"the certificate in {files.certificate} ends soon",
        f"the certificate in {files.certificate} has expired",
    ]
    caplog.clear()
    files.write(issued=authority.issue(days=(-1, 20)))
    certificates.reload()
    assert caplog.messages == []
    clock.days = 17.1
    certificates.reload()
    files.write(issued=authority.issue(days=(-1, 22)))
    clock.days = 19.1
    certificates.reload()
    assert caplog.text.count("ends soon") == 2


@dataclass
class Unusable:
    """A way to spoil the files, the file that is to be named, and words of the reason."""

    spoil: Callable[[Files, Authority, Authority], object]
    named: str
    words: str


def _issued(**wrong: object) -> Callable[[Files, Authority, Authority], object]:
    # Any argument of `issue`, for the table below: mypy sees the call of each by its own test above.
    return lambda files, ours, other: files.write(issued=ours.issue(**wrong))  # type: ignore[arg-type]


def _spoil(file: str, content: bytes) -> Callable[[Files, Authority, Authority], object]:
    return lambda files, ours, other: _exchange(vars(files)[file], content)


def _wrong_order(files: Files, ours: Authority, _: Authority) -> None:
    issued = Authority("below", ours).issue()
    files.write(issued=Issued(tuple(reversed(issued.chain)), issued.key))


def _wrong_order_above(files: Files, ours: Authority, _: Authority) -> None:
    issued = Authority("lowest", Authority("middle", ours)).issue()
    leaf, *above = issued.chain
    files.write(issued=Issued((leaf, *reversed(above)), issued.key))


def _of_an_old_authority(files: Files, ours: Authority, _: Authority) -> None:
    old = Authority("old", days=(-9, -1))
    files.write(old.pem + ours.pem, old.issue())


def _of_a_short_key(files: Files, *_: Authority) -> None:
    weak = Authority("weak", key=_short_key())
    files.write(weak.pem, weak.issue())


def _nameless(files: Files, ours: Authority, _: Authority) -> None:
    files.write(ours.pem + Authority("ours", is_identified=False).pem)


def _short_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # noqa: S505 - which is why it is refused


def _ed25519(files: Files, ours: Authority, _: Authority) -> None:
    files.write(issued=ours.issue(key=ed25519.Ed25519PrivateKey.generate()))


UNUSABLE = {
    "no CA file": Unusable(lambda files, *_: files.ca.unlink(), "ca", "can't be read: No such file"),
    "no certificate": Unusable(lambda files, *_: files.certificate.unlink(), "certificate", "can't be read"),
    "no key": Unusable(lambda files, *_: files.key.unlink(), "key", "can't be read"),
    "CA file not PEM": Unusable(_spoil("ca", b"\0secret"), "ca", "no certificate in it"),
    "certificate not PEM": Unusable(_spoil("certificate", b"\x30\x82secret"), "certificate", "no certificate in it"),
    "certificate empty": Unusable(_spoil("certificate", b""), "certificate", "no certificate in it"),
    "certificate garbage": Unusable(
        _spoil("certificate", b"-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n"),
        "certificate",
        "can't be decoded",
    ),
    "key not PEM": Unusable(_spoil("key", b"secret"), "key", "no private key in it"),
    "certificate for key": Unusable(
        lambda files, ours, other: _exchange(files.key, ours.issue().chain_pem), "key", "no private key in it"
    ),
    "key encrypted": Unusable(
        lambda files, ours, other: _exchange(files.key, ours.issue().key_pem(BestAvailableEncryption(b"secret"))),
        "key",
        "encrypted",
    ),
    "file too large": Unusable(_spoil("ca", b"secret\n" * 200_000), "ca", "larger than 1 MiB"),
    "CA of a service": Unusable(
        lambda files, ours, other: files.write(ca=ours.issue().chain_pem), "ca", "no authority's (CA:TRUE)"
    ),
    "CA and a service": Unusable(
        lambda files, ours, other: files.write(ca=ours.pem + ours.issue().chain_pem), "ca", "no authority's"
    ),
    "authority expired": Unusable(_of_an_old_authority, "ca", "has expired at"),
    "authority with a short key": Unusable(_of_a_short_key, "ca", "RSA key of less than 2048 bits"),
    "authorities of one name": Unusable(_nameless, "ca", "of one name without subjectKeyIdentifier"),
    "key of another certificate": Unusable(
        lambda files, ours, other: _exchange(files.key, ours.issue().key_pem()), "key", "does not fit the certificate"
    ),
    "Ed25519": Unusable(_ed25519, "key", "a key of an unusable type"),
    "RSA 1024": Unusable(_issued(key=_short_key()), "certificate", "RSA key of less than 2048 bits"),
    "EC P-521": Unusable(_issued(key=ec.generate_private_key(ec.SECP521R1())), "key", "a key of an unusable type"),
    "expired": Unusable(_issued(days=(-5, -1)), "certificate", "has expired at 2"),
    "not yet valid": Unusable(_issued(days=(1, 5)), "certificate", "is not valid before 2"),
    "chain in wrong order": Unusable(_wrong_order, "certificate", "put the service's certificate first"),
    "upper chain in wrong order": Unusable(_wrong_order_above, "certificate", "each certificate right before its"),
    "foreign authority": Unusable(
        lambda files, ours, other: files.write(issued=other.issue()), "certificate", "not issued by an authority in"
    ),
    "issued by a service": Unusable(
        lambda files, ours, other: files.write(issued=_of_a_leaf(ours)), "certificate", "wrong order"
    ),
    "authority's own": Unusable(_issued(is_authority=True), "certificate", "authority's certificate (CA:TRUE)"),
    "for servers only": Unusable(_issued(uses=BOTH[:1]), "certificate", "serverAuth and clientAuth"),
    "for clients only": Unusable(_issued(uses=BOTH[1:]), "certificate", "serverAuth and clientAuth"),
    "for nothing": Unusable(_issued(uses=()), "certificate", "serverAuth and clientAuth"),
    "no id": Unusable(_issued(uris=()), "certificate", f"has not {ORDER} for its only URI"),
    "no names": Unusable(_issued(uris=(), dns=()), "certificate", f"has not {ORDER} for its only URI"),
    "another id": Unusable(_issued(uris=(PRODUCT,)), "certificate", f"has not {ORDER} for its only URI"),
    "two ids": Unusable(_issued(uris=(ORDER, PRODUCT)), "certificate", f"has not {ORDER} for its only URI"),
    "one id twice": Unusable(_issued(uris=(ORDER, ORDER)), "certificate", f"has not {ORDER} for its only URI"),
    "no DNS name": Unusable(_issued(dns=()), "certificate", "lacks the DNS name order-service"),
    "another DNS name": Unusable(_issued(dns=("localhost",)), "certificate", "lacks the DNS name order-service"),
}


@pytest.mark.parametrize("case", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_told_at_the_start(
    case: Unusable, files: Files, authority: Authority, foreign: Authority
) -> None:
    """In one line, with the file, the reason and a way out, and without anything of its content."""
    case.spoil(files, authority, foreign)
    with pytest.raises(UnusableCertificate) as caught:
        files.load()
    text = str(caught.value)
    assert text.startswith(f"{vars(files)[case.named]} ")
    assert case.words in text
    assert "; " in text
    assert "\n" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("mode", "owner", "is_taken"),
    [
        (0o600, 4711, True),
        (0o400, 4711, True),
        (0o640, 4711, False),
        (0o620, 4711, False),
        (0o604, 4711, False),
        (0o600, 0, True),
        (0o640, 0, True),
        (0o440, 0, True),
        (0o660, 0, False),
        (0o644, 0, False),
        (0o600, 4712, False),
    ],
)
def test_a_key_is_for_its_service_alone(
    mode: int, owner: int, is_taken: bool, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or root's, who may have a group read it, as Kubernetes does; the service is user 4711."""
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((status.st_mode & ~0o777 | mode, *status[1:4], owner, *status[5:]))

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if is_taken:
        files.load()
        return
    with pytest.raises(UnusableCertificate, match=r"chmod 600|change its owner") as caught:
        files.load()
    assert str(files.key) in str(caught.value)


def test_a_key_that_everybody_may_read_is_refused(files: Files) -> None:
    """Root included, as an owner or as a reader."""
    files.key.chmod(0o644)
    with pytest.raises(UnusableCertificate, match="chmod 600"):
        files.load()


def test_a_key_that_everybody_may_read_from_now_on_is_noticed(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Though nothing else of it has changed: who could has it, and somebody has to see to it."""
    certificates = files.load()
    files.key.chmod(0o644)
    certificates.reload()
    certificates.reload()
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f"{files.key} has a private key and may be read or changed by others; chmod 600 it" in said
    files.key.chmod(0o600)
    certificates.reload()
    assert certificates.generation == 2


@pytest.mark.parametrize("order", [1, -1], ids=["new first", "old first"])
async def test_an_authority_that_has_expired_may_stand_beside_its_successor(order: int, tmp_path: Path) -> None:
    """Of the same name and the same key, in either order: BoringSSL would look at the first one only."""
    new = Authority("renewed")
    old = Authority("renewed", days=(-9, -1), key=new.key)
    certificates = _files(tmp_path, b"".join([new.pem, old.pem][::order]), new.issue()).load()
    async with _served(certificates) as address:
        assert await _called(address, _credentials(new.pem, new.issue(PRODUCT))) == PRODUCT_SERVICE.encode()


def test_the_end_of_its_authority_is_the_end_of_a_certificate(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would trust it after that."""
    ending = Authority("ending", days=(-9, 2))
    files.write(ending.pem, ending.issue())
    files.load().reload()
    assert "ends soon" in caplog.text


def test_a_root_may_stand_at_the_end_of_a_chain(files: Files, authority: Authority) -> None:
    """Needless, and harmless."""
    issued = authority.issue()
    files.write(issued=Issued((*issued.chain, authority.certificate), issued.key))
    files.load()


_Faults: TypeAlias = list[tuple[int, int]]
FAULTS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3)


@given(st.sampled_from(["ca", "certificate", "key"]), FAULTS, FAULTS)
@example("certificate", [(13, 2)], [])  # no such version of X.509
@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # that is not positive
def test_files_with_any_fault_are_told_or_taken(spoilable: Files, name: str, in_der: _Faults, in_pem: _Faults) -> None:
    """No error but UnusableCertificate comes of them: a process says why it does not start, and goes on if it has."""
    path: Path = vars(spoilable)[name]
    content = path.read_bytes()
    path.write_bytes(_with_faults(_with_faults_inside(content, in_der), in_pem))
    try:
        spoilable.load()
    except UnusableCertificate as error:
        assert str(path) in str(error)
    finally:
        path.write_bytes(content)


def _with_faults(content: bytes, faults: _Faults) -> bytes:
    octets = bytearray(content)
    for place, octet in faults:
        octets[place % len(octets)] = octet
    return bytes(octets)


def _with_faults_inside(pem: bytes, faults: _Faults) -> bytes:
    """The first thing in a file, with other octets in what its base64 stands for."""
    begin, *lines = pem.splitlines(keepends=True)
    length = next(number for number, line in enumerate(lines) if line.startswith(b"-----END"))
    der = _with_faults(base64.b64decode(b"".join(lines[:length])), faults)
    return b"".join([begin, base64.encodebytes(der), *lines[length:]])


@pytest.fixture(scope="module")
def spoilable(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Files:
    """Files for all examples: to make certificates takes longer than to read them."""
    return _files(tmp_path_factory.mktemp("spoilable"), authority.pem, Authority("below", authority).issue())


@pytest.mark.parametrize("spiffe_id", access.service_ids())
def test_each_service_of_the_contract_is_known_by_its_id(spiffe_id: str) -> None:
    """By nothing else that the certificate has."""
    assert service_of({"peer_spiffe_id": (spiffe_id.encode(),)}) == access.service_ids()[spiffe_id]
    for key in ("x509_common_name", "x509_subject_alternative_name", "peer_uri", "peer_dns"):
        assert service_of({key: (spiffe_id.encode(), spiffe_id.rpartition("/")[2].encode())}) is None


@given(st.lists(st.one_of(st.binary(), st.sampled_from([ORDER.encode(), PRODUCT.encode()]))))
def test_only_one_whole_id_makes_a_service(ids: list[bytes]) -> None:
    """None of several, none of other octets."""
    known = {spiffe_id.encode(): name for spiffe_id, name in access.service_ids().items()}
    assert service_of({"peer_spiffe_id": ids}) == (known.get(ids[0]) if len(ids) == 1 else None)
