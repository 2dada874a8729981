"""Keys of an issuer by their URL: fetched over real TLS from a server of this machine, which answers as it is told."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from ordersys.contract.access import InvalidToken
from ordersys.identity import issuing
from ordersys.runtime.base.settings import InvalidSetting, read
from ordersys.runtime.identity.fetched_keys import COOLDOWN_SECONDS, FetchedKeys, source
from ordersys.runtime.identity.key_sets import Keys, UnusableKeys
from ordersys.runtime.identity.tokens import Tokens
from ordersys.runtime.settings import Settings
from tests.issuer import Answer, Issuer, key_set
from tests.unit.test_tokens import CLAIMS, ES256, GOOD, OCT, PROFILE, RS256, Clock

SECONDS = 10.0
PERIOD = 300.0
GOOD_SET = Answer(key_set(ES256.jwk))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to this machine leads by no proxy of whoever runs the tests."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    """An issuer that publishes one key."""
    with Issuer(tmp_path, GOOD_SET).running() as running:
        yield running


class Steady(Clock):
    """A clock that stands still until it is told."""

    now: float = 1000.0


@pytest.fixture
def clock() -> Steady:
    """The clock by which keys are fetched."""
    return Steady()


@pytest.fixture
def keys(issuer: Issuer, clock: Steady) -> FetchedKeys:
    """The keys of the issuer, not yet fetched."""
    return FetchedKeys(issuer.url, issuer.ca_file, PERIOD, clock)


async def refreshed(keys: FetchedKeys, clock: Steady, seconds: float = PERIOD) -> None:
    """Lets time pass, and waits for the refresh that begins."""
    clock.now += seconds
    keys.reload()
    await fetched(keys)


async def fetched(keys: FetchedKeys) -> None:
    """Waits for the end of the fetch that is under way."""
    assert keys._begun is not None
    keys._answered.clear()
    async with asyncio.timeout(SECONDS):
        await keys._answered.wait()


async def test_keys_are_there_from_the_start_on(keys: FetchedKeys, issuer: Issuer) -> None:
    """A start waits for them, so that no good token is refused meanwhile."""
    assert not keys.works
    await keys.start()
    assert keys.works
    assert Tokens(keys, PROFILE, Clock()).caller(GOOD).name == "ada"
    assert issuer.paths == ["/keys"]


async def test_a_key_that_is_new_is_good_and_one_that_is_gone_is_not(
    keys: FetchedKeys, issuer: Issuer, clock: Steady
) -> None:
    """Within the time of a refresh, also for tokens that were known."""
    await keys.start()
    tokens = Tokens(keys, PROFILE, Clock())
    assert tokens.caller(GOOD).name == "ada"
    issuer.answer = Answer(key_set(RS256.jwk))
    await refreshed(keys, clock, PERIOD - 1)
    with pytest.raises(InvalidToken, match="unknown key"):
        tokens.caller(GOOD)
    assert tokens.caller(RS256.token(CLAIMS)).name == "ada"


async def test_keys_that_are_the_same_are_not_taken_anew(keys: FetchedKeys, clock: Steady, issuer: Issuer) -> None:
    """Tokens that were verified by them stay known; and nobody asks before it is time."""
    await keys.start()
    generation = keys.generation
    await refreshed(keys, clock)
    assert keys.generation == generation
    clock.now += PERIOD - 6
    keys.reload()
    assert keys._begun is None
    assert len(issuer.paths) == 2


async def test_an_unknown_key_is_asked_for_at_once(keys: FetchedKeys, issuer: Issuer) -> None:
    """Its first token is refused, without a wait; the next one is good."""
    await keys.start()
    issuer.answer = Answer(key_set(ES256.jwk, RS256.jwk))
    tokens = Tokens(keys, PROFILE, Clock())
    with pytest.raises(InvalidToken, match="unknown key"):
        tokens.caller(RS256.token(CLAIMS))
    await fetched(keys)
    assert tokens.caller(RS256.token(CLAIMS)).name == "ada"


async def test_a_thousand_unknown_keys_cost_one_request(keys: FetchedKeys, issuer: Issuer, clock: Steady) -> None:
    """In the time of a cooldown."""
    await keys.start()
    tokens = Tokens(keys, PROFILE, Clock())
    for round_ in range(3):
        for number in range(1000):
            with pytest.raises(InvalidToken, match="unknown key"):
                tokens.caller(ES256.token(CLAIMS, {**ES256.header, "kid": f"k{round_}-{number}"}))
            if number == 500:
                await fetched(keys)
        assert len(issuer.paths) == 2 + round_
        clock.now += COOLDOWN_SECONDS


async def test_a_forged_token_without_a_chance_asks_for_nothing(keys: FetchedKeys, issuer: Issuer) -> None:
    """Its header says that it is of another type, or that its key is to be found elsewhere."""
    await keys.start()
    tokens = Tokens(keys, PROFILE, Clock())
    for header in ({"typ": "JWT"}, {"crit": ["x"]}, {"kid": 1}, {"kid": ...}, {"kid": "es256", "jku": issuer.url}):
        kid = {name: value for name, value in {**ES256.header, "kid": "new", **header}.items() if value is not ...}
        if "jku" in header:
            assert tokens.caller(ES256.token(CLAIMS, {**kid, "x5u": issuer.url, "jwk": RS256.jwk})).name == "ada"
        else:
            with pytest.raises(InvalidToken):
                tokens.caller(ES256.token(CLAIMS, kid))
    assert keys._begun is None
    assert len(issuer.paths) == 1


TROUBLES: Mapping[str, tuple[Answer, str]] = {
    "500": (Answer(b"", status=500), "status 500"),
    "404": (Answer(b"nothing", status=404), "status 404"),
    "204": (Answer(b"", status=204), "is not JSON"),
    "nothing": (Answer(b""), "is not JSON"),
    "HTML": (Answer(b"<html>log in</html>"), "is not JSON"),
    "compressed": (Answer(b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"}), "is not JSON"),
    "no keys": (Answer(key_set()), "has no public key"),
    "no set": (Answer(b'{"issuer": "x"}'), 'has no "keys"'),
    "shared secrets alone": (Answer(key_set(OCT)), "shared secret"),
    "too large": (Answer(b" " * 1_048_600 + key_set(ES256.jwk)), "more than 1 MiB"),
    "cut off": (Answer(key_set(ES256.jwk)[:-5], headers={"Content-Length": "900"}), "is not JSON"),
    "redirect": (Answer(b"", status=302, headers={"Location": "/elsewhere"}), "status 302, redirects are not followed"),
    "permanent redirect": (Answer(b"", status=308, headers={"Location": "/elsewhere"}), "status 308, redirects"),
    "headers without end": (Answer(b"", headers={f"X-{n}": "x" for n in range(200)}), "no answer in HTTP"),
}


@pytest.mark.parametrize(("answer", "words"), TROUBLES.values(), ids=TROUBLES)
async def test_keys_stay_while_there_are_no_others(
    *, answer: Answer, words: str, keys: FetchedKeys, issuer: Issuer, clock: Steady, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of the log for the trouble, and one when it is over."""
    await keys.start()
    tokens = Tokens(keys, PROFILE, Clock())
    good, issuer.answer = issuer.answer, answer
    caplog.set_level(logging.INFO)
    caplog.clear()
    for _ in range(3):
        await refreshed(keys, clock)
        assert tokens.caller(GOOD).name == "ada"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert words in record.getMessage()
    assert record.getMessage().endswith("; the old one stays in use")
    assert issuer.url in record.getMessage()
    issuer.answer = good
    await refreshed(keys, clock, 30)
    await refreshed(keys, clock)
    assert caplog.messages[1:] == [f"the key set at {issuer.url} is taken again: 1 keys"]
    assert set(issuer.paths) == {"/keys"}


async def test_an_issuer_that_is_away_is_asked_again(
    keys: FetchedKeys, issuer: Issuer, clock: Steady, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start it is waited for no longer than a try takes; no token is good until it is back."""
    issuer.answer = Answer(b"", status=503)
    await keys.start()
    tokens = Tokens(keys, PROFILE, Clock())
    assert not keys.works
    with pytest.raises(InvalidToken, match="unknown key"):
        tokens.caller(GOOD)
    await fetched(keys)
    await refreshed(keys, clock, 5)
    (message,) = caplog.messages
    assert message == (
        f"the key set at {issuer.url} can't be fetched: status 503; no token is accepted until there is one"
    )
    issuer.answer = GOOD_SET
    await refreshed(keys, clock, 5)
    assert keys.works
    assert tokens.caller(GOOD).name == "ada"


@pytest.mark.parametrize("answer", [Answer(b""), Answer(b"", status=204)], ids=["200", "204"])
async def test_an_empty_answer_is_no_set_of_before(
    *, answer: Answer, keys: FetchedKeys, issuer: Issuer, clock: Steady, caplog: pytest.LogCaptureFixture
) -> None:
    """There is none yet that it could be the same as: it is a trouble, and the issuer is asked again."""
    issuer.answer = answer
    await keys.start()
    assert not keys.works
    assert "is not JSON" in caplog.text
    issuer.answer = GOOD_SET
    await refreshed(keys, clock, 5)
    assert keys.works


async def test_nobody_listens_at_the_url(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """Said as the system says it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        keys = FetchedKeys(f"https://127.0.0.1:{unused.getsockname()[1]}/keys?secret=x", issuer.ca_file, PERIOD)
        await keys.start()
    assert "can't be fetched: Connection refused" in caplog.text
    assert "secret" not in caplog.text


def _stranger() -> issuing.Pair:
    key = issuing.new_key()
    return issuing.Pair(issuing.authority(key, datetime.now(UTC)), key)


def _elsewhere(authority: issuing.Pair) -> issuing.Pair:
    """A certificate for a host of the same authority that is not this one."""
    key, now = issuing.new_key(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])  # which counts no more (RFC 9525, 1.3)
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("elsewhere.example")]), False)
        .add_extension(authority_id, False)
    )
    return issuing.Pair(builder.sign(authority.key, hashes.SHA256()), key)


CERTIFICATES: Mapping[str, tuple[Callable[[Issuer], object], str]] = {
    "of another authority": (lambda issuer: issuer.certify(_stranger()), "certificate"),
    "that has ended": (
        lambda issuer: issuer.certify(issuer.authority, datetime.now(UTC) - timedelta(days=3)),
        "certificate has expired",
    ),
    "of another host": (
        lambda issuer: issuer.show(_elsewhere(issuer.authority)),
        "certificate is not valid for 'localhost'",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), CERTIFICATES.values(), ids=CERTIFICATES)
async def test_a_server_without_a_good_certificate_is_not_asked(
    *,
    spoil: Callable[[Issuer], object],
    words: str,
    keys: FetchedKeys,
    issuer: Issuer,
    clock: Steady,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Keys of whoever stands between would make anybody an operator."""
    await keys.start()
    spoil(issuer)
    issuer.answer = Answer(key_set(RS256.jwk))
    await refreshed(keys, clock)
    assert keys.get("es256") is not None
    assert "can't be fetched: its certificate is not valid: " in caplog.text
    assert words in caplog.text
    assert len(issuer.paths) == 1


async def test_authorities_are_those_of_the_system_unless_told_otherwise(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SSL_CERT_FILE stands for them here, as OpenSSL reads it."""
    keys = FetchedKeys(issuer.url, None, PERIOD)
    await keys.start()
    assert "its certificate is not valid" in caplog.text
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.ca_file))
    again = FetchedKeys(issuer.url, None, PERIOD)
    await again.start()
    assert again.works


async def test_no_call_waits_for_an_issuer_that_is_slow(
    keys: FetchedKeys, issuer: Issuer, clock: Steady, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens are verified meanwhile, unknown keys are refused, nobody asks a second time, and the log says so once."""
    await keys.start()
    tokens = Tokens(keys, PROFILE, Clock())
    asked, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        goes_on.wait(SECONDS)

    issuer.answer = Answer(key_set(RS256.jwk), before=hold)
    clock.now += PERIOD
    keys.reload()
    assert await asyncio.to_thread(asked.wait, SECONDS)
    for _ in range(3):
        clock.now += 11
        keys.reload()
        assert tokens.caller(GOOD).name == "ada"
        with pytest.raises(InvalidToken, match="unknown key"):
            tokens.caller(RS256.token(CLAIMS))
    assert caplog.messages == [
        f"the key set at {issuer.url} takes longer than 10 s; the old one stays in use",
    ]
    assert keys._wanted.empty()
    goes_on.set()
    await fetched(keys)
    assert tokens.caller(RS256.token(CLAIMS)).name == "ada"
    assert len(issuer.paths) == 2


SLOW: Mapping[str, tuple[Answer, str]] = {
    "silent": (Answer(key_set(RS256.jwk), before=lambda: threading.Event().wait(1)), "no answer in time"),
    "a body without end": (Answer(b" " * 50, pause=0.05), "no answer in time"),
    "headers without end": (Answer(b"", pause=0.05, head=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50), "no answer in HTTP"),
}


@pytest.mark.parametrize(("answer", "words"), SLOW.values(), ids=SLOW)
async def test_an_answer_that_takes_too_long_is_given_up(
    *,
    answer: Answer,
    words: str,
    keys: FetchedKeys,
    issuer: Issuer,
    clock: Steady,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that stays away, and one that never ends."""
    await keys.start()
    monkeypatch.setattr("ordersys.runtime.identity.fetched_keys._SILENT_SECONDS", 0.2)
    monkeypatch.setattr("ordersys.runtime.identity.fetched_keys._MOST_SECONDS", 0.3)
    issuer.answer = answer
    began = time.monotonic()
    await refreshed(keys, clock)
    assert time.monotonic() - began < 2
    assert keys.get("es256") is not None
    assert f"can't be fetched: {words}" in caplog.text


async def test_a_start_waits_no_longer_than_it_has_to(
    keys: FetchedKeys, issuer: Issuer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on without keys, and takes them when they come."""
    monkeypatch.setattr("ordersys.runtime.identity.fetched_keys._START_SECONDS", 0.1)
    goes_on = threading.Event()
    issuer.answer = Answer(key_set(ES256.jwk), before=lambda: goes_on.wait(SECONDS))
    await keys.start()
    assert not keys.works
    assert caplog.messages == [
        f"the key set at {issuer.url} takes longer than 10 s; no token is accepted until there is one"
    ]
    goes_on.set()
    await fetched(keys)
    assert keys.works


async def test_a_proxy_of_the_environment_is_used(
    keys: FetchedKeys, issuer: Issuer, clock: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries what it can't read; hosts it is not for are asked by themselves."""
    asked: list[bytes] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b" HTTP/")[0])
        onward, away = await asyncio.open_connection("127.0.0.1", issuer.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, away), _copy(onward, writer))

    proxy = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        await keys.start()
        assert keys.works
        assert asked == [f"CONNECT localhost:{issuer.port}".encode()]
        monkeypatch.setenv("no_proxy", "localhost")
        await refreshed(keys, clock)
    assert (len(asked), len(issuer.paths)) == (1, 2)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(65_536):
        writer.write(octets)
    writer.close()


async def test_authorities_are_read_anew_with_each_fetch(keys: FetchedKeys, issuer: Issuer, clock: Steady) -> None:
    """Their file may be exchanged while the service runs."""
    await keys.start()
    other = _stranger()
    issuer.certify(other)
    issuer.ca_file.write_bytes(issuing.certificate_pem(other.certificate))
    issuer.answer = Answer(key_set(RS256.jwk))
    await refreshed(keys, clock)
    assert keys.get("rs256") is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "can't be read: No such file"), (b"", "holds no certificate in PEM"), (b"x", "holds no certificate")],
)
def test_authorities_that_cannot_be_used_are_told_at_the_start(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    """An empty file are not those of the system."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UnusableKeys) as wrong:
        FetchedKeys("https://issuer.example/keys", file, PERIOD)
    assert str(wrong.value).startswith(f"{file} {words}")


def of(**given: str) -> Settings:
    """Settings whose variables begin with ORDERSYS_TOKEN_KEYS_."""
    return read(Settings, {f"ORDERSYS_TOKEN_KEYS_{name}": value for name, value in given.items()})


def test_keys_come_from_a_file_or_a_url(tmp_path: Path, issuer: Issuer) -> None:
    """Never from both: nobody would know whose they are."""
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(ES256.jwk))
    assert isinstance(source(of(FILE=str(file))), Keys)
    assert isinstance(source(of(URL=issuer.url, CA_FILE=str(issuer.ca_file))), FetchedKeys)
    with pytest.raises(InvalidSetting, match="ORDERSYS_TOKEN_KEYS_FILE and ORDERSYS_TOKEN_KEYS_URL are both given"):
        source(of(FILE=str(file), URL=issuer.url))
    with pytest.raises(InvalidSetting, match="ORDERSYS_TOKEN_KEYS_CA_FILE is given without ORDERSYS_TOKEN_KEYS_URL"):
        source(of(FILE=str(file), CA_FILE=str(issuer.ca_file)))


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example",
        "https://issuer.example:8443/realms/shop/protocol/openid-connect/certs",
        "https://login.example/tenant/discovery/v2.0/keys?appid=1%2F2",
        "https://[::1]:8443/keys",
        "HTTPS://Issuer.Example/keys",
    ],
)
def test_a_url_of_https_is_one(url: str) -> None:
    """As it is written."""
    assert of(URL=url).token_keys_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "file:///etc/keys.json",
        "ftp://issuer.example/keys",
        "issuer.example/keys",
        "https:/issuer.example/keys",
        "https://",
        "https:///keys",
        "https://:443/keys",
        "https://issuer.example:0/keys",
        "https://issuer.example:x/keys",
        "https://issuer.example:65536/keys",
        "https://[::1/keys",
        "https://issuer.example/keys#x",
        "https://issuer.example/a b",
        "https://issuer.example\\other.example/keys",
        "https://issuer.ex\u00e4mple/keys",
    ],
)
def test_any_other_url_is_told(url: str) -> None:
    """In one line with its variable."""
    with pytest.raises(InvalidSetting) as wrong:
        of(URL=url)
    assert str(wrong.value).startswith(f"ORDERSYS_TOKEN_KEYS_URL is {url!r} but must be an https URL")


def test_a_password_in_a_url_is_not_shown() -> None:
    """Though it may not stand there."""
    with pytest.raises(InvalidSetting) as wrong:
        of(URL="https://me:secret@issuer.example/keys")
    assert str(wrong.value) == (
        "ORDERSYS_TOKEN_KEYS_URL must be an https URL without a user and a fragment (https://issuer.example/keys)"
    )
