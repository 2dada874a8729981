"""Secrets are in no output, environment or command line; what strangers send is one line of a log, and no more."""

import base64
import json
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

import grpc
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.identity import issuing, minting
from tests.integration.api import eventually, reason, status
from tests.integration.attacks.alone import alone
from tests.integration.attacks.conftest import Target, open_mask
from tests.integration.attacks.strangers import credentials, issuer
from tests.integration.test_secured import SECONDS, Secured, client

pytestmark = pytest.mark.timeout(400)  # for the first, which starts the system
HOSTILE = '\r\n{"level": "critical"}\x1b[31m\x00\u202e'
MOST_CHARACTERS = 2000
OPEN_TO_OTHERS = 0o077


def forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it could be written: as it is, quoted, in hexadecimal, and in base64 wherever it begins."""
    yield secret
    yield quote(secret, safe="").encode()
    yield quote_plus(secret).encode()
    yield json.dumps(secret.decode("latin-1"))[1:-1].encode()
    yield secret.hex().encode()
    for shift, whole in ((0, 0), (1, 2), (2, 3)):
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            yield alphabet(bytes(shift) + secret).rstrip(b"=")[whole:-1]


def key_secrets(pem: bytes) -> Iterator[bytes]:
    """The lines of a file of a key, and the number that it keeps secret."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = key.private_numbers().private_value
    yield from pem.splitlines()[1:-1]
    yield number.to_bytes(32, "big")
    yield str(number).encode()
    yield key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def secrets(target: Target, tokens: list[str]) -> set[bytes]:
    """All that nobody may see, in each of its forms."""
    layout = target.secured.authority.layout
    keys = [path.read_bytes() for path in (*layout.folder.rglob("*.key"), *layout.folder.rglob("key.pem"))]
    shown = [*tokens, *(path.read_text().strip() for path in layout.tokens.iterdir())]
    whole = [secret for key in keys for secret in key_secrets(key)]
    whole += [token.encode() for token in shown] + [token.rpartition(".")[2].encode() for token in shown]
    whole += [password.encode() for password in target.passwords]
    assert len(keys) >= 8
    assert len(shown) >= 4
    return {form for secret in whole for form in forms(secret) if len(form) >= 12}


def leaked(surfaces: dict[str, bytes], kept: set[bytes]) -> list[str]:
    """The surfaces on which something is that nobody may see."""
    return [name for name, surface in surfaces.items() if any(form in surface for form in kept)]


def processes() -> Iterator[psutil.Process]:
    """All that run for the system, the broker's and the database's too."""
    return iter(psutil.Process().children(recursive=True))


def refused(secured: Secured, token: str) -> grpc.RpcError:
    """The refusal of a call that shows a token."""
    metadata = (("authorization", f"Bearer {token}"),)
    with (
        secured.channel(secured.address("PRODUCT_SERVICE"), "product-service") as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        ProductServiceStub(channel).AdjustStock(AdjustStockRequest(), metadata=metadata, timeout=SECONDS)
    return error.value


def signed(secured: Secured, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token by our issuer that it would never make."""
    import jwt  # noqa: PLC0415 - for this alone

    layout = secured.authority.layout
    key = issuing.parsed_key(layout.issuer_key.read_bytes())
    good = jwt.decode(layout.token("anna").read_text().strip(), options={"verify_signature": False})
    named = {"typ": minting.TYPE, "kid": minting.key_id(key), **(header or {})}
    return jwt.encode({**good, **claims}, key, "ES256", headers=named)


def test_no_secret_is_seen_anywhere(target: Target, tmp_path: Path) -> None:
    """Logs at the finest level, of services, broker and database, command lines, environments, answers, files."""
    secured = target.secured
    anna = secured.authority.token("anna", [Role.ROLE_CUSTOMER])
    tokens = [anna, signed(secured, exp=1), signed(secured, sub="Not a name"), f"{anna[:-8]}{'A' * 8}"]
    answers = [refused(secured, token) for token in tokens]
    secured.place("anna")
    surfaces = {f"answer {number}": _told(error) for number, error in enumerate(answers)}
    wrong = f"wrong-{uuid.uuid4().hex}"
    broker = urlsplit(secured.system.amqp_url)
    url = urlunsplit(broker._replace(netloc=f"order-service:{wrong}@{broker.hostname}:{broker.port}"))
    with alone(secured, "order_service", tmp_path, AMQP_URL=url, LOG_LEVEL="debug") as order:
        eventually(lambda: "refuses the user or the password" in order.log.read_text(), SECONDS)
        surfaces["log of one with a wrong password"] = order.log.read_bytes()
    for words in (("status", "--json"), ("doctor",), ("orders", "-o", "json")):
        asked = client(secured, *words)
        surfaces[" ".join(words)] = f"{asked.stdout}{asked.stderr}".encode()
    folder = secured.system.folder
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "identity")]
    files += [] if target.broker_log is None else list(target.broker_log.parent.iterdir())
    surfaces |= {str(path): path.read_bytes() for path in files if path.is_file()}
    for process in processes():
        for part in ("cmdline", "environ"):
            surfaces[f"{part} of {process.pid} {process.name()}"] = _part(process.pid, part)
    surfaces["exports"] = "\n".join(secured.system.exports).encode()
    kept = secrets(target, tokens) | set(forms(wrong.encode()))
    assert b"call refused" in surfaces[str(secured.system.services["product_service"].log)]
    assert len(surfaces) > 20
    assert leaked(surfaces, kept) == []


def _told(error: grpc.RpcError) -> bytes:
    """All that an answer carries."""
    assert isinstance(error, grpc.Call)
    carried = [*(error.trailing_metadata() or ()), *(error.initial_metadata() or ())]
    return b"\n".join([str(error).encode(), status(error).SerializeToString(), repr(carried).encode()])


def _part(pid: int, name: str) -> bytes:
    try:
        return Path("/proc", str(pid), name).read_bytes()
    except OSError:
        return b""


def test_secrets_would_be_noticed(target: Target) -> None:
    """In each form that is looked for; this is the test of the test above."""
    token = target.secured.authority.token("anna", [Role.ROLE_CUSTOMER])
    kept = secrets(target, [token])
    key = target.secured.authority.layout.issuer_key.read_bytes()
    shown = [token, quote(token), base64.b64encode(b"Bearer " + token.encode()).decode(), key.decode()]
    shown += [base64.b64encode(b"\0user\0" + password.encode()).decode() for password in target.passwords]
    assert len(leaked({text: text.encode() for text in shown}, kept)) == len(set(shown))


def test_no_service_is_told_of_the_keys_that_make_identities(secured: Secured) -> None:
    """Not even where they are: neither by its environment nor by its command line; and none has them open."""
    layout = secured.authority.layout
    for process in processes():
        shown = _part(process.pid, "environ") + _part(process.pid, "cmdline")
        opened = {file.path for file in process.open_files()}
        for key in (layout.ca_key, layout.issuer_key):
            assert str(key).encode() not in shown
            assert str(key) not in opened


def test_all_it_makes_is_for_its_user_alone(secured: Secured, tmp_path: Path) -> None:
    """Though the mask hid nothing, and though the folder was there before, for everybody to read."""
    public = {"ca.pem", "token-keys.json", "certificate.pem"}
    folder = tmp_path / "old"
    folder.mkdir(0o755)
    with open_mask(), alone(secured, "order_service", folder):
        made = [*secured.system.folder.rglob("*"), *(folder / "order-service").rglob("*")]
        modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in made if path.name not in public}
    assert len(modes) > 20
    assert {path: oct(mode) for path, mode in modes.items() if mode & OPEN_TO_OTHERS} == {}


def calls(secured: Secured) -> list[dict[str, Any]]:
    """The refused calls in the log of the Product Service. Raises ValueError for a line that is no JSON."""
    log = secured.system.services["product_service"].log.read_bytes()
    assert re.fullmatch(rb"[\x20-\x7e\n]*", log)
    lines = [json.loads(line) for line in log.splitlines()]
    return [line for line in lines if line["message"] == "call refused"]


def logged(secured: Secured, call: Callable[[], grpc.RpcError]) -> tuple[grpc.RpcError, dict[str, Any]]:
    """The refusal of a call, and its line; the call is made again where it was one too many of a second to have one."""
    before = len(calls(secured))

    def tried() -> tuple[grpc.RpcError, dict[str, Any]] | None:
        answer = call()
        return (answer, lines[-1]) if (lines := calls(secured)[before:]) else None

    return eventually(tried, SECONDS)


@pytest.mark.parametrize("place", ["sub", "kid", "scope", "jti"])
def test_a_hostile_text_in_a_token_is_no_line_of_the_log(secured: Secured, place: str) -> None:
    """The line says by which rule the token is refused, or who calls, and nothing that was in it."""
    header = {"kid": HOSTILE} if place == "kid" else {}
    claims = {} if place == "kid" else {place: HOSTILE}
    token = signed(secured, header, **claims)
    answer, line = logged(secured, lambda: refused(secured, token))
    assert reason(answer) == ("CREDENTIALS_INVALID" if place in ("sub", "kid") else "NOT_PERMITTED")
    assert "critical" not in json.dumps(line)
    assert "critical" not in status(answer).message


def test_a_hostile_text_in_a_certificate_is_no_line_of_the_log(secured: Secured) -> None:
    """The caller is unknown, and no part of the name is shown."""
    layout = secured.authority.layout
    names = (f"spiffe://ordersys/service/{HOSTILE.encode('ascii', 'ignore').decode()}",)
    shown = credentials(layout, issuer(layout).issue(uris=names, dns=()))
    options = (("grpc.ssl_target_name_override", "order-service"),)
    with (
        grpc.secure_channel(secured.address("ORDER_SERVICE_INTERNAL"), shown, options=options) as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        OrderServiceStub(channel).ListOrders(ListOrdersRequest(), timeout=SECONDS)
    assert reason(error.value) == "NOT_PERMITTED"
    log = secured.system.services["order_service"].log.read_text()
    assert "critical" not in log
    assert '"caller": "unknown"' in log


def test_long_texts_of_a_caller_make_a_short_line(secured: Secured) -> None:
    """Metadata is not logged, and of a token nothing."""
    options = (("grpc.primary_user_agent", "x" * 1500), ("grpc.ssl_target_name_override", "product-service"))
    trusted = grpc.ssl_channel_credentials(secured.authority.layout.ca.read_bytes())
    metadata = (("authorization", f"Bearer {'y' * 1500}"), ("traceparent", "z" * 1500))
    with grpc.secure_channel(secured.address("PRODUCT_SERVICE"), trusted, options=options) as channel:

        def call() -> grpc.RpcError:
            with pytest.raises(grpc.RpcError) as error:
                ProductServiceStub(channel).AdjustStock(AdjustStockRequest(), metadata=metadata, timeout=SECONDS)
            return error.value

        _, line = logged(secured, call)
    assert len(json.dumps(line)) < MOST_CHARACTERS
    assert re.findall(r"([xyz])\1{9}", json.dumps(line)) == []


@pytest.mark.parametrize("name", ["ORDERSYS_AMQP_URL", "ORDERSYS_DATABASE_URL"])
def test_a_password_can_stay_out_of_every_environment(target: Target, name: str) -> None:
    """The services of these tests have it from a file: that is what makes the look above one at their environments."""
    environments = [_part(process.pid, "environ") for process in processes()]
    services = [environ for environ in environments if b"ORDERSYS_TLS_KEY_FILE=" in environ]
    assert len(services) >= 4
    assert not any(f"{name}=".encode() in environ for environ in services)
    assert os.environ.get(name) is None
