"""Reports: one self-contained HTML page of numbers, tables, figures and pictures, in light and in dark."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from zoe_jax.view.colormap import colorize
from zoe_jax.view.page import render
from zoe_jax.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#7a828c"
"""Of text and axes in figures: readable on light and on dark."""
MANY = 100
"""Values of which one in a hundred may be left to the last bin of a histogram."""
SERIES = ("#d1603d", "#2a7f9e", "#8a6bbf", "#5a9a4d")
"""Colours of lines, tellable apart in both; the fifth line has the first colour again, and dashes."""


@dataclass(frozen=True)
class Number:
    """A figure that is read first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A value of a table with a quiet line under it."""

    value: Any
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headers; the first column names the rows and stays in sight where the others scroll."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Of Cells, or of anything else that has a text."""
    strong_rows: tuple[int, ...] = ()
    """Those set off from the others."""
    prose: bool = False
    """Whether its cells are words, which stand left and break into lines, and not numbers."""


@dataclass(frozen=True)
class LegendEntry:
    """What a line of a figure stands for."""

    name: str
    color: str
    dashed: bool = False


@dataclass(frozen=True)
class ColorScale:
    """What the colours of a picture mean, from one value to another."""

    colors: tuple[str, ...]
    """As CSS has them, evenly spaced."""
    low: str
    """The value of the first colour, with its unit."""
    high: str


@dataclass(frozen=True)
class Picture:
    """An image with a line under it."""

    source: str
    """What goes into the page: a data URI."""
    caption: str = ""
    wide: bool = True
    """Whether it takes the whole width of the page."""
    legend: Sequence[LegendEntry] = ()


@dataclass(frozen=True)
class Strip:
    """Pictures side by side, of one size and with one line under them; two by two where the page is narrow."""

    pictures: Sequence[Picture]
    """Each with its own caption over it."""
    caption: str = ""
    scale: ColorScale | None = None


@dataclass(frozen=True)
class Section:
    """A heading and what is under it, in this order."""

    title: str
    text: str = ""
    """Paragraphs, with an empty line between them."""
    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    scale: ColorScale | None = None
    """Of the strips, where they share it."""
    strips: Sequence[Strip] = ()
    parts: Sequence["Section"] = ()
    folded: bool = False
    """Whether a part shows nothing but its title until that is clicked."""


@dataclass(frozen=True)
class Report:
    """A page."""

    title: str
    summary: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)
    """Commit, versions, machine: what the page was made of, at its foot."""
    contents: bool = False
    """Whether links to the sections stand above them."""


def write_report(report: Report, path: Path) -> None:
    """Writes the page, whole or not at all; it needs no other file and no network.

    Raises:
        ZoeJaxError: it cannot be written.
    """
    tests = {"cell": lambda value: isinstance(value, Cell)}
    write_whole(path, render("report.html.j2", tests, report=report))


def picture_of(
    pixels: UInt8[np.ndarray, "height width 3"],
    caption: str = "",
    wide: bool = True,
    format: str = "png",
    quality: int = 88,
) -> Picture:
    """An array as a picture; `jpeg` where size counts more than exactness, `quality` (1 to 95) deciding how much."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=quality)
    return Picture(_data_uri(buffer.getvalue(), f"image/{format}"), caption, wide)


def line_figure(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    caption: str = "",
    log_x: bool = False,
    markers: bool = False,
) -> Picture:
    """Lines over one axis, as SVG without a background.

    Args:
        series: name to (x, y).
        x_label: of the horizontal axis, with its unit.
        y_label: of the vertical axis, with its unit.
        caption: under the figure.
        log_x: whether the horizontal axis is logarithmic.
        markers: whether each point is marked; lone ones are always.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = _empty_figure(x_label, y_label)
    legend = _legend(series)
    for (x, y), entry in zip(series.values(), legend, strict=True):
        marker = "o" if markers or len(x) < 2 else None
        style = "--" if entry.dashed else "-"
        axes.plot(x, y, style, color=entry.color, linewidth=1.6, marker=marker, markersize=4)
    if log_x:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 2000 * low else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    return _svg(figure, caption, legend)


def histogram_figure(
    series: Mapping[str, Sequence[float]], x_label: str, y_label: str, caption: str = "", bins: int = 40
) -> Picture:
    """Histograms over one axis that starts at 0, as outlines; what is not finite is left out.

    Of many values the axis ends at the 99th percentile; the last bin holds what lies beyond, and the caption says so.

    Args:
        series: name to values >= 0.
        x_label: of the values, with their unit.
        y_label: what is counted.
        caption: under the figure.
        bins: how many.
    """
    from matplotlib.ticker import MaxNLocator

    finite = {name: np.asarray(values, float)[np.isfinite(values)] for name, values in series.items()}
    pooled = np.concatenate(list(finite.values()) or [np.zeros(0)])
    end = (float(np.percentile(pooled, 99 if pooled.size >= MANY else 100)) if pooled.size else 0.0) or 1.0
    edges = np.linspace(0, end, bins + 1)
    figure, axes = _empty_figure(x_label, y_label)
    legend = _legend(series)
    for values, entry in zip(finite.values(), legend, strict=True):
        counts, _ = np.histogram(np.minimum(values, end), edges)
        style = "--" if entry.dashed else "-"
        axes.stairs(counts, edges, color=entry.color, linewidth=1.6, linestyle=style)
        axes.stairs(counts, edges, color=entry.color, alpha=0.15, fill=True)
    axes.set_xlim(0, end)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    beyond = int(np.sum(pooled > end))
    missing = sum(map(len, series.values())) - pooled.size
    notes = [
        f"{beyond} beyond {end:.3g} in the last bin" if beyond else "",
        f"{missing} not finite, left out" if missing else "",
    ]
    return _svg(figure, "; ".join(part for part in (caption, *notes) if part), legend)


def color_scale(colormap: str, low: str, high: str) -> ColorScale:
    """The colours of one of matplotlib's maps as a bar between two values."""
    steps = np.linspace(0, 1, 12, dtype=np.float32)[None]
    colors = colorize(steps, vmin=0, vmax=1, colormap=colormap)[0]
    return ColorScale(tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in colors), low, high)


def _legend(names: Iterable[str]) -> list[LegendEntry]:
    """In the page and not in the figure, so that names may hold anything, and follow the page's colours."""
    return [
        LegendEntry(name, SERIES[index % len(SERIES)], dashed=index // len(SERIES) % 2 == 1)
        for index, name in enumerate(names)
    ]


def _empty_figure(x_label: str, y_label: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure  # takes a quarter of a second

    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, which="both")
    axes.grid(color=INK, alpha=0.25, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    return figure, axes


def _svg(figure: "Figure", caption: str, legend: Sequence[LegendEntry]) -> Picture:
    import matplotlib as mpl  # takes a quarter of a second

    buffer = io.BytesIO()
    # neither the time nor random names: the same numbers give the same page
    with mpl.rc_context({"svg.hashsalt": "zoe_jax"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    source = _data_uri(buffer.getvalue(), "image/svg+xml")
    return Picture(source, caption, wide=False, legend=legend if len(legend) > 1 else ())


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
