"""Judgement of benchmarks: percentiles, goals, and what counts as a change."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compare import compare, verdict
from benchmarks.figures import Figure, Figures, read
from benchmarks.goals import GOALS, Bound, judged
from benchmarks.summary import curve, percentile, uncertainty

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def figures(**rounds: list[float]) -> Figures:
    """Figures by name, a double underscore for a dot; rates, in events/s."""
    measured = Figures()
    for name, values in rounds.items():
        for value in values:
            measured.add(name.replace("__", "."), value, "events/s")
    return measured


@settings(deadline=None)
@given(VALUES, st.floats(0, 100))
def test_a_percentile_is_one_of_the_values_and_as_many_do_not_exceed_it(values: list[float], percent: float) -> None:
    """Nearest rank: enough values lie at it or below, and one rank lower would not be enough."""
    quantile = percentile(values, percent)
    assert quantile in values
    assert sum(value <= quantile for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < quantile for value in values) <= percent / 100 * len(values) + 1e-9


def test_of_no_values_there_is_no_percentile() -> None:
    """Never a number that was not measured."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@settings(deadline=None)
@given(VALUES)
def test_a_curve_rises_and_ends_near_the_largest(values: list[float]) -> None:
    """From the smallest value on, in order."""
    drawn = [value for _, value in curve(values)]
    assert drawn == sorted(drawn)
    assert drawn[0] == min(values)


def test_one_odd_round_hardly_moves_the_uncertainty() -> None:
    """A stall in one of many rounds is no reason to distrust the others."""
    assert uncertainty([100, 101, 99, 100, 5]) < 2


def test_a_goal_is_the_ratio_of_two_medians() -> None:
    """S8: from the reply to the record, against one publish."""
    judgement = judged(figures(notice__p50=[3, 4, 50], pika__one_publish__p50=[2, 2, 1]))["S8"]
    assert (judgement["value"], judgement["goal"], judgement["met"]) == (pytest.approx(2), "≤ 4", True)


def test_the_ratio_of_processor_times_says_the_same_as_that_of_rates() -> None:
    """S4: twice the processor time for an event is half as good, and the verdict rests on it; the clock is beside."""
    costs = {"processor__relay__order_service": [40.0], "processor__pika__publish__client": [20.0]}
    judgement = judged(figures(**costs, relay=[100], pika__publish=[100]))["S4"]
    processor, clock, _ = judgement["parts"]
    assert (processor["value"], processor["measure"], processor["judges"]) == (0.5, "processor time", True)
    assert (clock["value"], clock["measure"], clock["judges"]) == (1.0, "clock", False)
    assert (judgement["value"], judgement["met"]) == (0.5, False)


def test_what_only_stands_beside_needs_no_bound() -> None:
    """S2: how far from the floor an order is, and the floor itself, decide nothing, whatever they are."""
    judgement = judged(figures(place_order__p50=[3.0], two_hops__p50=[2.0], two_hops__durable__p50=[1.0]))["S2"]
    beside = {part["said"]: (part["value"], part["goal"], part["judges"]) for part in judgement["parts"]}
    assert beside["÷ two hops that commit once each, the floor"] == (3.0, "–", False)
    assert beside["the floor ÷ two-hop echo"] == (0.5, "–", False)
    assert (judgement["value"], judgement["goal"], judgement["met"]) == (1.5, "≤ 2", True)


def test_every_goal_about_a_rate_stands_in_processor_time_too() -> None:
    """For each ratio of rates there is one of processor times, held against a bound."""
    rates = {part.ours[0] for goal in GOALS for part in goal.parts if part.bound.relation == ">=" and part.base}
    by_clock = {name for name in rates if not name.startswith("processor.")}
    by_processor = {name for name in rates if name.startswith("processor.")}
    assert by_clock
    assert all(any(used.startswith(f"processor.{name}") for used in by_processor) for name in by_clock)


def test_what_was_guaranteed_stands_beside_a_goal() -> None:
    """On both sides of the ratio, as it was measured."""
    measured = Figures()
    measured.add("notice.p50", 4, "ms", "durable")
    measured.add("pika.one_publish.p50", 1, "ms", "confirmed")
    (part,) = judged(measured)["S8"]["parts"]
    assert part["with"] == {"notice.p50": "durable", "pika.one_publish.p50": "confirmed"}


def test_a_goal_is_met_when_every_part_is_that_judges() -> None:
    """S5: cheap beside pika, and half of what aio-pika needs; what stands beside decides nothing."""
    costs = {"processor__consumer__notification_service_1": [40.0], "processor__pika__consume__client": [20.0]}
    slow = {"consumer": [1.0], "pika__consume": [100.0], "aio_pika__consume": [100.0]}
    for aio_pika, met in ((80.0, True), (60.0, False)):
        goal = judged(figures(**costs, processor__aio_pika__consume__client=[aio_pika], **slow))["S5"]
        assert (goal["value"], goal["met"]) == (0.5, met)


def test_of_many_services_the_worst_counts() -> None:
    """S7: one that grows is not outweighed by three that do not."""
    (goal,) = [goal for goal in GOALS if goal.name == "S7"]
    names = [*goal.parts[0].ours, *goal.parts[0].base]
    memory = Figures()
    for name in names:
        memory.add(name, 60.0 if name == names[0] else 40.0, "MB")
    assert judged(memory)["S7"]["value"] == pytest.approx(1.5)
    assert judged(memory)["S7"]["met"] is False


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    """No figure is made up."""
    assert all((goal["value"], goal["met"]) == (None, None) for goal in judged(Figures()).values())


@pytest.mark.parametrize(("relation", "value", "met"), [(">=", 0.5, True), (">=", 0.49, False), ("<=", 0.51, False)])
def test_a_bound_includes_its_value(relation: str, value: float, met: bool) -> None:
    """≥ 0.50 is met by 0.50."""
    assert Bound(relation, 0.5).met(value) is met


def test_a_result_file_holds_all_that_was_measured() -> None:
    """Written and read again, figures and curves are the same."""
    measured = figures(relay=[1.0, 2.0])
    measured.series["latency"] = [(50.0, 1.0)]
    again = read({"figures": measured.document(), "series": measured.series})
    assert (again.document(), again.series) == (measured.document(), measured.series)


@pytest.mark.parametrize(
    ("change", "noise", "higher", "said"),
    [(0.2, 0.1, True, "better"), (0.2, 0.1, False, "worse"), (-0.2, 0.1, True, "worse"), (-0.1, 0.1, True, "same")],
)
def test_a_change_counts_beyond_the_noise_only(change: float, noise: float, higher: bool, said: str) -> None:
    """More is better for rates, less for times."""
    assert verdict(change, noise, higher) == said


def test_runs_that_differ_by_noise_alone_are_rarely_called_changed() -> None:
    """Ten percent of noise on each of five rounds: a verdict in one of twenty pairs at most."""
    draw = random.Random(1)
    pairs = [[figures(relay=[draw.gauss(100, 10) for _ in range(5)]) for _ in range(2)] for _ in range(400)]
    verdicts = [compare(before, now, same_machine=True)[0].verdict for before, now in pairs]
    assert len(verdicts) - verdicts.count("same") <= 20


def test_a_real_change_is_seen_through_the_noise() -> None:
    """A third slower, with three percent of noise."""
    before, now = figures(relay=[100, 103, 97, 101, 99]), figures(relay=[66, 68, 65, 67, 66])
    assert [change.verdict for change in compare(before, now, same_machine=True)] == ["worse"]


def test_the_processor_time_of_something_is_that_of_its_processes_together() -> None:
    """Given in seconds, kept in microseconds: of each process, and the sum of each round."""
    measured = Figures()
    measured.add_processor("relay", {"order_service": 20e-6, "rabbitmq": 80e-6}, "µs/event", "confirmed")
    assert {name: measured[name].rounds for name in measured} == {
        "processor.relay.order_service": [pytest.approx(20)],
        "processor.relay.rabbitmq": [pytest.approx(80)],
        "processor.relay": [pytest.approx(100)],
    }
    assert not measured["processor.relay"].higher_is_better


def test_on_another_machine_only_ratios_are_compared() -> None:
    """Twice as fast a machine is no merit of ours."""
    before = figures(relay=[80, 81, 79], pika__publish=[100, 101, 99])
    now = figures(relay=[160, 161, 159], pika__publish=[200, 201, 199])
    assert [(change.name[:2], change.verdict) for change in compare(before, now, same_machine=False)] == [
        ("S4", "same")
    ]


@pytest.mark.parametrize(("unit", "higher"), [("orders/s", True), ("ms", False), ("MB", False), ("µs/s", False)])
def test_rates_are_better_when_they_are_higher_and_nothing_else(unit: str, higher: bool) -> None:
    """Processor time used in each second is no rate of work."""
    assert Figure(unit).higher_is_better == higher
