"""The measurements with identities: a part of a run, and the goal that limits what they cost."""

from typing import Any

import pytest

from benchmarks import identities, measurements, results
from benchmarks.documents import BLOCKS
from benchmarks.figures import Figures
from benchmarks.goals import judged
from benchmarks.options import options

_FACTS = {
    "date": "2026-01-31T12:00:00+00:00",
    "mode": "full",
    "load_before": 0.1,
    "machine": {"processor": "one", "cores": 2, "memory_mb": 4096},
}


def paired(services: float) -> Figures:
    """The figures of a run of S16: as many microseconds of the services with identities, and 1,000 without."""
    figures = Figures()
    for name, micros in (("without", 1_000.0), ("with", services)):
        figures.add_processor(f"identities.{name}", {"order_service": micros / 1e6, "client": 2e-4}, "µs/order", "")
        figures.add(f"processor.identities.{name}.services", micros, "µs/order")
        figures.add(f"processor.identities.{name}.services_and_client", micros + 200, "µs/order")
    return figures


def document(figures: Figures, **more: Any) -> dict[str, Any]:
    """A result file's content, as far as it is needed here."""
    return {**judged(figures), "figures": figures.document(), "series": {}, **more}


@pytest.mark.parametrize(("micros", "met"), [(1_150.0, True), (1_160.0, False)])
def test_identities_may_cost_the_services_so_much_and_no_more(micros: float, met: bool) -> None:
    """The client is shown beside: it is not ours to judge."""
    goal = judged(paired(micros))["S16"]
    assert (goal["value"], goal["met"]) == (micros / 1_000, met)
    beside = goal["parts"][1]
    assert (beside["value"], beside["judges"]) == ((micros + 200) / 1_200, False)


def test_their_cost_is_measured_by_itself_and_takes_the_place_of_that_before() -> None:
    """Everything else in the latest result stays."""
    before = Figures()
    for name in ("relay", "identities.with", "processor.identities.without.services", "distance.trips"):
        before.add(name, 7.0, "1")
    part = document(paired(1_100.0), identities=_FACTS)
    latest = document(before, postgresql={"version": "18.1"})
    merged = results.merged(latest, part, "identities", identities.FIGURES)
    assert merged["figures"].keys() == {"relay", "distance.trips", *part["figures"]}
    assert (merged["identities"], merged["postgresql"]) == (_FACTS, {"version": "18.1"})
    assert (merged["S16"]["value"], merged["S15"]["value"]) == (1.1, 7.0)


def test_the_page_says_which_machine_measured_them() -> None:
    """It may be another than that of the other figures."""
    latest = document(paired(1_100.0), identities=_FACTS)
    assert BLOCKS["identities"](latest) == "Measured 2026-01-31 (full, load before 0.1): one, 2 cores, 4 GB."
    table = BLOCKS["processor_identities"](latest)
    assert "| process | without identities | with identities |" in table
    assert "| order service | 1,000 | 1,100 |" in table
    assert "| all | 1,200 | 1,300 |" in table


def test_a_run_is_of_everything_or_of_one_part(capsys: pytest.CaptureFixture[str]) -> None:
    """The progress bar counts what is measured."""
    assert options([]).whole
    alone = options(["--only-secured", "--quick"])
    assert not alone.whole
    assert measurements.count(alone) == identities.COUNT < measurements.count(options([]))
    with pytest.raises(SystemExit):
        options(["--only-secured", "--only-postgresql"])
    assert "not allowed with" in capsys.readouterr().err
