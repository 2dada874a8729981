"""Sagas that are cut in two, end too early, or never."""

from tests.mutants.mutant import PRODUCT, Edit, Mutant

_MAIN = "product_service.__main__"
_NO_SWEEP_OF_PLACEMENTS = Edit(_MAIN, '("sweep of placements", settings.sweep_seconds, placement.sweep),', "")
_NO_SWEEP_OF_CHANGES = Edit(_MAIN, '("sweep of changes", settings.sweep_seconds, changes.sweep),', "")

MUTANTS = (
    Mutant(
        "placements-are-not-swept",
        PRODUCT,
        "A placement whose outcome stayed open is never looked at again unless its client repeats it.",
        (_NO_SWEEP_OF_PLACEMENTS,),
        caught_by="saga/what_nobody_repeats_is_resolved_all_the_same",
    ),
    Mutant(
        "changes-are-not-swept",
        PRODUCT,
        "A change whose outcome stayed open is never looked at again unless its client repeats it.",
        (_NO_SWEEP_OF_CHANGES,),
        caught_by="given_up/a_change_nobody_repeats_is_made_all_the_same",
    ),
    Mutant(
        "cancelled-call-cuts-its-saga",
        PRODUCT,
        "A call that is cancelled ends in the middle of its saga, and nothing takes it up again.",
        (
            Edit("product_service.saga", "return await asyncio.shield(task)", "return await task"),
            _NO_SWEEP_OF_PLACEMENTS,
            _NO_SWEEP_OF_CHANGES,
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
                "await _each(self._database.write(store.take_back, pending[index]) for index in refused)",
                "[None] * len(refused)",
            ),
        ),
        caught_by="saga/a_definite_refusal_gives_the_stock_back",
    ),
    Mutant(
        "refused-change-keeps-its-reservation",
        PRODUCT,
        "When the Order Service refuses a change for good, what was reserved for it stays held.",
        (Edit("product_service.change", "await self._database.write(endings.take_back, pending)", "pass"),),
        caught_by="refused_changes/a_refused_change_leaves_nothing_behind",
    ),
    Mutant(
        "every-try-is-a-new-request",
        PRODUCT,
        "A creation tried again after a lost reply has another request_id.",
        (
            Edit(
                "product_service.placement",
                "created = await _each(self._orders.create(one.creation) for one in pending)",
                "for one in pending:\n"
                "    one.creation.request_id = str(__import__('uuid').uuid4())\n"
                "created = await _each(self._orders.create(one.creation) for one in pending)",
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
                "await self._wait_for(begun.pending)\ncontinue",
                "begun = begun.pending",
            ),
        ),
        caught_by="concurrency/every_change_of_a_crowd_is_answered_with_itself",
    ),
)
