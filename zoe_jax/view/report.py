"""Reports: one self-contained HTML page of numbers, tables, figures and pictures, in light and in dark."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

INK = "#7a828c"
"""Of text and axes in figures: readable on light and on dark."""
SERIES = ("#d1603d", "#2a7f9e", "#8a6bbf", "#5a9a4d")
"""Colours of lines, tellable apart in both."""


@dataclass(frozen=True)
class Number:
    """A figure that is read first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headers; the first column names the rows."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    strong_rows: tuple[int, ...] = ()
    """Those set off from the others."""


@dataclass(frozen=True)
class Picture:
    """An image with a line under it."""

    source: str
    """What goes into the page: a data URI."""
    caption: str = ""
    wide: bool = True
    """Whether it takes the whole width of the page."""


@dataclass(frozen=True)
class Section:
    """A heading and what is under it, in this order."""

    title: str
    text: str = ""
    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Report:
    """A page."""

    title: str
    summary: str
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)
    """Commit, versions, machine: what the page was made of, at its foot."""


def write_report(report: Report, path: Path) -> None:
    """Writes the page, whole or not at all; it needs no other file and no network."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoe_jax.view"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(report=report)
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def picture_of(
    pixels: UInt8[np.ndarray, "height width 3"], caption: str = "", wide: bool = True, format: str = "png"
) -> Picture:
    """An array as a picture; `jpeg` where size counts more than exactness."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=88)
    return Picture(_data_uri(buffer.getvalue(), f"image/{format}"), caption, wide)


def line_figure(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    caption: str = "",
    log_y: bool = False,
) -> Picture:
    """Lines over one axis, as SVG without a background.

    Args:
        series: name to (x, y).
        x_label: of the horizontal axis, with its unit.
        y_label: of the vertical axis, with its unit.
        caption: under the figure.
        log_y: whether the vertical axis is logarithmic.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    for (name, (x, y)), color in zip(series.items(), SERIES * len(series), strict=False):
        axes.plot(x, y, color=color, label=name, linewidth=1.6, marker="o" if len(x) < 2 else None)
    if log_y:
        axes.set_yscale("log")
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, which="both")
    axes.grid(color=INK, alpha=0.25, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    if len(series) > 1:
        axes.legend(frameon=False, labelcolor=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(_data_uri(buffer.getvalue(), "image/svg+xml"), caption, wide=False)


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
