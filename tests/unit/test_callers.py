"""Callers of calls, and the lines of the log about those who were refused."""

import json
import logging
from typing import Any

import pytest

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.access import ANYBODY, TRUSTED, Caller, InvalidToken, NotOwned
from ordersys.contract.errors import StatusError, order_not_found, reason_of, status_error
from ordersys.runtime.rpc.callers import Callers, CredentialsInvalid, RefusedCalls, answer_to

ANNA = Caller("anna")


class Tokens:
    """Takes the token `good`."""

    def caller(self, token: str) -> Caller:
        if token != "good":
            raise InvalidToken("expired")
        return ANNA


class Context:
    """A call with this metadata, over a connection with these properties."""

    def __init__(self, *metadata: tuple[str, str | bytes], **auth: list[bytes]) -> None:
        self._metadata, self._auth = metadata, auth

    def invocation_metadata(self) -> Any:
        return self._metadata

    def auth_context(self) -> Any:
        return self._auth

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


def caller_of(*metadata: tuple[str, str | bytes], tokens: Any = Tokens(), **auth: list[bytes]) -> Caller:  # noqa: B008
    context: Any = Context(*metadata, **auth)
    return Callers(tokens).of(context)


def test_without_identities_everybody_is_trusted() -> None:
    """By whatever he shows."""
    assert caller_of(("authorization", "Bearer x"), tokens=None) == TRUSTED


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_says_who_calls(scheme: str) -> None:
    """Also by a connection with a certificate, which then says nothing."""
    certificate = {"x509_pem_cert": [b"x"], "peer_spiffe_id": [b"spiffe://ordersys/service/product-service"]}
    assert caller_of(("authorization", f"{scheme} good")) == ANNA
    assert caller_of(("authorization", f"{scheme} good"), **certificate) == ANNA


@pytest.mark.parametrize(
    "values",
    [[""], ["good"], ["Bearer"], ["Bearer "], ["Basic good"], ["Bearer good", "Bearer good"], [b"Bearer good"]],
)
def test_anything_else_as_a_credential_is_refused(values: list[str | bytes]) -> None:
    """And not taken for none."""
    with pytest.raises(StatusError) as refused:
        caller_of(*(("authorization", value) for value in values))
    assert reason_of(refused.value.status) == "CREDENTIALS_INVALID"


def test_a_certificate_says_who_calls() -> None:
    """By its one URI; one that names no service of the contract is of somebody who may call nothing."""
    service = caller_of(x509_pem_cert=[b"x"], peer_spiffe_id=[b"spiffe://ordersys/service/product-service"])
    assert service == Caller(service="ordersys.api.product.v1.ProductService", roles=frozenset())
    stranger = caller_of(x509_pem_cert=[b"x"], x509_common_name=[b"product-service"])
    assert not stranger.roles
    assert stranger.service == "unknown"
    assert caller_of() == ANYBODY


def refused_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records]


def test_a_refusal_for_its_caller_is_a_line_and_another_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """With the caller where he is known; an order of another owner is told from one that never was in the log alone."""
    answer_to(ANNA)
    context: Any = Context()
    log = RefusedCalls()
    for error in (
        status_error(ErrorReason.NOT_PERMITTED),
        CredentialsInvalid("expired"),
        NotOwned(order_not_found("x").status),
        order_not_found("x"),
        KeyError("x"),
    ):
        log.log("/a/B", error, context)
    answer_to(TRUSTED)
    call = {"method": "/a/B", "peer": "ipv4:127.0.0.1:1"}
    assert refused_lines(caplog) == [
        {"caller": "anna", "reason": "NOT_PERMITTED", **call},
        {"reason": "CREDENTIALS_INVALID", "why": "expired", **call},
        {"caller": "anna", "reason": "not the owner", **call},
    ]


def test_a_flood_of_refused_calls_floods_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Ten lines a second; the next one says how many were left out."""
    caplog.set_level(logging.WARNING)
    context: Any = Context()
    log = RefusedCalls()
    for _ in range(1000):
        log.log("/a/B", status_error(ErrorReason.NOT_PERMITTED), context)
    assert len(caplog.records) <= 20  # a second may end meanwhile
    log._second = -1
    log.log("/a/B", status_error(ErrorReason.NOT_PERMITTED), context)
    assert sum(line.get("not_logged", 0) for line in refused_lines(caplog)) == 1001 - len(caplog.records)
    json.dumps(refused_lines(caplog))
