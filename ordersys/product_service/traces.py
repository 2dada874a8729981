"""Spans of sagas: one as long as the saga lives, beneath it its commits and calls.

A saga may outlive its client's call, and its process. So its span follows from the context that the call carried, and
is recorded by whichever process brings the saga to its end.
"""

from collections.abc import Iterable
from typing import Protocol

from ordersys.contract.errors import StatusError, reason_of
from ordersys.product_service.saga import Input, Result, Saga, input_of
from ordersys.runtime.base.ids import uuid7_time
from ordersys.runtime.tracing.contexts import is_root, is_sampled
from ordersys.runtime.tracing.spans import Kind, Link, Span, is_on, now, outliving, record


class Asked(Protocol):
    """A request for a saga, with the context its call carried, and that of the call's own span."""

    @property
    def traceparent(self) -> str: ...  # noqa: D102

    @property
    def call(self) -> str: ...  # noqa: D102


def span_of(saga: Saga) -> str:
    """The context of the span of a saga."""
    return outliving(saga.traceparent, saga.saga_id)


def trace_of(asked: Asked, begun: object) -> str:
    """The context that the commit which begins a saga belongs to; where it begins none, that of the call."""
    return span_of(begun) if isinstance(begun, Saga) else asked.call or asked.traceparent


def record_ended(sagas: Iterable[Saga], results: Iterable[Result]) -> None:
    """Records the spans of the sagas that have come to their end with these results."""
    if not is_on():
        return
    for saga, result in zip(sagas, results, strict=True):
        if is_sampled(saga.traceparent) and input_of(result) is not Input.UNKNOWN:
            refused = reason_of(result.status) if isinstance(result, StatusError) else ""
            attributes = {"ordersys.order.id": saga.order_id} | ({"ordersys.refusal": refused} if refused else {})
            began = uuid7_time(saga.saga_id) * 1000
            parent = _parent_of(saga)
            links = () if parent else (Link(saga.traceparent),)
            record(Span(f"saga {saga.kind}", Kind.INTERNAL, span_of(saga), parent, began, now(), attributes, links))


def _parent_of(saga: Saga) -> str:
    """The context of the span above a saga's, empty where that may be lost.

    The span of the call that began it is known to that process alone, and lost where it was killed: of one that was
    found in the database it is the span that the call was a child of. Where the call began the trace there is none.
    """
    return saga.call or ("" if is_root(saga.traceparent) else saga.traceparent)
