"""Reports: one file, everything escaped, whole or not at all."""

import re
from pathlib import Path

import numpy as np

from zoe_jax.view.report import Number, Report, Section, Table, line_figure, picture_of, write_report


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
