"""What benchmarks show: pictures and a page, from the figures and nothing else."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.chart import Axis, bars, decades, lines, round_ticks
from benchmarks.documents import BLOCKS, PAGE, written
from benchmarks.figures import Figures
from benchmarks.goals import judged
from benchmarks.pictures import pictures
from benchmarks.profiling import owner, shares


def measured() -> Figures:
    """A little of everything."""
    found = Figures()
    for name in ("relay", "pika.publish", "consumer", "pika.consume", "growth.stored.1000", "growth.stored.1000.empty"):
        found.add(name, 1000.0, "events/s", "some guarantee")
    found.add("processor.order_service", 250.0, "µs/order")
    for name in ("two_hops", "place_order.low", "place_order.half", "place_order.64"):
        found.series[f"latency.{name}"] = [(0.0, 1.0), (50.0, 2.0), (99.0, 9.0)]
    for name in ("echo", "place_order", "pipeline"):
        found.series[f"concurrency.{name}"] = [(1.0, 100.0), (64.0, 900.0)]
    found.series["memory.order_service"] = [(500.0, 60.0), (1000.0, 61.0)]
    return found


def document(found: Figures) -> dict[str, Any]:
    """A result file's content."""
    return {
        "date": "2026-01-31T12:00:00+00:00",
        "mode": "quick",
        "seconds": 120.0,
        "load_before": 0.1,
        **judged(found),
        "machine": {"processor": "one", "cores": 2, "memory_mb": 4096, "system": "Linux"},
        "versions": {"python": "3.11"},
        "profile": {"order_service": {"asyncio": 0.5}},
        "figures": found.document(),
        "series": found.series,
    }


@pytest.mark.parametrize(("name", "picture"), list(pictures(measured())))
def test_a_picture_is_svg_that_adapts_to_light_and_dark(name: str, picture: str) -> None:
    """Well formed, with a title, and a second set of colours."""
    root = ElementTree.fromstring(picture)  # noqa: S314 - our own
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert "prefers-color-scheme: dark" in picture


def test_there_is_no_picture_of_what_was_not_measured() -> None:
    """Rather none than an empty one."""
    assert dict(pictures(Figures())) == {}
    assert {name for name, _ in pictures(measured())} == {"latency", "concurrency", "growth", "memory", "events"}


def test_what_stands_in_a_picture_is_escaped() -> None:
    """A name is text, never markup."""
    ElementTree.fromstring(bars("a < b & c", "x", [("<script>", 1.0, True)]))  # noqa: S314 - our own
    axis = Axis("x", [0.0, 1.0])
    ElementTree.fromstring(lines("<", axis, axis, {"&": [(0.0, 0.0)]}))  # noqa: S314 - our own


@settings(deadline=None)
@given(st.floats(0.01, 1e7))
def test_ticks_hold_what_is_drawn(highest: float) -> None:
    """Nothing is drawn outside."""
    assert round_ticks(highest)[-1] >= highest
    assert 2 <= len(round_ticks(highest)) <= 12
    assert decades([highest / 7, highest])[0] <= highest / 7 * 1.001
    assert decades([highest / 7, highest])[-1] >= highest * 0.999


def test_the_page_has_a_block_for_everything_and_keeps_its_prose() -> None:
    """Figures are replaced between their marks, again and again; words around them stay."""
    page = PAGE.read_text(encoding="utf-8")
    once = written(page, document(measured()))
    assert set(re.findall(r"<!-- figures: (\w+) -->", page)) == set(BLOCKS)
    assert written(once, document(measured())) == once
    assert "| order service | 250 | asyncio 125 |" in once
    assert re.sub(r"(?s)<!-- figures: .*?<!-- end -->", "", once) == re.sub(
        r"(?s)<!-- figures: .*?<!-- end -->", "", page
    )


def test_a_block_nobody_knows_is_an_error() -> None:
    """A typing error in the page does not leave old figures there."""
    with pytest.raises(KeyError):
        written("<!-- figures: nonsense -->\n<!-- end -->", document(measured()))


@pytest.mark.parametrize(
    ("frame", "whose"),
    [
        ("_on_confirm (ordersys/runtime/broker.py:12)", "ordersys/runtime/broker"),
        ("handle (/x/lib/python3.11/site-packages/../ordersys/runtime/server.py:150)", "ordersys/runtime/server"),
        ("_run_once (asyncio/base_events.py:1922)", "asyncio"),
        ("do_execute (sqlalchemy/engine/default.py:952)", "sqlalchemy"),
        ("format (logging/__init__.py:1)", "logging"),
        ("run (threading.py:982)", "threading"),
        ("[unknown]", "other"),
    ],
)
def test_a_frame_belongs_to_its_package_or_to_our_module(frame: str, whose: str) -> None:
    """As py-spy names frames."""
    assert owner(frame) == whose


def test_shares_are_parts_of_all_samples() -> None:
    """The innermost frame counts, the largest stands first; threads that wait use no processor."""
    waiting = [
        "Thread.run (threading.py:1);_worker (concurrent/futures/thread.py:81) 50",
        "EpollSelector.select (selectors.py:468) 9",
    ]
    lines_of = ["main (a.py:1);f (asyncio/events.py:1) 1", "main (a.py:1);g (sqlalchemy/x.py:1) 3", *waiting]
    assert shares(lines_of) == {"sqlalchemy": 0.75, "asyncio": 0.25}
