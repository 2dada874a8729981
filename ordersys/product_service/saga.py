"""A saga of the Product Service: what it remembers, its states, and what an order shows of it. Pure.

An order spans two databases, of which no transaction holds both: the stock here, the order at the Order Service. A saga
reserves stock and remembers what it is going to ask for in one commit (begin), calls the Order Service, and ends with a
second commit: complete, where the order was created or changed, or compensate, where it never will be. Between the
commits everything may die. What is pending is asked for again under the same ids, by its client or by recovery, and the
Order Service answers a request it knows as before.

Two kinds of saga differ only in what they ask for: a placement (CreateOrder) and a change (UpdateOrder). A change
reserves what the order needs more before it asks, and releases what it needs less only when the order was changed.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, UpdateOrderRequest
from ordersys.contract.errors import StatusError, reason_of, status_error
from ordersys.contract.money import total
from ordersys.product_service.stock import Quantities

OrderRequest: TypeAlias = CreateOrderRequest | UpdateOrderRequest
Result: TypeAlias = bytes | Exception
"""The response to the client of a saga, encoded; or a StatusError; or OutcomeUnknown, and then the saga is pending."""
_TAKEN = ErrorReason.Name(ErrorReason.ORDER_ALREADY_EXISTS)


class Kind(StrEnum):
    """A kind of saga, as it is stored."""

    PLACE_ORDER = "place_order"
    CHANGE_ORDER = "change_order"


class Saga(NamedTuple):
    """A saga under way. An order has one at a time."""

    request_id: str
    """The client's."""
    order_request: OrderRequest
    """The request to the Order Service, the same at each try."""
    reserved: Quantities
    """The units reserved for it, beyond the reservation of its order."""
    traceparent: str
    """The trace context that its client's call carried."""
    resumed: bool = False
    """True when it was read from the database, not begun by this commit.

    An earlier try of it may have had its effect then, and the Order Service may have forgotten its request_id since.
    """

    call: str = ""
    """The context of the span of its client's call, in the process that answers it."""

    @property
    def kind(self) -> Kind:
        """Its kind follows from what it asks for."""
        return Kind.PLACE_ORDER if isinstance(self.order_request, CreateOrderRequest) else Kind.CHANGE_ORDER

    @property
    def order_id(self) -> str:
        """The order it is about."""
        return self.order_request.order_id

    @property
    def saga_id(self) -> str:
        """A UUID of version 7, which tells when it began; the request_id the Order Service knows it by."""
        return self.order_request.request_id


class OutcomeUnknown(StatusError):
    """In doubt: the call may or may not have had its effect."""


def in_doubt() -> OutcomeUnknown:
    """The refusal of a request whose outcome is open: repeating it tells."""
    return OutcomeUnknown(status_error(ErrorReason.OUTCOME_OPEN).status)


class State(StrEnum):
    """A state of a saga, as its row tells it: one that ended, completed or compensated, has no row."""

    NEW = "–"
    PENDING = "pending"
    ENDED = "ended"


class Input(StrEnum):
    """An event in the life of a saga."""

    ENOUGH = "there is enough stock for what it needs more"
    SHORT = "there is too little stock"
    BUSY = "another saga of the order is pending"
    MADE = "made: the Order Service says so, or the order shows it"
    REFUSED = "a final refusal, and the order does not show it"
    UNKNOWN = "anything else: in doubt"


class Step(StrEnum):
    """The work of one commit."""

    BEGIN = "reserve; store request and saga"
    REJECT = "store the refusal; of a placement OrderRejected goes into the outbox"
    WAIT = "nothing; the other saga is settled first"
    COMPLETE = "release the surplus; store reservation and answer; delete the saga"
    COMPENSATE = "release what was reserved; delete saga and request, whose id is unused again"
    KEEP = "nothing; it is asked for again under the same ids"
    IGNORE = "nothing: a late reply ends nothing twice"
    """It says what the first one said: what the Order Service answers for good under one request_id stays so."""


class Transition(NamedTuple):
    """A step, and the state after it."""

    step: Step
    next: State


# Read a line as: in this state, when this happens, this is committed, and that is the state then. BEGIN and REJECT are
# committed by `begin` of placements and of changes, COMPLETE and COMPENSATE by `sagas.settle`. WAIT and KEEP commit
# nothing: the callers are told so by OtherPending and OutcomeUnknown.
TRANSITIONS: Mapping[tuple[State, Input], Transition] = MappingProxyType(
    {
        (State.NEW, Input.ENOUGH): Transition(Step.BEGIN, State.PENDING),
        (State.NEW, Input.SHORT): Transition(Step.REJECT, State.ENDED),
        (State.NEW, Input.BUSY): Transition(Step.WAIT, State.NEW),
        (State.PENDING, Input.MADE): Transition(Step.COMPLETE, State.ENDED),
        (State.PENDING, Input.REFUSED): Transition(Step.COMPENSATE, State.ENDED),
        (State.PENDING, Input.UNKNOWN): Transition(Step.KEEP, State.PENDING),
        (State.ENDED, Input.MADE): Transition(Step.IGNORE, State.ENDED),
        (State.ENDED, Input.REFUSED): Transition(Step.IGNORE, State.ENDED),
        (State.ENDED, Input.UNKNOWN): Transition(Step.IGNORE, State.ENDED),
    }
)


def input_of(result: Result) -> Input:
    """The meaning of a result of the Order Service to a saga. Only the contract's word makes a refusal final."""
    if isinstance(result, bytes):
        return Input.MADE
    is_final = isinstance(result, StatusError) and not isinstance(result, OutcomeUnknown)
    return Input.REFUSED if is_final else Input.UNKNOWN


def reserved_after(order_request: OrderRequest, held: Quantities) -> Quantities:
    """The units the order holds once `order_request` has taken effect, given what order and saga hold now."""
    if isinstance(order_request, CreateOrderRequest):
        return held  # a placement has reserved what it asks for, and its order nothing yet
    if order_request.WhichOneof("change") == "items":
        return {item.product_id: item.quantity for item in order_request.items.items}
    return {} if order_request.state == OrderState.ORDER_STATE_CANCELLED else held


def verdict(order_request: OrderRequest, order: Order | None, refused: StatusError) -> Order | StatusError:
    """The fate of an order request that is `refused` now, as the order under its id shows; None where there is none.

    An earlier try may have had its effect, and the Order Service may have forgotten its request_id since: then it
    refuses the repeat as it would refuse a stranger's. Retention never decides an outcome, what the order shows does.
    """
    if isinstance(order_request, UpdateOrderRequest):
        return order if order is not None and _shows(order_request, order) else refused
    if order is None:  # there and not there at once is doubt
        return in_doubt() if reason_of(refused.status) == _TAKEN else refused
    return first_version(order_request, order) if _is_own(order_request, order) else refused


def first_version(creation: CreateOrderRequest, order: Order) -> Order:
    """The order as it was created: what the lost reply said, also when it has changed since."""
    if order.version == 1:
        return order
    return Order(
        id=order.id,
        customer_id=order.customer_id,
        items=creation.items,
        total=total(creation.items),
        state=OrderState.ORDER_STATE_PLACED,
        version=1,
        create_time=order.create_time,
        update_time=order.create_time,
    )


def _is_own(creation: CreateOrderRequest, order: Order) -> bool:
    """True when `order`, which has the id chosen for `creation`, is the order that was asked for.

    Nobody else knows the id before the order exists. At version 1 its items must be those asked for as well.
    """
    same_items = order.version > 1 or list(order.items) == list(creation.items)
    return order.customer_id == creation.customer_id and same_items


def _shows(change: UpdateOrderRequest, order: Order) -> bool:
    """True when `order` is as `change`, which was pinned to one version, would have made it, at a later version."""
    if order.version <= change.expected_version:
        return False
    if change.WhichOneof("change") == "items":
        return list(order.items) == list(change.items.items)
    return order.state == change.state
