"""Stock that appears, vanishes or is sold twice."""

from tests.mutants.mutant import PRODUCT, Edit, Mutant

MUTANTS = (
    Mutant(
        "cancelled-order-keeps-its-stock",
        PRODUCT,
        "What an order held does not come back when it is cancelled.",
        (
            Edit(
                "product_service.store.endings",
                "return {} if hop.state == OrderState.ORDER_STATE_CANCELLED else held",
                "return held",
            ),
        ),
        caught_by="saga/less_is_released_only_when_the_order_service_has_accepted",
    ),
    Mutant(
        "released-stock-comes-back-twice",
        PRODUCT,
        "Each unit released makes two available.",
        (
            Edit(
                "product_service.stock",
                "_move(stock[product_id], -units)",
                "Stock(stock[product_id].available + 2 * units, stock[product_id].held - units)",
            ),
        ),
        caught_by="saga/less_is_released_only_when_the_order_service_has_accepted",
    ),
    Mutant(
        "update-takes-everything-again",
        PRODUCT,
        "An update subtracts all it wants, not the difference to what the order holds.",
        (
            Edit(
                "product_service.store.changes",
                "return more(_wanted(asked.request), self._holdings.get(asked.order.id, {}))",
                "return _wanted(asked.request)",
            ),
            Edit(
                "product_service.store.endings",
                "held = plus(self._holdings.get(order.id, {}), pending.reserved)",
                "held = pending.reserved or self._holdings.get(order.id, {})",
            ),
        ),
        caught_by="saga/more_is_reserved_before_the_order_service_is_asked",
    ),
    Mutant(
        "update-needs-twice-the-stock",
        PRODUCT,
        "While an update is under way, it holds the old items and all of the new ones.",
        (
            Edit(
                "product_service.store.changes",
                "return more(_wanted(asked.request), self._holdings.get(asked.order.id, {}))",
                "return _wanted(asked.request)",
            ),
        ),
        caught_by="saga/more_is_reserved_before_the_order_service_is_asked",
    ),
    Mutant(
        "update-gives-nothing-back",
        PRODUCT,
        "What an order needs no more after an update stays held.",
        (
            Edit(
                "product_service.store.endings",
                "self._released.append(more(held, kept))",
                "self._released.append(more(held, kept) if not kept else {})",
            ),
        ),
        caught_by="saga/less_is_released_only_when_the_order_service_has_accepted",
    ),
    Mutant(
        "checked-first-reserved-later",
        PRODUCT,
        "Placements that come at once are all checked against the stock as it was before any of them.",
        (
            Edit(
                "product_service.store.shelf",
                "return [Shortage(**short._asdict()) for short in shortages(self._stock, wanted)]",
                'before = {key: Stock(row["available"], row["held"]) for key, row in self._rows.items()}\n'
                "return [Shortage(**short._asdict()) for short in shortages(before, wanted)]",
            ),
            Edit("product_service.stock", "if min(stock) < 0:", "if stock.held < 0:"),
        ),
        caught_by="concurrency/the_last_unit_is_sold_once",
    ),
    Mutant(
        "refused-placement-takes-what-there-is",
        PRODUCT,
        "A placement refused for want of one product keeps the others reserved.",
        (
            Edit(
                "product_service.store.placements",
                "outcome = refusal(out_of_stock(short))",
                "gone = {shortage.product_id for shortage in short}\n"
                "kept = [item for item in asked.request.items if item.product_id not in gone]\n"
                "self._shelf.reserve({item.product_id: item.quantity for item in kept})\n"
                "outcome = refusal(out_of_stock(short))",
            ),
        ),
        caught_by="refusals/want_of_stock_names_each_product_and_takes_nothing",
    ),
    Mutant(
        "adjustment-stops-at-zero",
        PRODUCT,
        "An adjustment that would take more than there is takes what there is, and succeeds.",
        (
            Edit("product_service.store.products", "if request.delta < 0 and (short :=", "if False and (short :="),
            Edit("product_service.stock", "Stock(stock.available + delta,", "Stock(max(stock.available + delta, 0),"),
        ),
        caught_by="refusals/stock_never_falls_below_zero",
    ),
    Mutant(
        "price-is-read-again",
        PRODUCT,
        "An item that stays in an order gets today's price of its product.",
        (
            Edit(
                "product_service.store.changes",
                "price = prices.get(item.product_id) or self._shelf.price(item.product_id)",
                "price = self._shelf.price(item.product_id)",
            ),
        ),
        caught_by="orders/an_item_that_stays_keeps_the_price_it_was_ordered_at",
    ),
)
