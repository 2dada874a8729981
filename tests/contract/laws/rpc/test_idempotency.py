"""Laws of the request_id (AIP-155), for every changing RPC."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from ordersys.contract.topology import topology
from tests.contract.harness.client import ORDER, ROLES, RPCS
from tests.contract.harness.order_events import wait_for_events
from tests.contract.harness.sample_requests import SAMPLE_REQUESTS, SampleRequest
from tests.contract.harness.system_under_test import SystemUnderTest, new_id

every_ask = pytest.mark.parametrize(
    ("role", "ask"), [(ask.role, ask) for ask in SAMPLE_REQUESTS.values()], ids=list(SAMPLE_REQUESTS)
)
CROWD = 12


def copy(request: Any) -> Any:
    """An equal request."""
    same = type(request)()
    same.CopyFrom(request)
    return same


def test_every_changing_rpc_is_asked_for() -> None:
    """A new changing RPC needs a request that succeeds, or its idempotency goes untested."""
    changing = {
        f"{method.containing_service.name}.{method.name}"
        for role in ROLES
        for method in RPCS[role]
        if not method.name.startswith(("Get", "List", "Batch"))
    }
    assert {name.split(" ")[0] for name in SAMPLE_REQUESTS} == changing


@pytest.mark.cites("implement.md", "a repeat is answered as at first, whatever has become of the order since")
@pytest.mark.cites("implement.md", "Answer a repeat to the byte as at first.")
@every_ask
def test_a_repeated_request_is_answered_as_at_first(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """The same id and the same request: the same answer, to the byte."""
    request = ask.request(system)
    first = system.ok(request, role)
    assert system.ok(request, role) == first
    assert system.ok(request, role).SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)


@pytest.mark.cites("implement.md", "Equal requests at the same time have one effect and get the same answer")
@every_ask
def test_repeats_that_come_all_at_once_have_one_effect(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """A crowd of equal requests gets one answer."""
    request = ask.request(system)
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda _: system.ok(request, role), range(CROWD)))
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.cites("error_reason.proto", "The request_id was used for a different request.")
@pytest.mark.cites("implement.md", "another request under the same request_id is REQUEST_ID_REUSED")
@every_ask
def test_an_id_used_for_another_request_is_refused(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """REQUEST_ID_REUSED, and the first answer stays what a repeat gets."""
    request = ask.request(system)
    first = system.ok(request, role)
    other = copy(request)
    ask.alter(other)
    answer = system.call(other, role)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert system.ok(request, role) == first


@pytest.mark.cites("order_service.proto", "UUIDs in requests may stand in either case and are read in lower case")
@pytest.mark.cites(
    "implement.md", "Normalise: UUIDs in lower case, items sorted by product id, unknown fields removed."
)
@pytest.mark.cites("implement.md", "A repeat has an equal fingerprint")
@every_ask
def test_equal_after_normalisation_is_equal(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """UUIDs in upper case, items in another order and unknown fields do not make another request."""
    request = ask.request(system)
    first = system.ok(request, role)
    same = copy(request)
    same.request_id = same.request_id.upper()
    if "order_id" in same.DESCRIPTOR.fields_by_name:
        same.order_id = same.order_id.upper()
    _turn_items(same)
    same.MergeFromString(b"\xfa\x7f\x07unknown")
    assert system.ok(same, role) == first


def _turn_items(request: Any) -> None:
    fields = request.DESCRIPTOR.fields_by_name
    if "items" not in fields or ("state" in fields and request.WhichOneof("change") != "items"):
        return
    items = request.items.items if hasattr(request.items, "items") else request.items
    turned = list(items)[::-1]
    del items[:]
    items.extend(turned)


@pytest.mark.cites("implement.md", "A request that breaks a rule leaves its request_id unused.")
@every_ask
def test_a_failed_validation_burns_no_id(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """An invalid request may be mended and sent again under its id."""
    request = ask.request(system)
    broken = copy(request)
    broken.MergeFromString(_broken_id(broken))
    answer = system.call(broken, role)
    assert answer.reason == "INVALID_REQUEST"
    assert system.ok(request, role)


def _broken_id(request: Any) -> bytes:
    """Bytes that break a rule of any request but for its request_id: a second field, empty or negative."""
    field = request.DESCRIPTOR.fields_by_number[2]
    broken = type(request)()
    if field.is_repeated:
        getattr(broken, field.name).append("Not / valid")
    elif field.type == field.TYPE_STRING:
        setattr(broken, field.name, "Not / valid")
    else:
        getattr(broken, field.name).id = "Not / valid"
    return bytes(broken.SerializePartialToString())


@pytest.mark.cites("implement.md", "A request_id is one for all RPCs of a service")
@pytest.mark.cites("order_service.proto", "the same id with a different request, or in another call, is refused")
@every_ask
def test_an_id_is_one_for_all_calls(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """The id of one call used in another is refused, whichever call it was."""
    request = ask.request(system)
    system.ok(request, role)
    for other in SAMPLE_REQUESTS.values():
        if other.role == role and other is not ask:
            stolen = other.request(system)
            if type(stolen) is not type(request):
                stolen.request_id = request.request_id
                assert system.call(stolen, role).reason == "REQUEST_ID_REUSED"


@pytest.mark.cites("implement.md", "neither does a repeat")
@pytest.mark.cites("dead_letter_service.proto", "repeats of it have no further effect and the same answer")
@pytest.mark.judges(ORDER, "broker")
@every_ask
def test_a_repeat_publishes_no_second_event(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """However often a request is repeated, each exchange hears of its effect once."""
    event_tap = system.event_tap
    assert event_tap is not None
    request = ask.request(system)
    answers = [system.ok(request, role) for _ in range(3)]
    if "order" not in answers[0].DESCRIPTOR.fields_by_name:
        return
    order = answers[0].order
    event_tap.wait(
        lambda: [h for h in event_tap.received(order.id) if h.event and h.event.version == order.version],
        system.patience,
    )
    wait_for_events(system)
    for exchange in topology().exchanges:
        versions = [h.event.version for h in event_tap.received(order.id, exchange.name) if h.event]
        assert len(versions) == len(set(versions)), versions


@pytest.mark.cites("order_service.proto", "A call that failed leaves its id unused.")
@pytest.mark.cites("implement.md", "A request that is refused leaves its id unused, with one exception")
@pytest.mark.judges(ORDER)
def test_a_refused_request_leaves_its_id_unused(system: SystemUnderTest) -> None:
    """After NOT_FOUND the same id serves another request."""
    request = SAMPLE_REQUESTS["OrderService.UpdateOrder state"].request(system)
    missing = copy(request)
    missing.order_id = new_id()
    assert system.call(missing).reason == "ORDER_NOT_FOUND"
    assert system.ok(request)
