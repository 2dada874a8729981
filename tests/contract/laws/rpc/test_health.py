"""Laws of health (grpc.health.v1): a service that works says so, for itself and for each service it serves."""

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tests.contract.harness.amqp_proxy import AmqpProxy
from tests.contract.harness.client import LISTENERS, ROLES, RPCS
from tests.contract.harness.system_under_test import SystemUnderTest

LIVENESS = "liveness"
every_role = pytest.mark.parametrize("role", ROLES)


@pytest.mark.cites("implement.md", "SERVING for the empty name and for the full name of the service")
@every_role
def test_a_service_that_works_says_serving(system: SystemUnderTest, role: str) -> None:
    """For the whole server, and by the full name of the service of the contract."""
    service = RPCS[role][0].containing_service.full_name
    for name in ("", service):
        system.eventually(lambda name=name: system.client.health(role, name) == HealthCheckResponse.SERVING)  # type: ignore[misc]


@pytest.mark.cites("implement.md", "NOT_FOUND for an unknown name")
@every_role
def test_a_service_nobody_serves_is_not_found(system: SystemUnderTest, role: str) -> None:
    """NOT_FOUND, as grpc.health.v1 says."""
    with pytest.raises(grpc.RpcError) as refused:
        system.client.health(role, "ordersys.api.NoSuchService")
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.cites("product_service.proto", "The name liveness says whether the process answers at all")
@every_role
def test_a_process_that_answers_is_alive(system: SystemUnderTest, role: str) -> None:
    """SERVING by the name liveness, from the first answer on: whether the service works is asked by other names."""
    assert system.client.health(role, LIVENESS) == HealthCheckResponse.SERVING


@pytest.mark.cites("implement.md", "SERVING as long as the process answers, also without the broker")
@pytest.mark.judges("broker", "proxy")
@pytest.mark.parametrize("role", LISTENERS)
def test_a_process_whose_broker_is_away_is_alive(system: SystemUnderTest, proxy: AmqpProxy, role: str) -> None:
    """It is not serving, and says SERVING by the name liveness: to restart it would bring no broker back."""
    with proxy.away():
        system.eventually(lambda: system.client.health(role, "") == HealthCheckResponse.NOT_SERVING)
        assert system.client.health(role, LIVENESS) == HealthCheckResponse.SERVING
    system.eventually(lambda: system.client.health(role, "") == HealthCheckResponse.SERVING)


@pytest.mark.cites("implement.md", "Without the broker the service says NOT_SERVING; within 20 s after")
@pytest.mark.judges("broker", "proxy")
@pytest.mark.parametrize("role", LISTENERS)
def test_a_subscriber_that_hears_nothing_is_not_serving(system: SystemUnderTest, proxy: AmqpProxy, role: str) -> None:
    """Without its broker it says NOT_SERVING; with the broker it is back by itself."""
    with proxy.away():
        system.eventually(lambda: system.client.health(role, "") == HealthCheckResponse.NOT_SERVING)
    system.eventually(lambda: system.client.health(role, "") == HealthCheckResponse.SERVING)
