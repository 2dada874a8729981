"""The laws of the notification services leave no dead letters behind."""

from collections.abc import Iterator

import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import DiscardDeadLettersRequest
from tests.contract.harness.system_under_test import SystemUnderTest, new_id

_AT_A_TIME = 500


@pytest.fixture(autouse=True)
def _no_dead_letters_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Discards them afterwards, so that lists stay short and no law depends on what another one left."""
    if not {"system", "role"} <= set(request.fixturenames):
        yield
        return
    system: SystemUnderTest = request.getfixturevalue("system")
    role: str = request.getfixturevalue("role")
    yield
    discard_all(system, role)


def discard_all(system: SystemUnderTest, role: str) -> None:
    """Discards the dead letters that are listed now."""
    ids = list({letter.id: None for letter in system.dead_letters(role)})
    for first in range(0, len(ids), _AT_A_TIME):
        some = ids[first : first + _AT_A_TIME]
        system.call(DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=some), role)
