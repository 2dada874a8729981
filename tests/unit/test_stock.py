"""The rules of stock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.product_service.stock import Stock, adjust, more, plus, release, reserve, shortages

UNITS = st.integers(0, 50)
PRODUCTS = st.sampled_from("abcd")
SHELVES = st.fixed_dictionaries({product: st.builds(Stock, UNITS, UNITS) for product in "abcd"})
WANTED = st.dictionaries(PRODUCTS, st.integers(1, 60))


def total(shelf: dict[str, Stock]) -> dict[str, int]:
    return {product: stock.available + stock.held for product, stock in shelf.items()}


@given(SHELVES, WANTED)
def test_reserving_conserves_the_stock_of_every_product(shelf: dict[str, Stock], wanted: dict[str, int]) -> None:
    """Available + held of each product is the same before and after a reservation."""
    if not shortages(shelf, wanted):
        assert total(shelf | reserve(shelf, wanted)) == total(shelf)


@given(SHELVES, WANTED)
def test_releasing_undoes_reserving(shelf: dict[str, Stock], wanted: dict[str, int]) -> None:
    """A reservation that is released leaves the stock as if nothing had happened."""
    if not shortages(shelf, wanted):
        reserved = shelf | reserve(shelf, wanted)
        assert reserved | release(reserved, wanted) == shelf


@given(SHELVES, WANTED)
def test_a_shortage_names_each_product_there_is_not_enough_of(shelf: dict[str, Stock], wanted: dict[str, int]) -> None:
    """Exactly the products of which more is asked than available are short, with both figures."""
    short = {s.product_id: (s.asked, s.available) for s in shortages(shelf, wanted)}
    assert short == {p: (n, shelf[p].available) for p, n in wanted.items() if n > shelf[p].available}


@given(SHELVES, WANTED)
def test_nothing_falls_below_zero(shelf: dict[str, Stock], wanted: dict[str, int]) -> None:
    """Reserving what is not there is an error of the caller, never a negative stock."""
    if shortages(shelf, wanted):
        with pytest.raises(ValueError, match="below zero"):
            reserve(shelf, wanted)


@given(st.builds(Stock, UNITS, UNITS), st.integers(-60, 60))
def test_an_adjustment_changes_the_available_units_only(stock: Stock, delta: int) -> None:
    """Units that are held stay held, and nothing falls below zero."""
    if stock.available + delta < 0:
        with pytest.raises(ValueError, match="below zero"):
            adjust(stock, delta)
    else:
        assert adjust(stock, delta) == (stock.available + delta, stock.held)


@given(WANTED, WANTED)
def test_what_is_needed_more_and_what_is_needed_less_make_up_the_difference(
    wanted: dict[str, int], held: dict[str, int]
) -> None:
    """held + what is needed more = wanted + what is needed no more."""
    assert plus(held, more(wanted, held)) == plus(wanted, more(held, wanted))
