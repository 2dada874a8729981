"""Laws of the request_id (AIP-155), for every changing RPC."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from ordersys.api.notification.v1.dead_letter_service_pb2 import DiscardDeadLettersRequest
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    CreateOrderRequest,
    CreateOrderResult,
)
from ordersys.api.product.v1.product_service_pb2 import BatchPlaceOrdersRequest
from ordersys.contract.errors import reason_of
from ordersys.contract.topology import event_exchanges
from tests.contract.harness.client import ORDER, PRODUCT, ROLES, RPCS
from tests.contract.harness.normal_form import copy
from tests.contract.harness.order_events import wait_for_events
from tests.contract.harness.order_requests import CANCELLED, PAID, SHIPPED, changing, moving, updated
from tests.contract.harness.raw_call import framed, raw_call
from tests.contract.harness.refusals import refusal_in, reused
from tests.contract.harness.sample_requests import SAMPLE_REQUESTS, SampleRequest
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing
from tests.contract.harness.variants import altered, spellings

every_ask = pytest.mark.parametrize(
    ("role", "ask"), [(ask.role, ask) for ask in SAMPLE_REQUESTS.values()], ids=list(SAMPLE_REQUESTS)
)
ONE_OF_EACH = {ask.role: ask for name, ask in SAMPLE_REQUESTS.items() if re.search(r"\.(Create|Discard)", name)}
"""Of each role a changing RPC whose requests do not depend on each other."""
CROWD, ROUNDS = 12, 3
MOST, MANY = 500, 120


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
    """The same id and the same request: the same answer, to the byte, whatever has happened since."""
    request = ask.request(system)
    first = system.ok(request, role)
    assert_same(system.ok(request, role), first)
    ask.since(system, first)
    assert_same(system.ok(request, role), first)


def assert_same(response: Any, first: Any) -> None:
    """Equal, in every byte."""
    assert response == first
    assert response.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)


@pytest.mark.cites("implement.md", "Equal requests at the same time have one effect and get the same answer")
@every_ask
def test_repeats_that_come_all_at_once_have_one_effect(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """A crowd of equal requests gets one answer."""
    for _ in range(ROUNDS):
        request = ask.request(system)
        with ThreadPoolExecutor(CROWD) as pool:
            answers = list(pool.map(lambda request: system.ok(request, role), [request] * CROWD))
        assert answers == [answers[0]] * CROWD


@pytest.mark.cites("error_reason.proto", "The request_id was used for a different request.")
@pytest.mark.cites("implement.md", "another request under the same request_id is REQUEST_ID_REUSED")
@every_ask
def test_an_id_used_for_another_request_is_refused(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """REQUEST_ID_REUSED, whichever field is another, and the first answer stays what a repeat gets."""
    request = ask.request(system)
    first = system.ok(request, role)
    others = altered(request)
    assert others
    for field, other in others.items():
        answer = system.call(other, role)
        assert answer.response is None, f"{field}: {answer.response}"
        assert refusal_in(answer) == reused(request.request_id), field
    assert system.ok(request, role) == first


@pytest.mark.cites("implement.md", "another request under the same request_id is REQUEST_ID_REUSED")
@pytest.mark.cites(
    "implement.md",
    "they have the effect of the same calls one after the other, each between its request and its answer",
)
@every_ask
def test_of_different_requests_at_once_under_one_id_one_is_made(
    system: SystemUnderTest, role: str, ask: SampleRequest
) -> None:
    """The one that comes first has its effect, and stays what a repeat gets; the others are refused."""
    for _ in range(ROUNDS):
        request = ask.request(system)
        requests = [request, *altered(request).values()]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(lambda request: system.call(request, role), requests))
        made = [(r, answer.response) for r, answer in zip(requests, answers, strict=True) if answer.response]
        assert len(made) == 1, f"{len(made)} requests were made under one request_id"
        for other in requests:
            answer = system.call(other, role)
            if other is made[0][0]:
                assert answer.response == made[0][1]
            else:
                assert answer.response is None, f"made later: {other}"
                assert refusal_in(answer) == reused(request.request_id)


@pytest.mark.cites("order_service.proto", "UUIDs in requests may stand in either case and are read in lower case")
@pytest.mark.cites(
    "implement.md", "Normalise: UUIDs in lower case, items sorted by product id, unknown fields removed."
)
@pytest.mark.cites("implement.md", "A repeat has an equal fingerprint")
@every_ask
def test_equal_after_normalisation_is_equal(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """UUIDs in upper case, items in another order, unknown fields and a traceparent do not make another request."""
    request = ask.request(system)
    first = system.ok(request, role)
    for way, same in spellings(request).items():
        answer = system.call(same, role)
        assert answer.response is not None, f"{way}: {answer}"
        assert answer.response == first, way


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


@pytest.mark.cites("implement.md", "Remember it for at least 24 hours from the answer on, however many come after it")
@pytest.mark.parametrize("role", ROLES)
def test_an_id_is_remembered_however_many_come_after_it(system: SystemUnderTest, role: str) -> None:
    """Of every kind of request: each is answered as at first when there have been many others."""
    requests = [ask.request(system) for ask in SAMPLE_REQUESTS.values() if ask.role == role]
    answered = [(request, system.ok(request, role)) for request in requests]
    ask_for_many_others(system, role)
    for request, first in answered:
        assert_same(system.ok(request, role), first)


def ask_for_many_others(system: SystemUnderTest, role: str) -> None:
    """As many requests with ids of their own as a batch has; where there is none, MANY of them."""
    if role == ORDER:
        orders_of(create_all(system, [creating() for _ in range(MOST)]))
    elif role == PRODUCT:
        product = system.new_product()
        requests = [placing({product: 1}) for _ in range(MOST)]
        system.ok(BatchPlaceOrdersRequest(requests=requests))
    else:
        others = [
            DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=[uuid.uuid4().hex]) for _ in range(MANY)
        ]
        with ThreadPoolExecutor(CROWD) as pool:
            list(pool.map(lambda request: system.ok(request, role), others))


@pytest.mark.cites("implement.md", "A second one has no effect: the call is answered as if it had not come")
@pytest.mark.cites("product_service.proto", "A call is one message, which comes within 5 s of its headers")
@pytest.mark.judges("in-clear")
@pytest.mark.parametrize(("role", "ask"), ONE_OF_EACH.items(), ids=list(ONE_OF_EACH))
def test_a_second_message_has_no_effect(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """Answered or refused: what came first may be done, and of what came second not even the request_id is used."""
    first, second = ask.request(system), ask.request(system)
    octets = framed(first.SerializeToString()) + framed(second.SerializeToString())
    answer = raw_call(system.addresses[role], method_of(role, first), octets, system.patience)
    repeated = system.ok(first, role)
    assert answer is None or type(repeated).FromString(answer) == repeated
    assert_unused(system, role, second)


@pytest.mark.cites(
    "implement.md", "Half a message at the end of a stream, and an end without a message, are none either"
)
@pytest.mark.judges("in-clear")
@pytest.mark.parametrize(("role", "ask"), ONE_OF_EACH.items(), ids=list(ONE_OF_EACH))
def test_half_a_message_has_no_effect(system: SystemUnderTest, role: str, ask: SampleRequest) -> None:
    """However much of it came before the stream ended: it is not answered, and its request_id is free."""
    request = ask.request(system)
    octets = framed(request.SerializeToString())
    for end in (0, 3, 5, len(octets) // 2, len(octets) - 1):
        assert raw_call(system.addresses[role], method_of(role, request), octets[:end], system.patience) is None
    assert_unused(system, role, request)


def method_of(role: str, request: Any) -> MethodDescriptor:
    """The RPC that takes a request."""
    return next(method for method in RPCS[role] if method.input_type is request.DESCRIPTOR)


def assert_unused(system: SystemUnderTest, role: str, request: Any) -> None:
    """Another request is answered under the request_id of this one."""
    answer = system.call(next(iter(altered(request).values())), role)
    assert answer.response is not None, f"its request_id is used: {answer}"


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
        f"the event of version {order.version} of order {order.id}",
    )
    wait_for_events(system)
    for exchange in event_exchanges():
        versions = [h.event.version for h in event_tap.received(order.id, exchange.name) if h.event]
        assert len(versions) == len(set(versions)), versions


@pytest.mark.cites("order_service.proto", "A call that failed leaves its id unused.")
@pytest.mark.cites("implement.md", "A request that is refused leaves its id unused, with one exception")
@pytest.mark.judges(ORDER)
def test_a_refused_request_leaves_its_id_unused(system: SystemUnderTest) -> None:
    """Whatever it was refused for, the id serves another request, and the same one is looked at anew."""
    order = system.create()
    missing, duplicate = moving(order, CANCELLED), creating()
    missing.order_id, duplicate.order_id = new_id(), order.id
    early, late = changing(order, {"desk": 3}, expected=2), moving(order, SHIPPED)
    for request, reason in (
        (missing, "ORDER_NOT_FOUND"),
        (duplicate, "ORDER_ALREADY_EXISTS"),
        (early, "VERSION_MISMATCH"),
        (late, "STATE_NOT_ALLOWED"),
    ):
        assert system.call(request).reason == reason
    missing.order_id, duplicate.order_id = system.create().id, new_id()
    assert system.ok(missing).order.state == CANCELLED
    assert system.ok(duplicate).order.id == duplicate.order_id
    updated(system, changing(order, {"desk": 2}))
    assert updated(system, early).version == 3
    updated(system, moving(order, PAID))
    assert updated(system, late).state == SHIPPED


@pytest.mark.judges(ORDER)
@pytest.mark.cites("implement.md", "PlaceOrder and an order of BatchPlaceOrders count as the same RPC")
@pytest.mark.cites("implement.md", "So do CreateOrder and an order of BatchCreateOrders.")
def test_a_creation_is_one_request_alone_and_in_a_batch(system: SystemUnderTest) -> None:
    """Either call answers a repeat of the other as at first, also twice in one batch and after other changes."""
    alone, batched = creating({"lamp": 2, "desk": 1}), creating({"desk": 1})
    first = system.ok(alone).order
    _, again, second, *others = orders_of(create_all(system, [creating(), alone, batched, batched, alone]))
    assert [again, *others] == [first, second, first]
    for order in (first, second):
        updated(system, moving(order, CANCELLED))
    assert system.ok(batched).order == second
    variants = spellings(alone)
    *answered, last = create_all(system, [*variants.values(), batched])
    said = {way: reason_of(result.status) or result.order for way, result in zip(variants, answered, strict=True)}
    assert said == dict.fromkeys(variants, first)
    assert orders_of([last]) == [second]


@pytest.mark.judges(ORDER)
@pytest.mark.cites("order_service.proto", "the same id with a different request, or in another call, is refused")
def test_the_id_of_a_creation_is_refused_for_another_alone_and_in_a_batch(system: SystemUnderTest) -> None:
    """Whichever call used it first, and whichever field is another; what stands beside it in the batch is created."""
    alone, batched = creating({"lamp": 2, "desk": 1}), creating({"lamp": 2, "desk": 1})
    system.ok(alone)
    create_all(system, [batched])
    changed = moving(system.create(), CANCELLED)
    system.ok(changed, ORDER)
    stolen = creating()
    stolen.request_id = changed.request_id
    others = [*altered(alone).values(), *altered(batched).values(), stolen]
    *refused, created = create_all(system, [*others, creating()])
    assert [reason_of(result.status) for result in refused] == ["REQUEST_ID_REUSED"] * len(others)
    assert orders_of([created])
    assert [system.call(other).reason for other in others] == ["REQUEST_ID_REUSED"] * len(others)


def create_all(system: SystemUnderTest, requests: list[CreateOrderRequest]) -> list[CreateOrderResult]:
    """The results of a batch, one for each request."""
    results = list(system.ok(BatchCreateOrdersRequest(requests=requests)).results)
    assert len(results) == len(requests)
    return results


def orders_of(results: list[CreateOrderResult]) -> list[Order]:
    """The orders of a batch of which none is refused."""
    assert [reason_of(result.status) for result in results] == [""] * len(results)
    return [result.order for result in results]
