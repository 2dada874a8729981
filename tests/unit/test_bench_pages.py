"""Pages of benchmarks: text, from the figures and nothing else."""

import re
from typing import Any

import pytest

from benchmarks.documents import BLOCKS, PAGE, written
from benchmarks.figures import Figures
from benchmarks.goals import judged
from benchmarks.profiling import owner, shares


def measured() -> Figures:
    """A little of everything."""
    measured = Figures()
    for name in ("relay", "pika.publish", "consumer", "pika.consume", "growth.stored.1000", "growth.stored.1000.empty"):
        measured.add(name, 1000.0, "events/s", "some guarantee")
    measured.add_processor("pipeline.64", {"order_service": 250e-6, "client": 150e-6}, "µs/order", "")
    measured.add_processor("pipeline.512.batch64", {"order_service": 60e-6, "client": 20e-6}, "µs/order", "")
    measured.add_processor("echo.64", {"server": 50e-6, "client": 50e-6}, "µs/call", "")
    for name, seconds in (("guaranteed", 800e-6), ("careless", 400e-6)):
        measured.add_processor(f"plain.{name}", {"client": seconds}, "µs/order", "")
        measured.add_processor(f"plain.{name}.ours", {"client": 200e-6}, "µs/order", "")
    for name, p50 in (("two_hops", 2.0), ("two_hops.durable", 3.0), ("place_order", 4.5)):
        measured.add(f"{name}.p50", p50, "ms")
    measured.add_processor("idle", {"order_service": 2500e-6}, "µs/s", "")
    return measured


def document(measured: Figures) -> dict[str, Any]:
    """A result file's content."""
    return {
        "date": "2026-01-31T12:00:00+00:00",
        "mode": "quick",
        "seconds": 120.0,
        "load_before": 0.1,
        "interpreter": {"build": "built with PGO", "loop_ms": 30.0, "loop": "uvloop"},
        **judged(measured),
        "machine": {"processor": "one", "cores": 2, "memory_mb": 4096, "system": "Linux"},
        "versions": {"python": "3.11"},
        "profile": {"order_service": {"asyncio": 0.5}},
        "figures": measured.document(),
        "series": measured.series,
    }


def test_the_page_has_a_block_for_everything_and_keeps_its_prose() -> None:
    """Figures are replaced between their marks, again and again; words around them stay."""
    page = PAGE.read_text(encoding="utf-8")
    once = written(page, document(measured()))
    assert set(re.findall(r"<!-- figures: (\w+) -->", page)) == set(BLOCKS)
    assert written(once, document(measured())) == once
    assert "| order service | 250 | asyncio 125 |" in once
    assert "| client | 150 | – | 20 | 50 | – |" in once
    assert "| the floor: both together | 160 | 0.62 |" in once
    assert "| which is over the floor by | 240 | 150% of it |" in once
    assert "| the floor: two hops, a durable commit in each | 3.00 | 1.50 | 1.00 |" in once
    assert "| with the same guarantees | 4.00 | 10.00 |" in once
    assert "| without the guarantees | 2.00 | 5.00 |" in once
    assert "| PlaceOrder | 4.50 | 2.25 | 1.50 |" in once
    assert "| the rest of PlaceOrder adds | 1.50 | 0.75 | |" in once
    assert "| of which the goal has room for | 1.00 | 0.50 | |" in once
    assert "idle system uses 2 ms of processor time a second" in once
    assert "baselines: uvloop. The interpreter was built with PGO;" in once
    assert re.sub(r"(?s)<!-- figures: .*?<!-- end -->", "", once) == re.sub(
        r"(?s)<!-- figures: .*?<!-- end -->", "", page
    )


def test_what_was_not_measured_says_so() -> None:
    """A page of nothing is a page, without figures of another run."""
    once = written(PAGE.read_text(encoding="utf-8"), {**document(Figures()), "profile": {}})
    assert "Not measured in this run." in once
    assert "not measured" in once


def test_a_block_nobody_knows_is_an_error() -> None:
    """A typing error in the page does not leave old figures there."""
    with pytest.raises(KeyError):
        written("<!-- figures: nonsense -->\n<!-- end -->", document(measured()))


@pytest.mark.parametrize(
    ("frame", "whose"),
    [
        ("_on_confirm (ordersys/runtime/rabbitmq/connection.py:12)", "ordersys/runtime/rabbitmq/connection"),
        (
            "handle (/x/lib/python3.11/site-packages/../ordersys/runtime/rpc/server.py:150)",
            "ordersys/runtime/rpc/server",
        ),
        ("_run_once (asyncio/base_events.py:1922)", "asyncio"),
        ("do_execute (sqlalchemy/engine/default.py:952)", "sqlalchemy"),
        ("format (logging/__init__.py:1)", "logging"),
        ("run (threading.py:982)", "threading"),
        ("check_Order (<check of ordersys.api.order.v1.Order>:12)", "ordersys/contract/checks"),
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
