"""A service whose callers have tokens of an issuer outside: a real process that fetches its keys over real TLS."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.identity.authority import Authority
from ordersys.local import ports
from tests.integration.api import SECONDS, eventually, reason
from tests.integration.order_service import NOT_SERVING, SERVING
from tests.issuer import Answer, Issuer, key_set
from tests.unit.test_tokens import ES256, RS256, STRANGER, Signer

AWAY = Answer(b"", status=503)
SOON = "5"
NEVER = "86400"
FORGERS = 32


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    """An issuer that publishes one key."""
    folder = tmp_path / "issuer"
    folder.mkdir()
    with Issuer(folder, Answer(key_set(ES256.jwk))).running() as running:
        yield running


class Service(NamedTuple):
    """An Order Service that takes tokens of an issuer."""

    process: "subprocess.Popen[bytes]"
    log: Path
    channel: grpc.Channel

    def health(self, service: str = "") -> int:
        """The health it reports of itself."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        request = health_pb2.HealthCheckRequest(service=service)
        return int(stub.Check(request, timeout=SECONDS, wait_for_ready=True).status)  # type: ignore[attr-defined]

    def refused(self, signer: Signer, **header: str) -> str:
        """The reason why the operator's token is refused, as this key signs it; empty where it is not."""
        now = int(time.time())
        claims = {
            "iss": "https://login.example/realms/shop",
            "aud": ["account", "ordersys"],
            "sub": "olga",
            "realm_access": {"roles": ["ordersys.operator"]},
            "iat": now,
            "exp": now + 300,
        }
        token = signer.token(claims, {**signer.header, "typ": "JWT", **header})
        metadata = (("authorization", f"Bearer {token}"),)
        try:
            OrderServiceStub(self.channel).ListOrders(
                ListOrdersRequest(page_size=1), metadata=metadata, timeout=SECONDS
            )
        except grpc.RpcError as error:
            return reason(error)
        return ""

    def lines(self, words: str) -> int:
        """The lines of its log with these words in them."""
        return sum(words in line for line in self.log.read_text().splitlines())


def settings(folder: Path, **changed: str) -> dict[str, str]:
    """The environment of an Order Service with an identity, without a broker, and these settings."""
    authority = Authority.make(folder / "identity")
    authority.renew()
    broker, internal = ports.free(2)
    identity = dict(authority.layout.service_environment("order-service"))
    del identity["ORDERSYS_TOKEN_KEYS_FILE"]
    return {
        **os.environ,
        "ORDERSYS_INSECURE": "false",
        **identity,
        "ORDERSYS_DATA_DIR": str(folder / "data"),
        "ORDERSYS_AMQP_URL": f"amqp://127.0.0.1:{broker}/%2F",
        "ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS": f"127.0.0.1:{internal}",
        "no_proxy": "localhost,127.0.0.1",
        **changed,
    }


@contextmanager
def service(folder: Path, issuer: Issuer, seconds: str) -> Iterator[Service]:
    """Starts the service, which refreshes its keys so often; it is gone afterwards."""
    (port,) = ports.free(1)
    environment = settings(
        folder,
        ORDERSYS_ORDER_SERVICE_ADDRESS=f"127.0.0.1:{port}",
        ORDERSYS_TOKEN_KEYS_URL=issuer.url,
        ORDERSYS_TOKEN_KEYS_CA_FILE=str(issuer.ca_file),
        ORDERSYS_TOKEN_KEYS_SECONDS=seconds,
        ORDERSYS_TOKEN_ISSUER="https://login.example/realms/shop",
        ORDERSYS_TOKEN_TYPES="JWT",
        ORDERSYS_TOKEN_ROLES_CLAIM="realm_access.roles",
    )
    log = folder / "log"
    ca = grpc.ssl_channel_credentials((folder / "identity" / "ca.pem").read_bytes())
    options = (("grpc.ssl_target_name_override", "order-service"),)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "ordersys.order_service"], env=environment, stdout=output, stderr=output
        ) as process,
        grpc.secure_channel(f"127.0.0.1:{port}", ca, options) as channel,
    ):
        try:
            yield Service(process, log, channel)
        finally:
            process.kill()


def test_a_running_service_takes_the_keys_that_its_issuer_publishes(tmp_path: Path, issuer: Issuer) -> None:
    """A new key is good as soon as somebody uses it; one that is gone is refused with the next refresh."""
    with service(tmp_path, issuer, SOON) as running:
        eventually(lambda: running.health() == SERVING)
        assert running.refused(ES256) == ""
        assert running.refused(RS256) == "CREDENTIALS_INVALID"
        issuer.answer = Answer(key_set(ES256.jwk, RS256.jwk))
        eventually(lambda: running.refused(RS256) == "")
        issuer.answer = Answer(key_set(RS256.jwk))
        eventually(lambda: running.refused(ES256) == "CREDENTIALS_INVALID")
        assert running.refused(RS256) == ""


def test_a_service_whose_issuer_is_away_starts_and_is_not_serving(tmp_path: Path, issuer: Issuer) -> None:
    """It lives, refuses every token, says why once, and is back by itself; later it goes on with the keys it has."""
    good, issuer.answer = issuer.answer, AWAY
    with service(tmp_path, issuer, SOON) as running:
        assert running.health("liveness") == SERVING
        assert running.refused(ES256) == "CREDENTIALS_INVALID"
        eventually(lambda: len(issuer.paths) > 2)
        assert running.health() == NOT_SERVING
        assert running.lines("can't be fetched: status 503; no token is accepted until there is one") == 1
        issuer.answer = good
        eventually(lambda: running.health() == SERVING)
        assert running.refused(ES256) == ""
        issuer.answer = AWAY
        asked = len(issuer.paths)
        eventually(lambda: len(issuer.paths) > asked + 1)
        assert running.refused(ES256) == ""
        assert running.health() == SERVING
        assert running.lines("can't be fetched: status 503; the old one stays in use") == 1


def test_forged_tokens_of_unknown_keys_cost_one_request_to_the_issuer(tmp_path: Path, issuer: Issuer) -> None:
    """A thousand of them at a time, while good ones are served."""
    with service(tmp_path, issuer, NEVER) as running:
        eventually(lambda: running.health() == SERVING)
        with ThreadPoolExecutor(16) as callers:
            said = list(callers.map(lambda number: running.refused(ES256, kid=f"k{number}"), range(1000)))
        assert set(said) == {"CREDENTIALS_INVALID"}
        assert running.refused(ES256) == ""
        assert len(issuer.paths) == 2


def test_forged_tokens_at_full_speed_keep_nobody_out(tmp_path: Path, issuer: Issuer) -> None:
    """Each costs the service a signature, since it has the id of a known key; no two are the same."""
    honest_is_done = threading.Event()

    def forge() -> set[str]:
        said: set[str] = set()
        while not honest_is_done.is_set():
            said.add(running.refused(STRANGER))
        return said

    with service(tmp_path, issuer, NEVER) as running, ThreadPoolExecutor(FORGERS) as forgers:
        eventually(lambda: running.health() == SERVING)
        forging = [forgers.submit(forge) for _ in range(FORGERS)]
        try:
            assert [running.refused(ES256) for _ in range(50)] == [""] * 50
        finally:
            honest_is_done.set()
        assert set().union(*(each.result() for each in forging)) == {"CREDENTIALS_INVALID"}
        assert running.health() == SERVING


def test_a_service_ends_while_its_issuer_does_not_answer(tmp_path: Path, issuer: Issuer) -> None:
    """In good order: nobody waits for what it was about to say."""
    with service(tmp_path, issuer, NEVER) as running:
        eventually(lambda: running.health() == SERVING)
        issuer.answer = Answer(b"", before=issuer.held)
        assert running.refused(RS256) == "CREDENTIALS_INVALID"
        eventually(lambda: len(issuer.paths) == 2)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(SECONDS) == 0
        issuer.let_go()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ORDERSYS_TOKEN_KEYS_URL": "http://issuer.example/keys"}, "ORDERSYS_TOKEN_KEYS_URL is 'http:"),
        ({}, "ORDERSYS_TOKEN_KEYS_FILE missing"),
        (
            {"ORDERSYS_TOKEN_KEYS_URL": "https://issuer.example/keys", "ORDERSYS_TOKEN_KEYS_FILE": "keys.json"},
            "ORDERSYS_TOKEN_KEYS_FILE and ORDERSYS_TOKEN_KEYS_URL are both given",
        ),
        (
            {"ORDERSYS_TOKEN_KEYS_URL": "https://issuer.example/keys", "ORDERSYS_TOKEN_KEYS_CA_FILE": "/no/such.pem"},
            "/no/such.pem can't be read: No such file",
        ),
    ],
    ids=["http", "none", "both", "no authorities"],
)
def test_keys_that_cannot_be_had_end_the_start(changed: dict[str, str], words: str, tmp_path: Path) -> None:
    """With one line that has the way out."""
    command = [sys.executable, "-m", "ordersys.order_service"]
    ended = subprocess.run(
        command, env=settings(tmp_path, **changed), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert words in line
