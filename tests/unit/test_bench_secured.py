"""The measurements with identities: a run of its own, a part of another, and the goal that limits what they cost."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks import identities, measurements, results
from benchmarks.bench import Bench
from benchmarks.documents import BLOCKS, written
from benchmarks.figures import Figures
from benchmarks.goals import SERVICES, judged
from benchmarks.observing import Unsound
from benchmarks.options import options
from benchmarks.pipeline import placed
from benchmarks.plan import QUICK
from benchmarks.systems import Measured
from ordersys.identity.authority import Authority
from ordersys.identity.files import UnusableFile
from ordersys.local import identities as local
from ordersys.local.rabbitmq import Node
from ordersys.local.system import Choices, System

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
    secured = options(["--secure", "--quick"])
    assert not secured.whole
    assert measurements.count(secured) < measurements.count(options([]))
    for other in ("--only-postgresql", "--secure", "--only-docs"):
        with pytest.raises(SystemExit):
            options(["--only-secured", other])
        assert "not allowed with" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        options(["--secure", "--peers"])
    assert "--peers: not allowed with argument --secure" in capsys.readouterr().err


def placing(order: float, memory: float = 90.0) -> Figures:
    """Of S1 and S7: an order that costs as many microseconds, where an empty call costs 400; services in MB."""
    figures = Figures()
    figures.add("processor.pipeline.64", order, "µs/order")
    figures.add("processor.echo.64", 400.0, "µs/call")
    for service in SERVICES:
        figures.add(f"memory.after_few.{service}", memory, "MB")
        figures.add(f"memory.after_many.{service}", memory, "MB")
    return figures


_PAGE = """<!-- figures: secured -->
<!-- end -->
<!-- figures: goals -->
<!-- end -->
"""


def rows(page: str, name: str) -> list[list[str]]:
    """The lines of a goal in the table, by their cells."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    first = next(index for index, line in enumerate(lines) if line[0] == name)
    after = next((index for index, line in enumerate(lines) if index > first and line[0]), len(lines))
    return lines[first:after]


def test_beside_each_value_stands_that_with_identities() -> None:
    """Also whether it misses the goal; a dash where it was not measured, and no figure of another line."""
    page = written(_PAGE, document(placing(1_000)), {**document(placing(1_600, 104.0)), **_FACTS})
    assert "Measured 2026-01-31 (full, load before 0.1): one, 2 cores, 4 GB." in page
    first, clock, *_ = rows(page, "S1")
    assert first[3:] == ["0.4", "≥ 0.38", "met", "0.25 **missed**"]
    assert clock[3:] == ["–", "≥ 0.35", "not measured", "–"]
    assert [line[-1] for line in rows(page, "S7")] == ["1", "104 **missed**"]
    assert {line[-1] for line in rows(page, "S16")} == {"–"}


def test_a_value_with_identities_that_decides_nothing_misses_nothing() -> None:
    """As the line itself: it is shown beside."""
    figures = placing(1_000)
    figures.add("processor.echo.64.other_loop", 100.0, "µs/call")
    page = written(_PAGE, document(placing(1_000)), {**document(figures), **_FACTS})
    assert rows(page, "S1")[2][-1] == "0.1"


def test_a_line_that_has_changed_since_takes_no_figure_of_the_old_one() -> None:
    """Lines are known by their figures, not by their place."""
    secured = {**document(placing(1_600)), **_FACTS}
    secured["S1"]["parts"].reverse()
    assert rows(written(_PAGE, document(placing(1_000)), secured), "S1")[0][-1] == "0.25 **missed**"
    secured["S1"]["parts"] = [{**part, "base": ["processor.echo.1"]} for part in secured["S1"]["parts"]]
    assert rows(written(_PAGE, document(placing(1_000)), secured), "S1")[0][-1] == "–"


def test_without_a_run_with_identities_its_column_is_empty() -> None:
    """And says so."""
    page = written(_PAGE, document(placing(1_000)))
    assert "Not measured." in page
    assert {line[-1] for name in ("S1", "S7") for line in rows(page, name)} == {"–"}


def test_a_run_with_identities_leaves_the_latest_without_them(tmp_path: Path) -> None:
    """Its figures are no news of those."""
    results.write({"date": "without"}, "2026-01-31T12:00:00+00:00", tmp_path)
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    assert results.write_secured({"date": "with"}, tmp_path) == tmp_path / "secured.json"
    assert {path: path.read_text() for path in tmp_path.iterdir() if path.name != "secured.json"} == before


class Asked:
    """A load that notes the requests it gets, and makes no call."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def ask(self, **request: Any) -> dict[str, Any]:
        """Notes the request, as text: it has to be JSON."""
        self.requests.append(json.loads(json.dumps(request)))
        return {"failed": {}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The load of `bench`, and tokens that are renewed each time somebody looks after them."""
    monkeypatch.setattr(local, "_RENEW_SECONDS", 0.0)
    return Asked()


@pytest.fixture
def bench(asked: Asked, tmp_path: Path) -> Bench:
    """As far as a round of load needs it."""
    parts: dict[str, Any] = dict.fromkeys(("terminal", "guard", "stack"))
    return Bench(plan=QUICK, folder=tmp_path, loop="uvloop", figures=Figures(), load=cast("Any", asked), **parts)


def measured(folder: Path, secure: bool) -> Measured:
    """A system that does not run, at an address."""
    choices = Choices(addresses={"product_service": "127.0.0.1:9"}, secure=secure)
    system = System(folder, lambda name: nullcontext(lambda word: None), choices)
    if secure:
        system.identities = local.Identities(folder / "identity")
    return Measured(system, catalogue=50, node=cast("Node", None))


def test_a_round_is_asked_for_with_paths_and_without_a_token(bench: Bench, asked: Asked, tmp_path: Path) -> None:
    """The load reads the files itself."""
    system = measured(tmp_path, secure=True)
    placed(bench, system, in_flight=1)
    (request,) = asked.requests
    folder = tmp_path / "identity"
    files = {str(folder / "ca.pem"), str(folder / "tokens" / "operator.token")}
    assert {*request["identity"].values()} == files
    assert request["service"] == "product-service"
    assert (folder / "tokens" / "operator.token").read_text().strip() not in str(request)


def test_without_identities_a_round_is_in_clear(bench: Bench, asked: Asked, tmp_path: Path) -> None:
    """Nothing is renewed, and nobody is named."""
    placed(bench, measured(tmp_path, secure=False), in_flight=1)
    (request,) = asked.requests
    assert (request["service"], request["identity"]) == ("", {})


def test_tokens_are_renewed_before_a_round(bench: Bench, asked: Asked, tmp_path: Path) -> None:
    """They last an hour, and a run may take longer."""
    system = measured(tmp_path, secure=True)
    token = tmp_path / "identity" / "tokens" / "operator.token"
    token.unlink()
    placed(bench, system, in_flight=1)
    assert token.read_text().count(".") == 2


def test_a_run_ends_where_tokens_can_not_be_renewed(
    bench: Bench, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and not with refused calls later."""
    system = measured(tmp_path, secure=True)

    def fail(*_: object) -> None:
        raise UnusableFile("the folder is full")

    monkeypatch.setattr(Authority, "write_token", fail)
    with pytest.raises(Unsound, match="the folder is full"):
        placed(bench, system, in_flight=1)
    assert asked.requests == []
