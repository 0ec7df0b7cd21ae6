"""Reports: one file, everything escaped, whole or not at all."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from zoe_jax.errors import ZoeJaxError
from zoe_jax.view.report import (
    Cell,
    Number,
    Picture,
    Report,
    Section,
    Strip,
    Table,
    color_scale,
    histogram_figure,
    line_figure,
    picture_of,
    write_report,
)


def page(tmp_path: Path) -> str:
    section = Section(
        "<b>Numbers</b>",
        "First & second.\n\nThird.",
        numbers=[Number("abs_rel", "0.1")],
        tables=[Table(("domain", "abs_rel"), [("rooms", 0.2), ("roads", 0.3)], strong_rows=(1,))],
        pictures=[
            picture_of(np.zeros((4, 6, 3), np.uint8), 'a "quoted" caption'),
            line_figure({"loss": ([1, 2, 3], [3.0, 2.0, 1.0])}, "step", "loss"),
        ],
    )
    write_report(Report("A title", "A summary.", [section], {"commit": "<abc>"}), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    html = page(tmp_path)
    sources = re.findall(r'src="([^"]{0,30})', html)
    assert [source.split(";")[0] for source in sources] == ["data:image/png", "data:image/svg+xml"]
    assert not re.findall(r"https?://", re.sub(r"base64,[^\"]*", "", html))
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_text_is_shown_as_it_is(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert "&lt;b&gt;Numbers&lt;/b&gt;" in html
    assert "<p>First &amp; second.</p>" in html
    assert "<p>Third.</p>" in html
    assert "&lt;abc&gt;" in html
    assert html.count('class="strong"') == 1


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ZoeJaxError, match=r"file/report\.html cannot be written"):
        write_report(Report("A title", "A summary.", []), tmp_path / "file/report.html")


def write(tmp_path: Path, *sections: Section) -> str:
    write_report(Report("A title", "A summary.", sections, contents=True), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_parts_stand_under_their_section_and_may_be_folded(tmp_path: Path) -> None:
    parts = [Section("Open", "seen"), Section("Folded <&>", "hidden", folded=True)]
    html = write(tmp_path, Section("First", parts=parts), Section("Second"))
    assert re.findall(r"<h(\d)>(.*?)</h", html) == [("1", "A title"), ("2", "First"), ("3", "Open"), ("2", "Second")]
    assert re.search(r"<details><summary>Folded &lt;&amp;&gt;</summary>\s*<p>hidden</p>\s*</details>", html)
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', html) == [("section-1", "First"), ("section-2", "Second")]
    assert html.count('<section id="section-') == 2


def test_a_cell_has_a_line_under_its_value(tmp_path: Path) -> None:
    html = write(tmp_path, Section("T", tables=[Table(("a", "b"), [(Cell("x", "<i>"), Cell(0)), (None, "y")])]))
    assert '<th scope="row">x<small>&lt;i&gt;</small></th>' in html
    assert "<td>0</td>" in html
    assert "<td>y</td>" in html


def test_strips_have_captions_and_a_scale(tmp_path: Path) -> None:
    pictures = [picture_of(np.zeros((2, 2, 3), np.uint8), name) for name in ("left", "right <>")]
    scale = color_scale("gray", "0 m", "9 m")
    assert (scale.colors[0], scale.colors[-1]) == ("#000000", "#ffffff")
    html = write(tmp_path, Section("S", scale=scale, strips=[Strip(pictures, "both & more", scale)]))
    assert re.findall(r"<div><span>(.*?)</span><img", html) == ["left", "right &lt;&gt;"]
    assert "both &amp; more" in html
    assert html.count("linear-gradient(to right, #000000, ") == 2
    assert re.search(r"0 m <i [^>]*></i> 9 m", html)


def svg_of(picture: Picture) -> str:
    return base64.b64decode(picture.source.partition(",")[2]).decode()


def test_histograms_say_what_they_do_not_show() -> None:
    values = [*np.linspace(0, 1, 199), 50.0, float("inf"), float("nan")]
    picture = histogram_figure({"$a_{": values, "_b": [0.5]}, "error", "images", "errors", bins=10)
    assert re.fullmatch(r"errors; \d+ beyond [\d.]+ in the last bin; 2 not finite, left out", picture.caption)
    assert [entry.name for entry in picture.legend] == ["$a_{", "_b"]
    assert "</svg>" in svg_of(picture)


def test_figures_without_values_are_empty() -> None:
    for values in ([], [float("nan")]):
        assert "</svg>" in svg_of(histogram_figure({"a": values}, "x", "y"))
    assert "</svg>" in svg_of(line_figure({"a": ([], [])}, "x", "y", log_x=True))


def test_the_fifth_line_is_dashed() -> None:
    picture = line_figure({str(index): ([1, 2], [1.0, 2.0]) for index in range(5)}, "x", "y")
    assert [entry.dashed for entry in picture.legend] == [False] * 4 + [True]
    assert picture.legend[0].color == picture.legend[4].color
