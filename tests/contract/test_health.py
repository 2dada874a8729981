"""Laws of health (grpc.health.v1): a service that works says so, for itself and for each service it serves."""

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.contract.proxy import Proxy
from tests.contract.wire import LISTENERS, ROLES, RPCS
from tests.contract.world import World

every_role = pytest.mark.parametrize("role", ROLES)


def health(world: World, role: str, service: str = "") -> int:
    """What a service says of itself."""
    with grpc.insecure_channel(world.addresses[role]) as channel:
        stub = HealthStub(channel)
        answer = stub.Check(HealthCheckRequest(service=service), timeout=world.patience)  # type: ignore[attr-defined]
        return int(answer.status)


@every_role
def test_a_service_that_works_says_serving(world: World, role: str) -> None:
    """For the whole server, and by the full name of the service of the contract."""
    service = RPCS[role][0].containing_service.full_name
    for name in ("", service):
        world.eventually(lambda name=name: health(world, role, name) == HealthCheckResponse.SERVING)  # type: ignore[misc]


@every_role
def test_a_service_nobody_serves_is_not_found(world: World, role: str) -> None:
    """NOT_FOUND, as grpc.health.v1 says."""
    with pytest.raises(grpc.RpcError) as refused:
        health(world, role, "ordersys.api.NoSuchService")
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.judges("broker", "proxy")
@pytest.mark.parametrize("role", LISTENERS)
def test_a_subscriber_that_hears_nothing_is_not_serving(world: World, proxy: Proxy, role: str) -> None:
    """Without its broker it says NOT_SERVING; with the broker it is back by itself."""
    with proxy.away():
        world.eventually(lambda: health(world, role) == HealthCheckResponse.NOT_SERVING)
    world.eventually(lambda: health(world, role) == HealthCheckResponse.SERVING)
