"""Orders placed in one call that are not as if each had been placed alone."""

from tests.mutants.mutant import PRODUCT, Edit, Mutant

_NORMALISE = "for one in request.requests:\n    normalise(one)"

MUTANTS = (
    Mutant(
        "placed-batch-results-are-swapped",
        PRODUCT,
        "The results of a batch of placements come in another order than its requests.",
        (
            Edit(
                "product_service.service",
                "around(_result(one)) for one in placed",
                "around(_result(one)) for one in placed[::-1]",
            ),
        ),
        caught_by="batches/each_request_has_its_result_at_its_index",
    ),
    Mutant(
        "placed-batch-fails-as-a-whole",
        PRODUCT,
        "One order that is refused fails the whole batch of placements.",
        (
            Edit(
                "product_service.service",
                "placed = await self._placement.place(request.requests, _trace(context))",
                "placed = await self._placement.place(request.requests, _trace(context))\n"
                "for one in placed:\n"
                "    if isinstance(one, Refused):\n"
                "        raise one",
            ),
        ),
        caught_by="batches/one_that_is_refused_does_not_touch_the_others",
    ),
    Mutant(
        "open-outcome-fails-the-batch",
        PRODUCT,
        "A batch in which the outcome of one order is open is answered as a whole with that.",
        (
            Edit(
                "product_service.groups",
                "if isinstance(result, Exception) and not isinstance(result, Refused):",
                "if isinstance(result, Exception) and type(result) is not Refused:",
            ),
        ),
        caught_by="saga/silence_leaves_each_order_of_a_batch_open",
    ),
    Mutant(
        "placed-batch-is-not-normalised",
        PRODUCT,
        "An order of a batch asked for in another spelling is another order.",
        (Edit("product_service.service", _NORMALISE, "pass"),),
        caught_by="batches/requests_of_a_batch_are_normalised",
    ),
    Mutant(
        "each-door-has-request-ids-of-its-own",
        PRODUCT,
        "An order placed by one of the two calls is placed again when it is repeated by the other.",
        (
            Edit(
                "product_service.service",
                _NORMALISE,
                f"{_NORMALISE}\n"
                "    one.request_id = str(__import__('uuid').uuid5(__import__('uuid').NAMESPACE_OID, one.request_id))",
            ),
        ),
        caught_by="batches/a_request_is_one_by_either_door",
    ),
    Mutant(
        "request-twice-in-a-batch-has-two-effects",
        PRODUCT,
        "A request that stands in a batch twice makes two orders.",
        (
            Edit(
                "product_service.service",
                _NORMALISE,
                "seen: set[str] = set()\n"
                f"{_NORMALISE}\n"
                "    if one.request_id in seen:\n"
                "        one.request_id = str(__import__('uuid').uuid4())\n"
                "    seen.add(one.request_id)",
            ),
        ),
        caught_by="batches/a_request_that_stands_in_a_batch_twice_is_a_repeat",
    ),
    Mutant(
        "one-reservation-of-a-refused-batch-is-taken-back",
        PRODUCT,
        "When the Order Service refuses many orders for good, only what the first one held is released.",
        (
            Edit(
                "product_service.placement",
                "if refused := [index for index, result in enumerate(created) if _is_final(result)]:",
                "if refused := [index for index, result in enumerate(created) if _is_final(result)][:1]:",
            ),
        ),
        caught_by="saga/a_final_refusal_gives_the_stock_of_a_batch_back",
    ),
    Mutant(
        "placed-batch-leaves-its-trace",
        PRODUCT,
        "The orders of a batch do not belong to the trace of the call.",
        (
            Edit(
                "product_service.service",
                "place(request.requests, _trace(context))",
                "place(request.requests, traceparent(None))",
            ),
        ),
        caught_by="traces/every_order_placed_in_a_batch_belongs_to_the_trace_of_the_call",
    ),
)
