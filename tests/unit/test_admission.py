"""Admission: the calls a server has under way, counted by what they carry."""

from contextlib import ExitStack

import pytest

from ordersys.api.order.v1 import order_service_pb2
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, CreateOrderRequest
from ordersys.api.product.v1 import product_service_pb2
from ordersys.contract import descriptors
from ordersys.contract.errors import StatusError, reason_of
from ordersys.runtime.rpc.admission import ORDERS_A_CALL, Admission
from ordersys.runtime.rpc.answering import Answering
from ordersys.runtime.rpc.callers import RefusedCalls

MOST = 4
FULL = MOST * ORDERS_A_CALL
MIB = 1024 * 1024


def refused(admission: Admission, orders: int = 1, octets: int = 100) -> bool:
    """True when there is no room for that."""
    try:
        with admission.admitted(orders, octets):
            return False
    except StatusError as error:
        assert reason_of(error.status) == "TOO_MANY_CALLS"
        return True


def test_as_many_small_calls_as_are_allowed_are_admitted_and_no_more() -> None:
    """And when one has ended, another one is."""
    admission = Admission(MOST)
    with ExitStack() as under_way:
        for _ in range(MOST - 1):
            under_way.enter_context(admission.admitted(1, 100))
        with admission.admitted(1, 100):
            assert refused(admission)
        assert not refused(admission)


def test_a_batch_counts_as_the_orders_it_carries() -> None:
    """Few large batches fill a server as many small ones do."""
    admission = Admission(MOST)
    with admission.admitted(FULL - 1, 100):
        assert refused(admission, orders=2)
        with admission.admitted(1, 100):
            assert refused(admission)
            with pytest.raises(StatusError):
                admission.check()


def test_a_request_counts_as_the_bytes_it_has() -> None:
    """So much memory is held for requests, whatever is in them."""
    admission = Admission(1000)
    with ExitStack() as under_way:
        for _ in range(8):
            under_way.enter_context(admission.admitted(1, 4 * MIB))
        assert refused(admission)
    assert not refused(admission)


@pytest.mark.parametrize(("orders", "octets"), [(100 * FULL, 100), (1, 1000 * MIB)], ids=["orders", "bytes"])
def test_what_would_never_fit_is_admitted_alone(orders: int, octets: int) -> None:
    """A limit that is set low refuses nothing for ever; nothing is admitted beside it."""
    admission = Admission(MOST)
    with admission.admitted(orders, octets):
        assert refused(admission)
    with admission.admitted(1, 100):
        assert refused(admission, orders, octets)


def test_what_fails_leaves_its_place() -> None:
    """However it ends."""
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(KeyError), admission.admitted(FULL, 100):
            raise KeyError
    assert not refused(admission)


BATCHES = {"BatchCreateOrders", "BatchPlaceOrders"}
METHODS = [
    method
    for file in (order_service_pb2, product_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
def test_what_a_call_carries_follows_from_the_contract(method: object) -> None:
    """The requests of a batch; any other call carries itself."""
    assert isinstance(method, type(METHODS[0]))
    requests = Answering(method, _unanswered, RefusedCalls()).requests
    assert len(requests(descriptors.message_class(method.input_type)())) == (0 if method.name in BATCHES else 1)
    if method.name == "BatchCreateOrders":
        assert len(requests(BatchCreateOrdersRequest(requests=[CreateOrderRequest()] * 7))) == 7


async def _unanswered(request: object, context: object) -> bytes:
    raise AssertionError(request)
