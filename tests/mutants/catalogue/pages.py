"""Pages that skip, repeat, mix or grow."""

from tests.mutants.mutant import LISTENER_2, ORDER, PRODUCT, Edit, Mutant

MUTANTS = (
    Mutant(
        "page-skips-an-entry",
        ORDER,
        "A page begins behind the entry after the last one's end.",
        (Edit("contract.pages", "str(taken[-1][0])", "str(found[len(taken)][0])"),),
        caught_by="pages/pages_of_any_size_cover_everything_once",
    ),
    Mutant(
        "page-repeats-an-entry",
        PRODUCT,
        "A page begins with the entry the last one ended with.",
        (Edit("contract.pages", "str(taken[-1][0])", "str(taken[max(len(taken) - 2, 0)][0])"),),
        caught_by="pages/pages_of_products_cover_everything_once",
    ),
    Mutant(
        "token-of-another-query-is-taken",
        ORDER,
        "A page_token goes on in whatever list it is shown to.",
        (Edit("contract.pages", "+ filters.SerializeToString(deterministic=True)", ""),),
        caught_by="pages/a_token_of_another_query_is_refused",
    ),
    Mutant(
        "invented-token-is-taken",
        LISTENER_2,
        "A page_token is decoded without a look at who gave it out.",
        (
            Edit("contract.pages", "raise refuse(ErrorReason.PAGE_TOKEN_INVALID) from None", "return None"),
            Edit("contract.pages", "if token(query, key) != query.page_token or str(found)", "if str(found)"),
        ),
        caught_by="pages/a_token_that_was_not_given_out_is_refused",
    ),
    Mutant(
        "page-size-is-not-lowered",
        ORDER,
        "A page has as many entries as were asked for.",
        (
            Edit(
                "contract.pages",
                "return min(query.page_size or DEFAULT_SIZE, MAXIMUM_SIZE)",
                "return query.page_size or DEFAULT_SIZE",
            ),
        ),
        caught_by="pages/a_page_has_50_entries_by_default_and_500_at_most",
    ),
    Mutant(
        "state-is-no-filter",
        ORDER,
        "A list by state has orders in other states as well.",
        (Edit("order_service.store", "if query.state:", "if False:"),),
        caught_by="pages/a_filter_leaves_only_what_fits",
    ),
)
