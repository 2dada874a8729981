"""Sagas that are cut in two, end too early, or never."""

from tests.mutants.mutant import PRODUCT, Edit, Mutant

_MAIN = "product_service.__main__"
_NO_RECOVERY_OF_PLACEMENTS = Edit(_MAIN, '("recovery of placements", settings.sweep_seconds, placement.recover),', "")
_NO_RECOVERY_OF_CHANGES = Edit(_MAIN, '("recovery of changes", settings.sweep_seconds, changes.recover),', "")

MUTANTS = (
    Mutant(
        "placements-are-not-recovered",
        PRODUCT,
        "A placement whose outcome stayed open is never looked at again unless its client repeats it.",
        (_NO_RECOVERY_OF_PLACEMENTS,),
        caught_by="saga/what_nobody_repeats_is_resolved_all_the_same",
    ),
    Mutant(
        "changes-are-not-recovered",
        PRODUCT,
        "A change whose outcome stayed open is never looked at again unless its client repeats it.",
        (_NO_RECOVERY_OF_CHANGES,),
        caught_by="given_up/a_change_nobody_repeats_is_made_all_the_same",
    ),
    Mutant(
        "cancelled-call-cuts-its-saga",
        PRODUCT,
        "A call that is cancelled ends in the middle of its saga, and nothing takes it up again.",
        (
            Edit("product_service.saga", "return await asyncio.shield(task)", "return await task"),
            _NO_RECOVERY_OF_PLACEMENTS,
            _NO_RECOVERY_OF_CHANGES,
        ),
        caught_by="given_up/a_change_given_up_is_made_all_the_same",
    ),
    Mutant(
        "open-outcome-releases-the-stock",
        PRODUCT,
        "When the Order Service does not answer, what was reserved is released at once.",
        (
            Edit(
                "product_service.placement",
                "return isinstance(result, Refused) and not isinstance(result, OutcomeOpen)",
                "return isinstance(result, Refused)",
            ),
        ),
        caught_by="saga/silence_leaves_the_outcome_open_and_the_stock_held",
    ),
    Mutant(
        "refused-creation-keeps-its-reservation",
        PRODUCT,
        "When the Order Service refuses an order for good, its stock stays held.",
        (
            Edit(
                "product_service.placement",
                "await self._database.write_each(store.compensate, [pending[index] for index in refused])",
                "[None] * len(refused)",
            ),
        ),
        caught_by="saga/a_final_refusal_gives_the_stock_back",
    ),
    Mutant(
        "refused-change-keeps-its-reservation",
        PRODUCT,
        "When the Order Service refuses a change for good, what was reserved for it stays held.",
        (Edit("product_service.change", "await self._database.write(endings.compensate, pending)", "pass"),),
        caught_by="refused_changes/a_refused_change_leaves_nothing_behind",
    ),
    Mutant(
        "every-try-is-a-new-request",
        PRODUCT,
        "A creation tried again after a lost reply has another request_id.",
        (
            Edit(
                "product_service.placement",
                "created = await self._orders.create([one.creation for one in pending])",
                "for one in pending:\n"
                "    one.creation.request_id = str(__import__('uuid').uuid4())\n"
                "created = await self._orders.create([one.creation for one in pending])",
            ),
        ),
        caught_by="saga/an_order_wanted_by_nobody_else_is_asked_for_under_one_id",
    ),
    Mutant(
        "change-is-answered-with-another",
        PRODUCT,
        "Who changes an order while another change of it is under way is answered with that one.",
        (
            Edit(
                "product_service.change",
                "async with self._turns.turn(request.order_id):\n"
                "    return await self._make_in_turn(request, traceparent, response)",
                "async def make(_: object) -> Response:\n"
                "    return await self._make_in_turn(request, traceparent, response)\n"
                "return await self._sagas.once(request.order_id, make, None)",
            ),
        ),
        caught_by="concurrency/every_change_of_a_crowd_is_answered_with_itself",
    ),
    Mutant(
        "status-code-decides",
        PRODUCT,
        "What the Order Service answers is taken for final by its status code, whoever says it.",
        (
            Edit(
                "product_service.orders",
                "if is_final(status):",
                "if is_final(status) or status.code in (3, 5, 6, 9, 10, 11):",
            ),
        ),
        caught_by="saga/a_status_without_a_reason_leaves_the_outcome_open",
    ),
    Mutant(
        "order-that-exists-is-compensated",
        PRODUCT,
        "When the Order Service has forgotten a creation and refuses its repeat, the stock of the order is released.",
        (
            Edit(
                "product_service.placement",
                "    created[index] = result",
                "    pass",
            ),
        ),
        caught_by="saga/no_outage_is_too_long_for_an_order_that_exists",
    ),
    Mutant(
        "change-that-was-made-is-compensated",
        PRODUCT,
        "When the Order Service has forgotten a change and refuses its repeat, the stock does not follow the change.",
        (Edit("product_service.change", "if pending.resumed else None", "if False else None"),),
        caught_by="saga/no_outage_is_too_long_for_a_change_that_was_made",
    ),
    Mutant(
        "change-overtakes-its-placement",
        PRODUCT,
        "A cancellation that comes before its placement is completed leaves the placement's request open for ever.",
        (
            Edit("product_service.store.changes", "if order_id in self._unplaced:", "if False:"),
            Edit(
                "product_service.store.placements",
                "return _pending(rows[0]) if rows else Unanswered(request_id, order_id)",
                "return _pending(rows[0])",
            ),
        ),
        caught_by="saga/a_change_that_overtakes_its_placement_waits_for_it",
    ),
)
