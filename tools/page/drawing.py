"""The topology as a drawing in SVG: publishers, exchanges, queues, subscribers, from left to right.

Places are computed from the topology alone: a subscriber that is added to proto/ appears by itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from ordersys.contract.access import service_name
from ordersys.contract.topology import Publication, Subscription, Topology
from tools.page.markup import Html, element, joined

_ROW, _HEIGHT, _GAP, _MARGIN = 76, 50, 132, 12
_CHARACTER = 7.3  # the width of a letter of 12 px in a monospaced font
_LINE = 26  # letters
_ROWS_OF_A_SUBSCRIBER = 3  # its queue, its dead letters, the exchange of its replays


@dataclass
class Box:
    """A node of the drawing; `row` and `column` say where, `anchor` to which part of the page it leads."""

    name: str
    kind: str
    anchor: str
    column: int
    row: float
    lines: list[str] = field(init=False)
    left: float = 0
    width: float = 0

    def __post_init__(self) -> None:
        self.lines = _lines(self.name)

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """The x of its centre."""
        return self.left + self.width / 2

    @property
    def top(self) -> float:
        """The y of its upper side."""
        return _MARGIN + self.row * _ROW

    @property
    def centre(self) -> float:
        """The y of its centre."""
        return self.top + _HEIGHT / 2


class Drawing:
    """The boxes and the arrows between them."""

    def __init__(
        self, declared: Topology, publications: Mapping[str, Publication], subscriptions: Iterable[Subscription]
    ) -> None:
        """`publications` are those of the events, by the name of the event."""
        self._declared, self._publications = declared, publications
        self._subscriptions = tuple(subscriptions)
        self._replays = {s.replay_exchange for s in self._subscriptions if s.replay_exchange}
        self.boxes: dict[str, Box] = {}
        self._place()

    def svg(self) -> Html:
        """The drawing; each box leads to its description."""
        width = max(box.right for box in self.boxes.values()) + _MARGIN
        height = max(box.top for box in self.boxes.values()) + _HEIGHT + _MARGIN
        heads = element("defs", *(_head(kind) for kind in ("way", "dead", "replay")))
        title = element("title", "Publishers, exchanges, queues and subscribers, and what goes from where to where")
        arrows = list(self._arrows())
        boxes = [_drawn(box) for box in self.boxes.values()]
        # Not img: what is inside an image, such as these links, is hidden from a screen reader (WAI-ARIA 1.2).
        size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
        return element("svg", title, heads, *arrows, *boxes, role="group", class_="topology", **size)

    def _place(self) -> None:
        depth = self._depths()
        last = max(depth.values())
        for number, subscription in enumerate(self._subscriptions):
            row = number * _ROWS_OF_A_SUBSCRIBER
            self._add(subscription.queue, "queue", f"queue.{subscription.queue}", last + 1, row)
            dead = subscription.dead_letter_queue
            self._add(dead, "dead letters", f"queue.{dead}", last + 1, row + 1)
            self._add(subscription.consumer, "subscriber", f"subscriber.{subscription.consumer}", last + 2, row)
            if subscription.replay_exchange:
                name = subscription.replay_exchange
                self._add(name, "replays", f"exchange.{name}", last, row + 2)
        for name in sorted(depth, key=lambda name: -depth[name]):
            kind = next(exchange.type for exchange in self._declared.exchanges if exchange.name == name)
            fed = [b.destination for b in self._declared.bindings if b.source == name and not b.to_exchange]
            self._add(name, f"{kind} exchange", f"exchange.{name}", depth[name], self._mean(fed))
        for publisher in dict.fromkeys(p.publisher for p in self._publications.values()):
            to = [p.exchange for p in self._publications.values() if p.publisher == publisher]
            self._add(publisher, "publisher", f"user.{service_name(publisher)}", 0, self._mean(to))
        self._separate()
        self._spread()

    def _depths(self) -> dict[str, int]:
        """The column of each exchange of events: behind all that feed it."""
        depth = {e.name: 1 for e in self._declared.exchanges if e.name not in self._replays}
        fed = [(b.source, b.destination) for b in self._declared.bindings if b.to_exchange]
        for _ in depth:  # as often as the longest chain can be
            for source, destination in fed:
                depth[destination] = max(depth[destination], depth[source] + 1)
        return depth

    def _add(self, name: str, kind: str, anchor: str, column: int, row: float) -> None:
        self.boxes[name] = Box(name.rpartition(".")[2] if kind == "publisher" else name, kind, anchor, column, row)

    def _mean(self, names: list[str]) -> float:
        rows = [self.boxes[name].row for name in dict.fromkeys(names)]
        return sum(rows) / len(rows) if rows else 0

    def _separate(self) -> None:
        """Moves boxes of one column down until none covers another."""
        for column in self._columns().values():
            for above, below in pairwise(sorted(column, key=lambda box: box.row)):
                below.row = max(below.row, above.row + 1)

    def _spread(self) -> None:
        """Gives each column its x, and the boxes of it one width."""
        left = float(_MARGIN)
        for _, column in sorted(self._columns().items()):
            width = max(len(line) for box in column for line in (*box.lines, box.kind)) * _CHARACTER + 24
            for box in column:
                box.left, box.width = left, round(width, 1)
            left += round(width, 1) + _GAP

    def _columns(self) -> dict[int, list[Box]]:
        columns: dict[int, list[Box]] = defaultdict(list)
        for box in self.boxes.values():
            columns[box.column].append(box)
        return columns

    def _arrows(self) -> Iterator[Html]:
        """Publications, bindings, and the ways of each subscription."""
        sent: dict[tuple[str, str], list[str]] = defaultdict(list)
        for publication in self._publications.values():
            sent[publication.publisher, publication.exchange].append(publication.routing_key)
        for binding in self._declared.bindings:
            if binding.source not in self._replays:
                ends = (binding.source, binding.destination)
                sent[ends].append("feeds, #" if binding.to_exchange else binding.routing_key)
        for (source, destination), words in sent.items():
            yield self._arrow(source, destination, words, "way")
        for subscription in self._subscriptions:
            yield from self._ways(subscription)

    def _ways(self, subscription: Subscription) -> Iterator[Html]:
        """From the queue to its subscriber, as dead letters, and back as replays."""
        consumer, dead = subscription.consumer, subscription.dead_letter_queue
        yield self._arrow(subscription.queue, consumer, ["delivers"], "way")
        queue, letters, reader = (self.boxes[name] for name in (subscription.queue, dead, consumer))
        down = f"M{queue.middle:g} {queue.top + _HEIGHT:g}V{letters.top:g}"
        yield _path(down, "dead", subscription.queue, dead)
        yield _label(queue.middle + 8, queue.top + _HEIGHT + 17, ["nacked"], "start")
        yield self._arrow(dead, consumer, ["taken over"], "dead")
        if subscription.replay_exchange:
            replay = self.boxes[subscription.replay_exchange]
            back = f"M{reader.middle:g} {reader.top + _HEIGHT:g}V{replay.centre + 10:g}H{replay.right:g}"
            yield _path(back, "replay", consumer, subscription.replay_exchange)
            yield _label(queue.middle, replay.centre + 3, ["replayed"], "middle")
            yield self._arrow(subscription.replay_exchange, subscription.queue, [], "replay", (-10, 13))

    def _arrow(
        self, source: str, destination: str, words: list[str], kind: str, beside: tuple[float, float] = (0, 0)
    ) -> Html:
        """A curve from the right side of a box to the left side of another, with words at its middle.

        It begins and ends `beside` the centres of these sides, so far down.
        """
        start, end = self.boxes[source], self.boxes[destination]
        x1, y1, x2, y2 = start.right, start.centre + beside[0], end.left, end.centre + beside[1]
        bend = min((x2 - x1) / 2, _GAP)
        curve = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
        above = 7 if y1 == y2 else 0
        path = _path(curve, kind, source, destination)
        words_at = (y1 + y2) / 2 - above - 13 * (len(words) - 1)
        return joined(path, _label((x1 + x2) / 2, words_at, words, "middle") if words else "")


def _lines(name: str) -> list[str]:
    """A name in as many lines as it needs, broken behind dots."""
    lines = [""]
    for part in name.replace(".", ".\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > _LINE:
            lines.append("")
        lines[-1] += part
    return lines


def _head(kind: str) -> Html:
    """The head of the arrows of a kind."""
    tip = element("path", d="M0 0L8 4L0 8z", class_=f"tip {kind}")
    return element(
        "marker", tip, id=f"tip-{kind}", viewBox="0 0 8 8", refX=8, refY=4, markerWidth=8, markerHeight=8, orient="auto"
    )


def _path(curve: str, kind: str, source: str, destination: str) -> Html:
    ends = {"data_from": source, "data_to": destination}
    return element("path", d=curve, class_=f"arrow {kind}", marker_end=f"url(#tip-{kind})", **ends)


def _label(x: float, y: float, lines: list[str], place: str) -> Html:
    spans = [element("tspan", line, x=f"{x:g}", y=f"{y + 13 * number:g}") for number, line in enumerate(lines)]
    return element("text", *spans, class_=f"words {place}")


def _drawn(box: Box) -> Html:
    shape = element("rect", x=f"{box.left:g}", y=f"{box.top:g}", width=f"{box.width:g}", height=_HEIGHT, rx=6)
    above = element("text", box.kind, x=f"{box.middle:g}", y=f"{box.top + 14:g}", class_="kind")
    first = box.top + (35 if len(box.lines) == 1 else 28)
    spans = [
        element("tspan", line, x=f"{box.middle:g}", y=f"{first + 14 * number:g}")
        for number, line in enumerate(box.lines)
    ]
    return element(
        "a", shape, above, element("text", *spans), href=f"#{box.anchor}", class_=f"box {box.kind.split()[-1]}"
    )
