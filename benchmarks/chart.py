"""Charts as SVG, by matplotlib: text stays text, the same figures give the same file, light and dark ground alike."""

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

Point = tuple[float, float]
_WIDTH, _HEIGHT = 7.5, 4.2  # inches
_BAR_HEIGHT, _BARS_AROUND = 0.32, 0.75  # inches: a bar with its gap, and what stands above and below all
_BAR_ROOM = 0.18  # of the axis, for the value beside the longest bar
# On light ground, and what stands for it on dark ground.
_TEXT, _NOTE, _GRID, _OTHERS = "#1f2328", "#59636e", "#d1d9e0", "#8c959f"
_LINES = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989")
_DARK = {
    _TEXT: "#f0f6fc",
    _NOTE: "#9198a1",
    _GRID: "#3d444d",
    _OTHERS: "#656c76",
    **dict(zip(_LINES, ("#4493f8", "#f0883e", "#3fb950", "#ab7df8", "#db61a2"), strict=True)),
}
_STYLE: "dict[RcKeyType, object]" = {
    "svg.fonttype": "none",  # text stays text: found, read aloud, and small
    "svg.hashsalt": "ordersys",  # ids of elements would be random
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # wider than what else a viewer may have: all text has room
    "font.size": 9,
    "text.color": _TEXT,
    "axes.labelcolor": _NOTE,
    "axes.edgecolor": _GRID,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,  # inches around what is drawn
    "figure.constrained_layout.h_pad": 0.08,
}


def lines(
    title: str,
    names: tuple[str, str],
    series: Mapping[str, Sequence[Point]],
    scales: Callable[[Axes], None] = lambda axes: None,
) -> Figure:
    """A line chart of `series` by name. `names` are those of the x and y axes; `scales` configures them."""
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, _HEIGHT))
        axes = figure.subplots()
        for (name, points), colour in zip(series.items(), _LINES, strict=False):
            axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=1.8, label=name)
        axes.set(title=title, xlabel=names[0], ylabel=names[1])
        scales(axes)
        axes.yaxis.set_major_formatter(FuncFormatter(_number))
        figure.legend(loc="outside lower center", ncols=2)
        return figure


def bars(title: str, unit: str, values: Sequence[tuple[str, float, bool]]) -> Figure:
    """A bar chart of (name, value, ours), with values beside the bars, the first at the top."""
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, _BARS_AROUND + _BAR_HEIGHT * len(values)))
        axes = figure.subplots()
        colours = [_LINES[0] if ours else _OTHERS for _, _, ours in values]
        # By position: two with the same name are two bars.
        drawn = axes.barh(range(len(values)), [value for _, value, _ in values], color=colours, height=0.7)
        axes.bar_label(drawn, [f"{value:,.0f}" for _, value, _ in values], padding=4)
        axes.set_yticks(range(len(values)), [name for name, _, _ in values])
        axes.tick_params(left=False)
        axes.margins(x=_BAR_ROOM)
        axes.set_xlim(left=0)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
        axes.set(title=title, xlabel=unit)
        return figure


def labelled(axes: Axes, ticks: Mapping[float, str]) -> None:
    """An x axis with ticks at these places, with these labels."""
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    axes.xaxis.set_minor_locator(NullLocator())


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with steps of 1, 2, 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())


def from_nothing(axes: Axes) -> None:
    """Axes that begin at 0, with thousands separators on the x axis."""
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(_number))


def svg(figure: Figure) -> str:
    """The SVG file: no date, colours for light and dark backgrounds, and a title for screen readers."""
    drawn = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    head, mark, rest = drawn.getvalue().partition("<defs>")
    title = escape(" ".join(axes.get_title(loc="left") for axes in figure.axes))
    text = f"{head}<title>{title}</title>\n <style>{_for_dark_ground()}</style>\n {mark}{rest}"
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _for_dark_ground() -> str:
    """matplotlib writes colours into each element, so CSS needs `!important` to take precedence."""
    rules = "".join(
        f'[style*="fill: {light}"]{{fill:{dark}!important}}[style*="stroke: {light}"]{{stroke:{dark}!important}}'
        for light, dark in _DARK.items()
    )
    return f"@media (prefers-color-scheme: dark){{{rules}}}"


def _number(value: float, _: object = None) -> str:
    return f"{value:,g}"
