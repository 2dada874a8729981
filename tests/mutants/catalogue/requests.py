"""A request_id that is forgotten, ignored, confused or burned."""

from tests.mutants.mutant import ORDER, PRODUCT, Edit, Mutant

MUTANTS = (
    Mutant(
        "request-ids-are-not-kept",
        PRODUCT,
        "A repeated request has its effect again.",
        (Edit("runtime.idempotency", "self._insert.put(connection, ledger.opened)", "pass"),),
        caught_by="idempotency/a_repeated_request_is_answered_as_at_first",
    ),
    Mutant(
        "request-id-serves-another-request",
        ORDER,
        "Another request with a known request_id is answered as the first one was.",
        (
            Edit(
                "runtime.idempotency",
                "if remembered is not None and remembered.fingerprint != fingerprint:",
                "if False:",
            ),
        ),
        caught_by="idempotency/an_id_used_for_another_request_is_refused",
    ),
    Mutant(
        "request-ids-are-scoped-by-call",
        PRODUCT,
        "The request_id of one call serves another call as well.",
        (
            Edit(
                "contract.requests",
                "message.DiscardUnknownFields()",
                "message.DiscardUnknownFields()\n"
                "if hasattr(message, 'request_id'):\n"
                "    asked = f'{message.DESCRIPTOR.full_name} {message.request_id.lower()}'\n"
                "    message.request_id = __import__('uuid').uuid5(__import__('uuid').NAMESPACE_URL, asked).urn[9:]",
            ),
        ),
        caught_by="idempotency/an_id_is_one_for_all_calls",
    ),
    Mutant(
        "failed-validation-burns-its-id",
        PRODUCT,
        "The request_id of an invalid request can't be used for the mended one.",
        (
            Edit(
                "runtime.server",
                "if broken := violations(request):",
                "if (request_id := getattr(request, 'request_id', '')) in _burned:\n"
                "    raise refuse(ErrorReason.REQUEST_ID_REUSED, request_id=request_id)\n"
                "if broken := violations(request):\n"
                "    _burned.add(request_id or None)",
            ),
            Edit("runtime.server", "_ENTRY_BYTES = 32", "_burned: set[object] = set()\n_ENTRY_BYTES = 32"),
        ),
        caught_by="idempotency/a_failed_validation_burns_no_id",
    ),
    Mutant(
        "unknown-order-burns-its-id",
        ORDER,
        "The request_id of a change that found no order can't be used again.",
        (
            Edit(
                "order_service.store",
                "if before is None:",
                "if before is None:\n"
                "    refused = success(UpdateOrderResponse())\n"
                "    self._ledger.close(request.request_id, print_, request.order_id, refused)",
            ),
        ),
        caught_by="idempotency/a_refused_request_leaves_its_id_unused",
    ),
    Mutant(
        "repeat-publishes-again",
        ORDER,
        "A repeated creation is published again, under another id.",
        (
            Edit(
                "order_service.store",
                "    return known.outcome.response()\nif request.order_id in self._orders:",
                "    response = known.outcome.response()\n"
                "    order = CreateOrderResponse.FromString(response).order\n"
                "    again = _event(OrderCreated, order, response, creation.traceparent)\n"
                "    self._events.append(again._replace(event_id=f'{self._time}'))\n"
                "    return response\n"
                "if request.order_id in self._orders:",
            ),
        ),
        caught_by="idempotency/a_repeat_publishes_no_second_event",
    ),
    Mutant(
        "ids-differ-by-case",
        ORDER,
        "A UUID in upper case is another one than in lower case.",
        (
            Edit(
                "contract.requests",
                "setattr(message, field, getattr(message, field).lower())",
                "setattr(message, field, getattr(message, field))",
            ),
        ),
        caught_by="idempotency/equal_after_normalisation_is_equal",
    ),
    Mutant(
        "want-of-stock-is-not-remembered",
        PRODUCT,
        "A repeated placement that was refused for want of stock is decided anew.",
        (
            Edit(
                "product_service.store.placements",
                "self._ledger.close(asked.request.request_id, mark, order_id, outcome)",
                "pass",
            ),
        ),
        caught_by="rejections/a_refusal_for_want_of_stock_is_heard_once_on_the_topic_exchange_only",
    ),
)
