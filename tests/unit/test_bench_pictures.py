"""Pictures of benchmarks."""

from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmarks.chart import bars, from_nothing, lines, svg
from benchmarks.figures import Figures
from benchmarks.pictures import pictures

_SVG = "{http://www.w3.org/2000/svg}"


def measured() -> Figures:
    """Everything there is a picture of."""
    measured = Figures()
    for name in ("relay", "pika.publish", "aio_pika.publish", "consumer", "faststream.consume", "pipeline.64"):
        measured.add(name, 123_456.0, "events/s")
    for name in ("plain.guaranteed", "plain.careless"):
        measured.add(name, 345.0, "orders/s")
    for name in ("growth.stored.1000000", "growth.waiting.large"):
        measured.add(name, 99.0, "orders/s")
        measured.add(name.replace(".large", "") + ".empty", 100.0, "orders/s")
    for name in ("two_hops", "place_order.low", "place_order.half", "place_order.64"):
        measured.series[f"latency.{name}"] = [(0.0, 1.0), (50.0, 2.0), (99.0, 900.0)]
    for name in ("echo", "place_order", "pipeline"):
        measured.series[f"concurrency.{name}"] = [(1.0, 100.0), (64.0, 90_000.0)]
    for name in ("order_service", "product_service", "notification_service_1", "notification_service_2"):
        measured.series[f"memory.{name}"] = [(500.0, 60.0), (100_000.0, 61.0)]
    return measured


PICTURES = dict(pictures(measured()))


def texts(picture: str) -> set[str]:
    """The texts written in it."""
    root = ElementTree.fromstring(picture)  # noqa: S314 - our own
    return {"".join(element.itertext()) for element in root.iter(f"{_SVG}text")}


@pytest.mark.parametrize("name", PICTURES)
def test_no_label_is_cut_off(name: str) -> None:
    """Every text lies within the picture, the longest name of a bar and the value beside the longest bar too."""
    picture = dict(pictures(measured()))[name]
    written = texts(svg(picture))  # beyond the end of an axis there are ticks that are not drawn
    shown = [text for text in picture.findobj(Text) if text.get_text() in written]
    assert len(shown) > 5
    for text in shown:
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= picture.bbox.x1 and box.y1 <= picture.bbox.y1
        assert inside, f"{text.get_text()!r} lies at {box}, the picture ends at {picture.bbox}"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_same_each_time(name: str) -> None:
    """Drawn again from the same figures it is the same file: no date in it, no random ids."""
    assert svg(dict(pictures(measured()))[name]) == svg(dict(pictures(measured()))[name])


@pytest.mark.parametrize("name", PICTURES)
def test_every_colour_has_another_for_dark_ground(name: str) -> None:
    """A shape or text in a colour that the second set does not replace could not be seen there."""
    head, _, drawn = svg(PICTURES[name]).partition("</style>")
    colours = {part[:7] for part in drawn.split("fill: ")[1:] + drawn.split("stroke: ")[1:] if part.startswith("#")}
    assert colours
    for colour in colours:
        assert f'"fill: {colour}"]' in head, f"{colour} is the same on light and on dark ground"


def test_text_stays_text_and_has_a_title() -> None:
    """It is found, read aloud and copied."""
    drawn = svg(PICTURES["orders"])
    assert {"plain grpcio + pika, same guarantees", "orders/s", "345"} <= texts(drawn)
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    assert root.findtext(f"{_SVG}title") == "Orders/s end to end, 64 in flight"


def test_there_is_no_picture_of_what_was_not_measured() -> None:
    """Rather none than an empty one."""
    assert dict(pictures(Figures())) == {}
    assert set(PICTURES) == {"latency", "concurrency", "growth", "memory", "events", "orders"}


@pytest.mark.parametrize(
    "picture",
    [
        bars("a < b & c", "x", [("<script>", 1.0, True), ("<script>", 2.0, False)]),
        lines("<", ("<", "&"), {"&": [(0, 0), (1, 1)]}),
    ],
)
def test_what_stands_in_a_picture_is_escaped(picture: Figure) -> None:
    """A name is text, never markup; and two of the same name are two."""
    drawn = ElementTree.fromstring(svg(picture))  # noqa: S314 - our own
    assert drawn.find(f"{_SVG}script") is None


def test_a_line_shows_how_far_from_nothing_it_is() -> None:
    """Memory that grows by a hundredth does not look as if it doubled."""
    (axes,) = lines("", ("", ""), {"a": [(10, 100), (20, 101)]}, from_nothing).axes
    assert axes.get_ylim()[0] == axes.get_xlim()[0] == 0
