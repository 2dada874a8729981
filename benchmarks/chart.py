"""Charts as SVG, written by hand: small, and legible on light and on dark ground (prefers-color-scheme). Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 48, 84
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_BAR, _BAR_GAP, _BAR_LEFT, _BAR_TEXT = 22, 10, 230, 70
_LEGEND_COLUMN, _LEGEND_ROW, _LEGEND_COLUMNS = 300, 18, 2
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 } .note { fill: #59636e }
.grid { stroke: #d1d9e0; stroke-width: 1 } .line { fill: none; stroke-width: 2.2 }
.s0 { stroke: #0969da } .s1 { stroke: #bc4c00 } .s2 { stroke: #1a7f37 } .s3 { stroke: #8250df }
.s4 { stroke: #bf3989 } .f0 { fill: #0969da } .f1 { fill: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .note { fill: #9198a1 } .grid { stroke: #3d444d }
.s0 { stroke: #4493f8 } .s1 { stroke: #f0883e } .s2 { stroke: #3fb950 } .s3 { stroke: #ab7df8 }
.s4 { stroke: #db61a2 } .f0 { fill: #4493f8 } .f1 { fill: #656c76 }
}"""
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One direction of a chart. `ticks` are its labelled values; logarithmic where told so."""

    name: str
    ticks: Sequence[float]
    logarithmic: bool = False
    labels: Sequence[str] = ()

    def part(self, value: float) -> float:
        """Where between first and last tick `value` lies, 0 to 1 where it is between."""
        low, high, here = (self._scale(v) for v in (self.ticks[0], self.ticks[-1], value))
        return (here - low) / (high - low)

    def label(self, index: int) -> str:
        """What stands at a tick."""
        return self.labels[index] if self.labels else f"{self.ticks[index]:,g}"

    def _scale(self, value: float) -> float:
        return math.log10(max(value, 1e-9)) if self.logarithmic else value


def lines(title: str, across: Axis, up: Axis, series: Mapping[str, Sequence[Point]]) -> str:
    """A line for each of `series`, by name."""
    drawn = [*_grid(across, up), *_legend(list(series))]
    for number, points in enumerate(series.values()):
        path = " ".join(f"{_x(across, x):.1f},{_y(up, y):.1f}" for x, y in points)
        drawn.append(f'<polyline class="line s{number}" points="{path}"/>')
    return _svg(title, _HEIGHT, drawn)


def bars(title: str, unit: str, values: Sequence[tuple[str, float, bool]]) -> str:
    """A bar for each of (name, value, ours), with its value beside it."""
    highest = max(value for _, value, _ in values)
    room = _WIDTH - _BAR_LEFT - _BAR_TEXT
    drawn = [_text(_WIDTH - _RIGHT, 26, unit, "note", "end")]
    for index, (name, value, ours) in enumerate(values):
        y = _TOP + index * (_BAR + _BAR_GAP)
        width = room * value / highest
        drawn.append(_text(_BAR_LEFT - 8, y + 15, name, "", "end"))
        drawn.append(f'<rect class="f{0 if ours else 1}" x="{_BAR_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}"/>')
        drawn.append(_text(_BAR_LEFT + width + 6, y + 15, f"{value:,.0f}", "", "start"))
    return _svg(title, _TOP + len(values) * (_BAR + _BAR_GAP) + 8, drawn)


def decades(values: Sequence[float]) -> list[float]:
    """Ticks for a logarithmic axis that holds all of `values`: 1, 2, 5, 10, …"""
    steps = [m * 10.0**e for e in range(-3, 8) for m in (1, 2, 5)]
    low = max([s for s in steps if s <= min(values)] or [steps[0]])
    high = min([s for s in steps if s >= max(values)] or [steps[-1]])
    return [s for s in steps if low <= s <= max(high, low * 2)]


def round_ticks(highest: float, count: int = 5) -> list[float]:
    """Ticks from 0 to at least `highest`, in steps people count in."""
    rough = highest / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= rough)
    return [step * index for index in range(math.ceil(highest / step) + 1)]


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    right, bottom = _LEFT + _PLOT_WIDTH, _TOP + _PLOT_HEIGHT
    for index, tick in enumerate(up.ticks):
        y = _y(up, tick)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield _text(_LEFT - 8, y + 4, up.label(index), "", "end")
    for index, tick in enumerate(across.ticks):
        x = _x(across, tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, across.label(index), "", "middle")
    yield _text(right, bottom + 36, across.name, "note", "end")
    yield _text(_WIDTH - _RIGHT, 26, up.name, "note", "end")


def _legend(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        x = _LEFT + number % _LEGEND_COLUMNS * _LEGEND_COLUMN
        y = _HEIGHT - 26 + number // _LEGEND_COLUMNS * _LEGEND_ROW
        yield f'<line class="line s{number}" x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}"/>'
        yield _text(x + 24, y, name, "", "start")


def _x(axis: Axis, value: float) -> float:
    return _LEFT + _PLOT_WIDTH * axis.part(value)


def _y(axis: Axis, value: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - axis.part(value))


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(title: str, height: int, drawn: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    parts = [head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}\n</style>"]
    return "\n".join([*parts, _text(16, 26, title, "title", "start"), *drawn, "</svg>", ""])
