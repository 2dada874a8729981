"""The view of the terminal, drawn from the document of the page: lines of text that fit a size. Pure.

Whatever others wrote is plain text in it: no markup, no control character, nothing that the terminal can't show. What
colour says, a sign or a word says as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ordersys.console.output import shown
from ordersys.live.log_warnings import Warned
from ordersys.live.snapshot import Document

_GOOD, _BUSY, _BAD, _DIM, _STRONG = "green", "yellow", "red", "dim", "bold"
_VERDICTS = {
    "even": ("Even", _GOOD),
    "moving": ("At work", _BUSY),
    "uneven": ("Not even", _BAD),
    "unknown": ("Not known", _DIM),
}
_AGED_SECONDS = 10.0
"""An event that has waited in an outbox for longer is worth a colour."""
_MANY = 100
_NAME = 27
"""The columns of the names of the contract: the longest is that of a queue."""
_LEAST_WARNINGS = 4
_END = 8
"""Characters at the end of an id that tell it from others."""


@dataclass(frozen=True)
class State:
    """Everything but the document that the view shows."""

    warnings: Sequence[Warned] = ()
    knows_logs: bool = True
    is_paused: bool = False
    link: str = ""
    """That of the page; empty where there is none."""
    shows_link: bool = False
    is_launched: bool = False
    """True where the launcher shows it, whose end is that of the whole system."""


class Size(NamedTuple):
    """Columns and rows of a terminal."""

    columns: int
    rows: int


class _Cell(NamedTuple):
    text: str
    style: str = ""


def lines(document: Document, state: State, now: float, size: Size, encoding: str = "utf-8") -> list[Text]:
    """The lines of the view, as many as there are rows or fewer, none longer than there are columns.

    `now` are seconds since 1970. Where rows are few, what comes first is shown; columns are cut at the right.
    """
    head, foot = _head(document, state, now), _foot(state)
    room = max(size.rows - 2, 0)
    services, queues = list(_services(document)), list(_queues(document))
    fixed = [*services, *queues]
    if len(fixed) > room:  # without what columns are called
        fixed = [*services[1:], *(line for number, line in enumerate(queues) if number != 1)]
    events, warnings = _events(document), list(_warnings(document, state))
    left = max(room - len(fixed), 0)
    for_warnings = min(len(warnings), max(_LEAST_WARNINGS, left - len(events)))
    body = [*fixed, *events[: max(left - for_warnings, 0)], *warnings[:for_warnings]][:room]
    drawn = [head, *body, *([foot] if size.rows > 1 else [])]
    return [_fitted(cells, size.columns, encoding) for cells in drawn]


def _head(document: Document, state: State, now: float) -> list[_Cell]:
    verdict, sentence, style = _verdict(document)
    paused = [_Cell(" paused ", "reverse")] if state.is_paused else []
    clock = datetime.fromtimestamp(now).strftime("%H:%M:%S")
    title = [_Cell("ordersys ", _STRONG), *paused, _Cell(f" {verdict} ", f"{_STRONG} {style}")]
    return [*title, _Cell(f"{clock}  {sentence}", _DIM)]


def _verdict(document: Document) -> tuple[str, str, str]:
    """A word, a sentence and the colour of both."""
    checks = document.get("checks", {})
    verdict = checks.get("verdict", "unknown")
    away = [process["name"] for process in document.get("services", []) if not process["well"]]
    if document.get("broker", {}).get("state") == "away":
        away.insert(0, "RabbitMQ")
    if away and verdict not in ("even", "uneven"):
        return "Waiting", f"for {', '.join(dict.fromkeys(away))}. What is on its way is kept.", _BUSY
    word, style = _VERDICTS.get(verdict, (verdict, ""))
    sentences = [check["sentence"] for check in checks.get("checks", []) if check["verdict"] == verdict]
    return word, sentences[0] if sentences and verdict != "even" else "", style


def _foot(state: State) -> list[_Cell]:
    if state.shows_link:
        page = state.link or "there is no page: start the system with --live, or `python -m ordersys.live` beside it"
        return [_Cell(page, _STRONG)]
    everything = "  Ctrl-C stop everything" if state.is_launched else ""
    return [_Cell(f"q quit the view  p {'go on' if state.is_paused else 'pause'}  o page{everything}", _DIM)]


def _services(document: Document) -> Iterator[list[_Cell]]:
    processes, rates = document.get("services", []), document.get("rates", {})
    yield [
        _Cell("  "),
        *_columns(("service", _NAME), ("health", 18), ("calls/s", -8), ("outbox", -9), ("  address", 0)),
    ]
    drawn = [node["name"] for node in document.get("graph", {}).get("nodes", [])]
    names = {process["name"] for process in processes}
    for name in sorted(names, key=lambda name: (drawn.index(name) if name in drawn else len(drawn), name)):
        of = [process for process in processes if process["name"] == name]
        well = [process for process in of if process["well"]]
        style = _GOOD if len(well) == len(of) else _BUSY if well else _BAD
        health = next((process["health"] for process in of if not process["well"]), "serving")
        if len(of) > 1:
            health = f"{len(well)} of {len(of)} serving"
        calls = sum(rate["rate"] for rate in rates.get("calls", []) if rate["service"] == name)
        outbox, age = _outbox(document, name)
        yield [
            _sign(style),
            _Cell(_wide(name, _NAME)),
            _Cell(_wide(health.lower() if health.isupper() else health, 18), style),
            _Cell(_wide(_rate(calls), -8)),
            _Cell(_wide(outbox, -9), _BUSY if age > _AGED_SECONDS else ""),
            _Cell("  " + ", ".join(process["address"] for process in of), _DIM),
        ]


def _outbox(document: Document, name: str) -> tuple[str, float]:
    """The events that wait in the outboxes of a service, in words, and the age of the oldest in seconds."""
    boxes = [
        box
        for process, box in document.get("outboxes", {}).items()
        if process.partition("-")[0].replace("_", "-") == name
    ]
    if not boxes:
        return "", 0.0
    age = max(box["age"] for box in boxes)
    return f"{sum(box['events'] for box in boxes):,}{f' {age:.0f}s' if age >= 1 else ''}", age


def _queues(document: Document) -> Iterator[list[_Cell]]:
    graph, broker = document.get("graph", {}), document.get("broker", {})
    state = broker.get("state", "unknown")
    words = {"up": ("up", _GOOD), "away": (f"away: {broker.get('reason', '')}", _BAD)}
    word, style = words.get(state, (broker.get("reason") or "not asked yet", _DIM))
    yield [_sign(style), _Cell(_wide("rabbitmq", _NAME)), _Cell(word, style)]
    yield [_Cell("  "), *_columns(("queue", _NAME), ("ready", -8), ("events/s", -10), ("dead", -7), ("consumers", -11))]
    dead = {edge["source"]: edge["target"] for edge in graph.get("edges", []) if "rejected" in edge["labels"]}
    kept = {of["consumer"]: of for of in document.get("letters", [])}
    for queue, consumer in graph.get("consumers", {}).items():
        yield _queue(document, queue, consumer, kept.get(consumer), dead.get(queue, ""))


def _queue(document: Document, queue: str, consumer: str, kept: Mapping[str, Any] | None, dead: str) -> list[_Cell]:
    """A queue, with the dead letters that its subscriber keeps: theirs is empty once it has taken them over."""
    broker = document.get("broker", {})
    depths: Mapping[str, Any] = broker.get("queues", {}) if broker.get("state") == "up" else {}
    depth = depths.get(queue)
    rate = sum(document.get("rates", {}).get("records", {}).get(consumer, {}).values())
    name = _Cell(_wide(queue, _NAME))
    of_rate = _Cell(_wide(_rate(rate), -10))
    count = f"{len(kept['letters']):,}{'+' if kept['more'] else ''}" if kept else "?"
    letters = _Cell(_wide(count, -7), "" if count == "0" else _BUSY if kept else _DIM)
    if depth is None:
        return [_sign(_DIM), name, _Cell(_wide("?", -8), _DIM), of_rate, letters]
    style = _BAD if not depth["consumers"] else _BUSY if depth["messages"] > _MANY else _GOOD
    waiting = depths[dead]["messages"] if dead in depths else 0
    return [
        _sign(style),
        name,
        _Cell(_wide(f"{depth['messages']:,}", -8), "" if style == _GOOD else style),
        of_rate,
        letters,
        _Cell(_wide(str(depth["consumers"]), -11), _BAD if not depth["consumers"] else ""),
        *([_Cell(f"  {waiting:,} dead to take over", _BUSY)] if waiting else []),
    ]


def _events(document: Document) -> list[list[_Cell]]:
    """The newest first, behind a line with what they are."""
    events = document.get("events", [])
    first = [
        _Cell("  "),
        *_columns(("last events", _NAME), ("order", 9), ("v", -3), ("  customer", 15), ("heard by", 0)),
    ]
    return [first, *(_event(event) for event in events)] if events else [first, [_Cell("    none yet", _DIM)]]


def _event(event: Mapping[str, Any]) -> list[_Cell]:
    time = _time(min(event["heard"].values(), default=0) / 1000)
    late = " late" if event["late"] else ""
    return [
        _Cell("  "),
        _Cell(_wide(f"{time} {event['kind']}{late}", _NAME)),
        _Cell(_wide(event["order"][-_END:], 9)),
        _Cell(_wide(f"{event['version'] or '-'}", -3)),
        _Cell("  "),
        _Cell(_wide(event["customer"], 13)),
        *(_Cell(f"✓{consumer.rpartition('-')[2]} ", _GOOD) for consumer in sorted(event["heard"])),
        *(_Cell(f"…{consumer.rpartition('-')[2]} ", _BUSY) for consumer in event["missing"]),
    ]


def _warnings(document: Document, state: State) -> Iterator[list[_Cell]]:
    """Sources that can't be read, and then the words of the logs, the newest first."""
    troubles = document.get("troubles", [])
    if not troubles and not state.warnings:
        quiet = "no warnings" if state.knows_logs else "the logs are not known: name the folder with --data-dir"
        yield [_Cell(f"  {quiet}", _DIM)]
        return
    yield [_Cell("  "), *_columns(("warnings", 0))]
    for trouble in troubles:
        yield [_sign(_BAD), _Cell(f"{trouble['source']}: {trouble['reason']}")]
    for warned in reversed(state.warnings):
        yield [_sign(_BUSY), _Cell(f"{_time(warned.time)} {warned.source}: {warned.text}")]


def _sign(style: str) -> _Cell:
    return _Cell({_GOOD: "✓ ", _BUSY: "! ", _BAD: "✗ "}.get(style, "  "), style)


def _columns(*columns: tuple[str, int]) -> Iterator[_Cell]:
    for name, width in columns:
        yield _Cell(_wide(name, width), _DIM)


def _wide(text: str, width: int) -> str:
    """Text of that many cells with a blank behind it; to the right of them where `width` is negative."""
    if not width:
        return text
    text = shown(text)
    if width < 0:
        return " " * max(-width - cell_len(text), 0) + text
    return set_cell_size(text, width - 1) + " " if cell_len(text) < width else set_cell_size(text, width - 2) + "… "


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= _END else f"{value:.1f}" if value else ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _fitted(cells: Sequence[_Cell], columns: int, encoding: str) -> Text:
    """One line; what the terminal's encoding lacks is written as an escape before it is measured."""
    text = Text(no_wrap=True)
    for cell in cells:
        text.append(_encodable(shown(cell.text), encoding), cell.style)
    text.truncate(max(columns, 1), overflow="crop")
    return text


_PLAIN = str.maketrans({"✓": "+", "✗": "x", "…": "~"})


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text
