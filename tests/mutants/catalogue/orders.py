"""Orders that become what they must not, or cost what they don't."""

from tests.mutants.mutant import ORDER, Edit, Mutant

MUTANTS = (
    Mutant(
        "version-is-skipped",
        ORDER,
        "A change raises the version by two.",
        (Edit("order_service.lifecycle", "changed.version += 1", "changed.version += 2"),),
        caught_by="refusals/the_life_cycle_is_the_contracts",
    ),
    Mutant(
        "version-rises-without-a-change",
        ORDER,
        "Items that are as they were make a new version.",
        (Edit("order_service.lifecycle", "if changed == order:", "if False:"),),
        caught_by="orders/a_change_that_changes_nothing_makes_no_version",
    ),
    Mutant(
        "expected-version-is-ignored",
        ORDER,
        "A change is made whatever version was expected.",
        (Edit("order_service.lifecycle", 'if request.HasField("expected_version") and', "if False and"),),
        caught_by="refusals/a_stale_version_is_aborted_with_the_current_one",
    ),
    Mutant(
        "shipped-order-can-be-cancelled",
        ORDER,
        "The life cycle lets an order be cancelled when it is on its way.",
        (
            Edit(
                "order_service.lifecycle",
                "frozenset({OrderState.ORDER_STATE_DELIVERED})",
                "frozenset({OrderState.ORDER_STATE_DELIVERED, OrderState.ORDER_STATE_CANCELLED})",
            ),
        ),
        caught_by="refusals/the_life_cycle_is_the_contracts",
    ),
    Mutant(
        "paid-order-can-get-other-items",
        ORDER,
        "Items may change when the order is paid for.",
        (
            Edit(
                "order_service.lifecycle",
                "ITEMS_MAY_CHANGE = frozenset({OrderState.ORDER_STATE_PLACED})",
                "ITEMS_MAY_CHANGE = frozenset({OrderState.ORDER_STATE_PLACED, OrderState.ORDER_STATE_PAID})",
            ),
        ),
        caught_by="refusals/items_change_only_while_placed",
    ),
    Mutant(
        "total-loses-its-cents",
        ORDER,
        "The total is rounded down to whole euros.",
        (Edit("contract.money", "nanos=rest", "nanos=0"),),
        caught_by="orders/the_total_is_the_exact_sum_of_the_items",
    ),
    Mutant(
        "total-stays-when-items-change",
        ORDER,
        "An order with other items costs what it cost before.",
        (Edit("order_service.lifecycle", "order.total.CopyFrom(total(order.items))", "pass"),),
        caught_by="orders/the_total_is_the_exact_sum_of_the_items",
    ),
    Mutant(
        "batch-results-are-swapped",
        ORDER,
        "The results of a batch come in another order than its requests.",
        (
            Edit(
                "order_service.service",
                "around(_result(result)) for result in results",
                "around(_result(result)) for result in results[::-1]",
            ),
        ),
        caught_by="refusals/a_taken_order_id_is_refused",
    ),
    Mutant(
        "batch-fails-as-a-whole",
        ORDER,
        "One order that is refused fails the whole batch.",
        (
            Edit(
                "order_service.service",
                "results = await self._create(request.requests, context)",
                "results = await self._create(request.requests, context)\n"
                "for result in results:\n"
                "    if isinstance(result, Refused):\n"
                "        raise result",
            ),
        ),
        caught_by="refusals/a_taken_order_id_is_refused",
    ),
)
