"""The files by which a client of the broker is known, and whom it trusts."""

import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelClosedByBroker,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
)

from ordersys.identity import issuing
from ordersys.identity.issuing import Pair
from ordersys.runtime.base.settings import InvalidSetting, read
from ordersys.runtime.rabbitmq.errors import BrokerRefused, unavailable
from ordersys.runtime.rabbitmq.tls import Files
from ordersys.runtime.rabbitmq.urls import BrokerUrl, identified, parse
from ordersys.runtime.settings import Settings

NOW = datetime.now(UTC)
URL = "amqps://h?server_name_indication=rabbitmq"
PLAIN = "amqps://u:geheim@h"


def authority() -> Pair:
    """Another one each time."""
    key = issuing.new_key()
    return Pair(issuing.authority(key, NOW), key)


def written(folder: Path, issuer: Pair, name: str = "order-service") -> Files:
    """The files of a service, of which the last is for itself alone."""
    folder.mkdir(exist_ok=True)
    leaf = issuing.leaf(issuer, name, NOW)
    files = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
    contents = (
        issuing.certificate_pem(issuer.certificate),
        issuing.certificate_pem(leaf.certificate),
        issuing.key_pem(leaf.key),
    )
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    files[-1].chmod(0o600)
    return Files(*files)


def environment(url: str, files: Files) -> dict[str, str]:
    """The settings of a service."""
    names = "ORDERSYS_AMQP_CA_FILE", "ORDERSYS_TLS_CERTIFICATE_FILE", "ORDERSYS_TLS_KEY_FILE"
    given = {name: str(file) for name, file in zip(names, files, strict=True) if file}
    return {"ORDERSYS_AMQP_URL": url, **given}


def trusted(url: BrokerUrl) -> list[object]:
    """The authorities that a new connection trusts, by their serial numbers."""
    options = url.fresh().ssl_options
    assert options is not None and options.context is not None
    return [authority["serialNumber"] for authority in options.context.get_ca_certs()]


def serial(issuer: Pair) -> str:
    """As OpenSSL writes it."""
    text = f"{issuer.certificate.serial_number:X}"
    return text.zfill(len(text) + len(text) % 2)


def test_without_a_user_a_service_is_the_first_name_in_its_certificate(tmp_path: Path) -> None:
    """Each of a cluster's URLs; what has a user of its own keeps it."""
    files = written(tmp_path, authority())
    settings = read(Settings, environment(f"{URL},{URL},{PLAIN},amqp://h", files))
    assert [url.user for url in settings.amqp_url] == ["order-service", "order-service", "u", "guest"]


def test_the_authorities_are_those_of_the_setting_else_of_the_url(tmp_path: Path) -> None:
    """Those of the setting alone, where both are given."""
    (first, second) = issuers = authority(), authority()
    mine, others = (written(tmp_path / str(number), issuer) for number, issuer in enumerate(issuers))
    url = f"{PLAIN}?ssl_options={{'cafile':'{others.authorities}'}}"
    assert trusted(*identified(parse(url), Files())) == [serial(second)]
    assert trusted(*identified(parse(url), mine)) == [serial(first)]


def test_files_are_read_anew_for_each_connection(tmp_path: Path) -> None:
    """So a renewed certificate, and another authority, need no restart."""
    first, second = authority(), authority()
    (url,) = identified(parse(URL), written(tmp_path, first))
    assert trusted(url) == [serial(first)]
    written(tmp_path, second)
    assert trusted(url) == [serial(second)]


def test_without_a_certificate_nobody_can_be_known_by_one() -> None:
    """One line at the start, with the variables and the way out; whoever has a user needs none."""
    with pytest.raises(InvalidSetting) as wrong:
        read(Settings, {"ORDERSYS_AMQP_URL": URL})
    assert str(wrong.value) == (
        "ORDERSYS_AMQP_URL has no user, and amqps:// without one shows a certificate (EXTERNAL): name it with"
        " ORDERSYS_TLS_CERTIFICATE_FILE and ORDERSYS_TLS_KEY_FILE, or give user:password@ in front of the host"
    )
    assert read(Settings, {"ORDERSYS_AMQP_URL": PLAIN}).amqp_url[0].user == "u"


def test_the_certificate_of_the_url_goes_before_that_of_the_service(tmp_path: Path) -> None:
    """As its authorities do."""
    named = written(tmp_path / "named", authority(), "product-service")
    own = written(tmp_path / "own", authority())
    options = f"ssl_options={{'certfile':'{named.certificate}','keyfile':'{named.key}'}}".replace(",", "%2C")
    (url,) = identified(parse(f"{URL}&{options}"), own)
    assert url.user == "product-service"


@pytest.mark.parametrize("file", ["authorities", "certificate", "key"])
@pytest.mark.parametrize("state", ["missing", "a pipe", "empty", "of another"])
def test_a_file_that_can_not_be_used_is_one_line(tmp_path: Path, file: str, state: str) -> None:
    """With its name, at once, and nothing of its content."""
    files = written(tmp_path / "own", authority())
    path = getattr(files, file)
    path.unlink()
    if state == "a pipe":
        os.mkfifo(path)
    elif state == "empty":
        path.touch()
    elif state == "of another":
        path.write_bytes(issuing.key_pem(issuing.new_key()))
    with pytest.raises(InvalidSetting) as wrong:
        read(Settings, environment(URL, files))
    assert str(wrong.value).startswith("ORDERSYS_AMQP_URL needs ")
    assert str(path) in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert "BEGIN" not in str(wrong.value)


UNFIT: Mapping[str, tuple[str, bytes, str]] = {
    "no authority": ("authorities", b"x", "ORDERSYS_AMQP_CA_FILE: {file} holds no certificate of an authority in PEM"),
    "no certificate": ("certificate", b"x", "ORDERSYS_TLS_CERTIFICATE_FILE: {file} holds no certificate in PEM"),
    "no key": ("key", b"x", "ORDERSYS_TLS_KEY_FILE: {file} holds no private key in PEM"),
    "another key": (
        "key",
        issuing.key_pem(issuing.new_key()),
        "ORDERSYS_TLS_KEY_FILE: {file} does not fit the certificate",
    ),
    "a key with a password": (
        "key",
        issuing.new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cr3t")),
        "ORDERSYS_TLS_KEY_FILE: {file} is encrypted, and not with this password; decrypt it",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_the_file_that_is_wrong_is_the_one_that_is_named(tmp_path: Path, name: str) -> None:
    """With its setting: OpenSSL says of all three together that they can't be used, if it says that."""
    file, content, said = UNFIT[name]
    files = written(tmp_path, authority())
    getattr(files, file).write_bytes(content)
    with pytest.raises(InvalidSetting) as wrong:
        read(Settings, environment(URL, files))
    expected = said.format(file=getattr(files, file))
    assert str(wrong.value) == f"ORDERSYS_AMQP_URL needs another file of {expected}"


def test_a_key_that_others_may_read_is_shown_to_no_broker(tmp_path: Path) -> None:
    """A setting or the URL names it; one that is opened to others later is not from the next connection on."""
    files = written(tmp_path, authority())
    assert files.key is not None
    (url,) = read(Settings, environment(URL, files)).amqp_url
    files.key.chmod(0o644)
    with pytest.raises(OSError, match="chmod 600 it"):
        url.fresh()
    said = f"needs another file of ORDERSYS_TLS_KEY_FILE: {files.key} has a private key and may be read or changed by"
    with pytest.raises(InvalidSetting, match=said):
        read(Settings, environment(URL, files))
    options = f"ssl_options={{'certfile':'{files.certificate}','keyfile':'{files.key}'}}".replace(",", "%2C")
    with pytest.raises(ValueError, match="name a file that may be read or changed by others; chmod 600 it"):
        parse(f"{PLAIN}?{options}")


def test_a_certificate_without_a_dns_name_is_nobodys(tmp_path: Path) -> None:
    """RabbitMQ would find no user by it."""
    issuer = authority()
    files = written(tmp_path, issuer)
    assert files.certificate is not None and files.key is not None
    files.certificate.write_bytes(issuing.certificate_pem(issuer.certificate))
    files.key.write_bytes(issuing.key_pem(issuer.key))
    with pytest.raises(InvalidSetting, match="has no DNS name"):
        read(Settings, environment(URL, files))


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it was shown no certificate for clients"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "it was shown no certificate for clients"),
        ("TLSV1_ALERT_UNKNOWN_CA", "it does not trust the authority"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "has expired"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "it finds the certificate that it was shown bad"),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "it does not accept the certificate"),
    ],
)
def test_an_alert_about_a_certificate_is_a_refusal_with_its_way_out(alert: str, said: str) -> None:
    """As pika tells it behind a handshake, and as Python does within one."""
    lost = IncompatibleProtocolError(f"StreamLostError: ('Stream connection lost: SSLError(1, [SSL: {alert}] x)')")
    within = ssl.SSLError(1, f"[SSL: {alert}] x (_ssl.c:1006)")
    for error in (lost, AMQPConnectionError(within)):
        refused = unavailable("h", error)
        assert isinstance(refused, BrokerRefused)
        assert said in str(refused)
        assert "ORDERSYS_TLS_CERTIFICATE_FILE" in str(refused)


def test_a_queue_named_like_an_alert_is_no_certificate() -> None:
    """Only OpenSSL speaks of certificates."""
    closed = ChannelClosedByBroker(404, "NOT_FOUND - no queue 'ALERT_UNKNOWN_CA' in vhost '/'")
    assert "certificate" not in str(unavailable("h", closed))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'mechanism EXTERNAL'"), "it has no user of the"),
        (ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'mechanism PLAIN'"), "the user or the password"),
        (AuthenticationError("EXTERNAL"), "rabbitmq_auth_mechanism_ssl"),
        (AuthenticationError("PLAIN"), "it takes no passwords"),
    ],
)
def test_a_login_that_is_refused_says_by_what(error: Exception, said: str) -> None:
    """A certificate is no password."""
    refused = unavailable("h", error)
    assert isinstance(refused, BrokerRefused)
    assert said in str(refused)
