"""The credentials of a client: files that the environment names, a token that goes to nobody who is not trusted."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest, ListProductsResponse
from ordersys.api.product.v1.product_service_pb2_grpc import ProductServiceStub
from ordersys.console.parser import UsageError
from ordersys.contract.access import service_id
from ordersys.grpc_client.credentials import CA_FILE, TOKEN_FILE, Credentials, credentials
from ordersys.identity.authority import Authority
from ordersys.runtime.identity.certificates import Certificates

SERVICE = "ordersys.api.product.v1.ProductService"


class Products:
    """Remembers the tokens it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def list(self, request: ListProductsRequest, context: Any) -> ListProductsResponse:
        self.shown += [str(value) for name, value in context.invocation_metadata() or () if name == "authorization"]
        return ListProductsResponse()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that vouches for the Product Service, and issues tokens."""
    made = Authority.make(tmp_path / "identity")
    made.renew()
    made.write_token("anna", [Role.ROLE_CUSTOMER])
    return made


async def test_a_token_is_shown_with_each_call_as_it_is_by_then(authority: Authority) -> None:
    """Somebody renews its file while a long command runs."""
    known = credentials(authority.layout.client_environment("anna"))
    products = Products()
    server = grpc.aio.server()
    answered = grpc.unary_unary_rpc_method_handler(
        products.list, ListProductsRequest.FromString, ListProductsResponse.SerializeToString
    )
    server.add_registered_method_handlers(SERVICE, {"ListProducts": answered})
    layout = authority.layout
    own = Certificates(
        layout.ca, layout.certificate("product-service"), layout.key("product-service"), service_id(SERVICE)
    )
    port = server.add_secure_port("127.0.0.1:0", own.server_credentials(False))
    await server.start()
    before = layout.token("anna").read_text().strip()
    async with known.channel(f"127.0.0.1:{port}", "product-service", ()) as channel:
        await ProductServiceStub(channel).ListProducts(ListProductsRequest(), timeout=10)
        authority.write_token("anna", [Role.ROLE_CUSTOMER])
        await ProductServiceStub(channel).ListProducts(ListProductsRequest(), timeout=10)
    await server.stop(None)
    now = layout.token("anna").read_text().strip()
    assert products.shown == [f"Bearer {before}", f"Bearer {now}"]
    assert before != now


def test_no_variables_mean_no_credentials() -> None:
    """Nor do empty ones."""
    assert credentials({}) == credentials({CA_FILE: "", TOKEN_FILE: " "}) == Credentials()


WRONG = {
    "a token without an authority": ({TOKEN_FILE: "token"}, f"{TOKEN_FILE} is given without {CA_FILE}"),
    "a file that is not there": ({CA_FILE: "none.pem"}, "can't be read: No such file"),
    "a folder": ({CA_FILE: "."}, "can't be read"),
    "no certificate": ({CA_FILE: "token"}, "holds no certificate in PEM"),
    "a certificate that is cut off": ({CA_FILE: "cut.pem"}, "holds no certificate in PEM"),
    "a long token": ({CA_FILE: "ca.pem", TOKEN_FILE: "long"}, "holds 8193 characters, and no service takes"),
    "an empty token": ({CA_FILE: "ca.pem", TOKEN_FILE: "empty"}, "holds no token"),
    "two words": ({CA_FILE: "ca.pem", TOKEN_FILE: "words"}, "holds no token"),
    "a token that is not there": ({CA_FILE: "ca.pem", TOKEN_FILE: "none"}, "can't be read: No such file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_used_is_named_before_anything_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority, name: str
) -> None:
    """With the variable and the reason, and not a word of what is in it."""
    environment, reason = WRONG[name]
    monkeypatch.chdir(tmp_path)
    contents = {
        "token": "secret-token",
        "empty": "\n",
        "words": "secret token",
        "long": "x" * 8193,
        "cut.pem": "-----BEGIN CERTIFICATE-----\nsecret\n",
        "ca.pem": authority.layout.ca.read_text(),
    }
    for file, text in contents.items():
        (tmp_path / file).touch(0o600)
        (tmp_path / file).write_text(text)
    with pytest.raises(UsageError, match=reason) as wrong:
        credentials(environment)
    assert "ORDERSYS_" in str(wrong.value)
    assert "secret" not in str(wrong.value)


def test_certificates_may_have_comments_and_a_mark_of_their_octets(authority: Authority, tmp_path: Path) -> None:
    """As editors write them; gRPC could not use them so."""
    (file := tmp_path / "marked.pem").write_bytes(
        b"\xef\xbb\xbf" + authority.layout.ca.read_bytes() + "# gültig\n".encode()
    )
    known = credentials({CA_FILE: str(file)})
    assert known.authorities is not None
    assert known.authorities.startswith(authority.layout.ca.read_bytes())


def test_a_token_that_others_may_read_is_shown_to_nobody(authority: Authority) -> None:
    """It makes anybody its customer; also where its mode changes while a command runs."""
    given = authority.layout.client_environment("anna")
    token = credentials(given).token
    assert token is not None
    authority.layout.token("anna").chmod(0o644)
    refusal = rf"{TOKEN_FILE} is '.*anna.token', which may be read.*; chmod 600 it"
    with pytest.raises(UsageError, match=refusal):
        token.metadata()
    with pytest.raises(UsageError, match=refusal):
        credentials(given)


def test_a_token_is_told_by_its_file_and_its_owner(authority: Authority) -> None:
    """For an error: nothing of the token itself, also where its file is gone by then."""
    file = authority.layout.token("anna")
    token = credentials(authority.layout.client_environment("anna")).token
    assert token is not None
    assert token.shown == f"the token in {str(file)!r}, anna's"
    file.write_text("no-jwt")
    assert token.shown == f"the token in {str(file)!r}"
    file.unlink()
    assert token.shown == f"the token in {str(file)!r}"


@pytest.mark.parametrize(
    ("roles", "customer"),
    [([Role.ROLE_CUSTOMER], "anna"), ([Role.ROLE_OPERATOR], ""), ([Role.ROLE_CUSTOMER, Role.ROLE_OPERATOR], "")],
)
def test_the_token_of_a_customer_says_who_orders(authority: Authority, roles: list[Any], customer: str) -> None:
    """An operator orders for somebody else."""
    authority.write_token("anna", roles)
    token = credentials(authority.layout.client_environment("anna")).token
    assert token is not None and token.customer == customer


@pytest.mark.parametrize(
    "text", ["opaque", "a.b.c", "e30.W10.e30", "..", "e30.e30.e30", "x.eyJzdWIiOjEsInNjb3BlIjpbXX0.x"]
)
def test_a_token_of_another_form_says_nothing(tmp_path: Path, authority: Authority, text: str) -> None:
    """It is the service that judges it."""
    (file := tmp_path / "token").touch(0o600)
    file.write_text(text)
    given = {**authority.layout.client_environment("anna"), "ORDERSYS_TOKEN_FILE": str(file)}
    token = credentials(given).token
    assert token is not None and token.customer == ""
