"""The trace that a call of the command line begins, as OpenTelemetry's variables ask for it."""

from typing import Any

import grpc
import pytest

from ordersys.api.product.v1.product_service_pb2 import GetProductRequest, GetProductResponse
from ordersys.contract.addresses import parse_list
from ordersys.grpc_client import traces
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.peers import PEERS

ASKED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
MANY = 2000


def sampled(**more: str) -> int:
    """Of many traces those that are sampled."""
    contexts = [context for _ in range(MANY) for _, context in traces.begun({**ASKED, **more})]
    assert len(set(contexts)) == MANY
    return sum(context.endswith("-01") for context in contexts)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ASKED, "OTEL_SDK_DISABLED": "True"},
        {**ASKED, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_where_nobody_asks_for_traces_none_is_begun(environment: dict[str, str]) -> None:
    """The service that is called decides then."""
    assert traces.begun(environment) == ()


@pytest.mark.parametrize(
    ("sampler", "argument", "least", "most"),
    [
        ("", "", MANY, MANY),
        ("always_on", "", MANY, MANY),
        ("parentbased_always_off", "", 0, 0),
        ("always_off", "", 0, 0),
        ("traceidratio", "", MANY, MANY),
        ("parentbased_traceidratio", "1", MANY, MANY),
        ("parentbased_traceidratio", "0", 0, 0),
        ("traceidratio", "0.25", MANY // 5, MANY // 3),
        ("traceidratio", "much", MANY, MANY),
    ],
)
def test_the_sampler_decides_whether_a_trace_is_recorded(sampler: str, argument: str, least: int, most: int) -> None:
    """By the names of OpenTelemetry; what begins here has no parent to ask."""
    assert least <= sampled(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=argument) <= most


async def test_the_tries_of_a_call_are_of_one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another call is of another."""
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    seen: list[Any] = []

    async def call(request: object, **options: Any) -> GetProductResponse:
        seen.append(options["metadata"])
        if len(seen) == 1:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())
        return GetProductResponse()

    products, orders, first, second = (peer._replace(address=parse_list("127.0.0.1:1")) for peer in PEERS)
    client = Client((products, orders, first, second), 5.0, patient=True)
    for _ in range(2):
        await client.product(call, GetProductRequest())
    await client.close()
    assert seen[0] == seen[1] != seen[2]
