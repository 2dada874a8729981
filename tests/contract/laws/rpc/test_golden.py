"""Laws of requests that were written under a released contract: they are understood and handled ever after."""

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from tests.contract.harness.client import ROLES, RPCS
from tests.contract.harness.golden_messages import GOLDEN, Golden, case_name
from tests.contract.harness.system_under_test import SystemUnderTest

REQUESTS = [
    (role, method, golden)
    for role in ROLES
    for method in RPCS[role]
    for golden in GOLDEN
    if golden.type == method.input_type.full_name
]


@pytest.mark.cites(
    "implement.md",
    "Within a version no rule for requests becomes stricter: each request of a released version is taken.",
)
@pytest.mark.parametrize(("role", "method", "golden"), REQUESTS, ids=case_name)
def test_a_golden_request_is_taken(
    system: SystemUnderTest, role: str, method: MethodDescriptor, golden: Golden
) -> None:
    """Answered on its merits: neither undecodable nor against a rule."""
    answer = system.client.send(method, golden.body, role)
    assert answer.reason not in ("UNDECODABLE_REQUEST", "INVALID_REQUEST"), answer.fields
    assert answer.code is grpc.StatusCode.OK or answer.reason, str(answer)
