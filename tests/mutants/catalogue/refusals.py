"""Refusals with the wrong code, without their details, or with words that are nobody's business."""

from tests.mutants.mutant import LISTENER_1, ORDER, PRODUCT, Edit, Mutant

MUTANTS = (
    Mutant(
        "stale-version-has-another-code",
        ORDER,
        "A stale version is FAILED_PRECONDITION instead of ABORTED.",
        (
            Edit(
                "contract.errors",
                "status = Status(code=stated.code,",
                "status = Status(code=9 if reason == ErrorReason.VERSION_MISMATCH else stated.code,",
            ),
        ),
        caught_by="refusals/a_stale_version_is_aborted_with_the_current_one",
    ),
    Mutant(
        "field-path-is-cut",
        PRODUCT,
        "A broken rule is reported with the name of the field, not with its path.",
        (Edit("contract.errors", "field=v.field,", 'field=v.field.rpartition(".")[2],'),),
        caught_by="every_rpc/a_broken_rule_is_answered_with_its_field",
    ),
    Mutant(
        "class-name-leaks",
        LISTENER_1,
        "Bytes that can't be decoded are answered with the words of the exception.",
        (
            Edit(
                "runtime.server",
                "raise refuse(ErrorReason.UNDECODABLE_REQUEST) from error",
                "refused = refuse(ErrorReason.UNDECODABLE_REQUEST)\n"
                'refused.status.message = f"{type(error).__name__}: {error}"\n'
                "raise refused from error",
            ),
        ),
        caught_by="every_rpc/garbage_is_answered_with_a_constant_text",
    ),
    Mutant(
        "rules-are-not-checked",
        ORDER,
        "A request that breaks a rule of the contract is taken.",
        (Edit("runtime.server", "if broken := violations(request):", "if broken := []:"),),
        caught_by="every_rpc/a_broken_rule_is_answered_with_its_field",
    ),
    Mutant(
        "shortage-names-one-product",
        PRODUCT,
        "A refusal for want of stock names the first product that is short, not the others.",
        (
            Edit(
                "product_service.store.placements",
                "outcome = refusal(out_of_stock(short))",
                "outcome = refusal(out_of_stock(short[:1]))",
            ),
        ),
        caught_by="refusals/want_of_stock_names_each_product_and_takes_nothing",
    ),
    Mutant(
        "want-of-stock-hides-the-state",
        PRODUCT,
        "Items of an order that may not change are refused for want of stock, not for the state of the order.",
        (
            Edit(
                "product_service.store.changes",
                "if asked.order.state != OrderState.ORDER_STATE_PLACED:",
                "if False:",
            ),
        ),
        caught_by="refusals/an_order_whose_items_may_not_change_is_no_matter_of_stock",
    ),
    Mutant(
        "unknown-order-is-not-named",
        ORDER,
        "NOT_FOUND comes without the resource that was not found.",
        (
            Edit(
                "contract.errors",
                "refuse(ErrorReason.ORDER_NOT_FOUND, _order(order_id), order_id=order_id)",
                "refuse(ErrorReason.ORDER_NOT_FOUND, order_id=order_id)",
            ),
        ),
        caught_by="refusals/an_unknown_order_is_named",
    ),
    Mutant(
        "open-outcome-says-not-when-to-repeat",
        PRODUCT,
        "UNAVAILABLE comes without RetryInfo.",
        (Edit("contract.errors", "if stated.retryable else []", "if False else []"),),
        caught_by="saga/silence_leaves_the_outcome_open_and_the_stock_held",
    ),
    Mutant(
        "request-may-have-any-size",
        ORDER,
        "A request is read however large it is.",
        (
            Edit(
                "runtime.limits",
                '("grpc.max_receive_message_length", settings.max_message_bytes)',
                '("grpc.max_receive_message_length", -1)',
            ),
        ),
        caught_by="calls/a_request_over_the_limit_is_resource_exhausted",
    ),
)
