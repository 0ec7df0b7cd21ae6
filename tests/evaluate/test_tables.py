"""The paper's tables, filled: what each cell says, in three formats."""

import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluate.stored_results import evaluation
from zoe_jax.cli import main
from zoe_jax.evaluate import paper
from zoe_jax.evaluate.result_files import assign_methods, read_results
from zoe_jax.evaluate.results import EvaluationError
from zoe_jax.evaluate.rules import BENCHMARKS
from zoe_jax.evaluate.tables import TablesOptions, paper_tables, write_tables
from zoe_jax.view.number_tables import Document, NumberCell, NumberRow, as_html, as_latex, as_markdown

HOSTILE = r"a_b&c%d$e#f{g}~h^i\j|<k>*"


def document(*paths: Path, rows: Sequence[str] = ()) -> Document:
    results = read_results(paths)
    return paper_tables(results, assign_methods(results, rows))


def row(made: Document, number: int, name: str) -> NumberRow:
    (found,) = [row for row in made.tables[number - 1].rows if row.name == name]
    return found


def texts(row: NumberRow) -> list[tuple[str, str, str]]:
    return [(cell.text, cell.state, cell.note) for cell in row.cells]


# ---- cells


def test_equal_digits_are_reproduced_and_others_are_off_by_so_much(stored: Callable[..., Path]) -> None:
    measured = evaluation("zoed_n", "nyu", "ZoeD-M12-N", abs_rel=0.07549, rmse=0.2744, delta1=0.9545001, log10=0.0326)
    made = document(stored([measured]))
    assert texts(row(made, 1, "ZoeD-M12-N")) == [
        ("0.955", "reproduced", ""),
        ("0.995", "reproduced", ""),
        ("0.999", "reproduced", ""),
        ("0.075", "reproduced", ""),
        ("0.274", "off", "+0.004"),
        ("0.033", "off", "+0.001"),
    ]
    assert row(made, 1, "ZoeD-M12-N").origin == "zoed_n"
    assert {cell.state for cell in row(made, 1, "ZoeD-M12-NK").cells} == {"not run"}
    assert row(made, 1, "ZoeD-M12-NK").cells[3].text == "0.077"
    assert texts(row(made, 1, "BTS"))[0] == ("0.885", "published", "")
    assert texts(row(made, 1, "Lee et al."))[-1] == ("", "none", "")


@pytest.mark.parametrize("method", ["ZoeD-M12-N", "ZoeD-M12-K", "ZoeD-M12-NK", "ZoeD-X-N", "ZoeD-X-K"])
def test_the_papers_own_numbers_reproduce_all_of_a_row(stored: Callable[..., Path], method: str) -> None:
    keys = [key for key in BENCHMARKS if len(paper.published_metrics(method, key)) > 2]
    made = document(stored([evaluation(method, key, method) for key in keys]))
    found = [
        cell
        for table in (made.tables[0], *made.tables[2:])
        for line in table.rows
        if line.name == method
        for cell in line.cells
    ]
    assert len(found) >= 4 * 4
    # improvements are recomputed, and follow from the printed digits within 0.06: the last digit may be another
    off = [cell for cell in found if cell.state == "off"]
    assert {cell.state for cell in found} - {"off"} == {"reproduced"}
    assert all(cell.note in ("+0.1", "-0.1") for cell in off)
    assert len(off) <= 2


def test_improvement_is_recomputed_from_the_cells(stored: Callable[..., Path]) -> None:
    nk = [evaluation("zoed_nk", key, "ZoeD-M12-NK") for key in ("nyu", "kitti", "ibims", "vkitti2")]
    made = document(stored(nk))
    assert texts(row(made, 2, "ZoeD-M12-NK"))[-1] == ("25.2", "reproduced", "")
    assert texts(row(made, 3, "ZoeD-M12-NK"))[4:8] == [
        ("0.615", "reproduced", ""),
        ("0.186", "reproduced", ""),
        ("0.777", "reproduced", ""),
        ("10.6", "reproduced", ""),
    ]
    worse = [*nk[:3], evaluation("zoed_nk", "vkitti2", "ZoeD-M12-NK", abs_rel=0.19)]
    made = document(stored(worse))
    # on vkitti2 as the reference is: a quarter of its part is lost
    assert row(made, 2, "ZoeD-M12-NK").cells[-1] == NumberCell("14.0", "off", "-11.2")
    made = document(stored(nk[:3]))
    assert texts(row(made, 2, "ZoeD-M12-NK"))[-2:] == [("0.105", "not run", ""), ("25.2", "not run", "")]


def test_an_improvement_that_does_not_follow_is_remarked(stored: Callable[..., Path]) -> None:
    made = document(stored([evaluation("zoed_n", "nyu")]))
    remarks = [
        (table.key, line.name, cell.text, cell.note)
        for table in made.tables
        for line in table.rows
        for cell in line.cells
        if cell.state == "published" and cell.note
    ]
    assert remarks == [("paper3", "LocalBins", "-0.7", "from its numbers: -0.9")]


def test_a_part_of_the_images_reproduces_nothing(stored: Callable[..., Path]) -> None:
    made = document(stored([evaluation("zoed_k", "ddad", "ZoeD-M12-K", images=20, rmse=7.2)]))
    found = texts(row(made, 4, "ZoeD-M12-K"))[4:8]
    assert found[:3] == [("0.835", "part", "="), ("0.129", "part", "="), ("7.200", "part", "+0.092")]
    assert found[3][1] == "part"
    assert "zoed_k on DDAD: 20 images, the paper's number is over 3950." in made.notes
    assert "reproduced" not in made.states
    # nothing was evaluated
    made = document(stored([evaluation("zoed_k", "ddad", images=0), evaluation("zoed_k", "vkitti2", "ZoeD-M12-K")]))
    assert row(made, 4, "ZoeD-M12-K").cells[4].state == "not run"


def test_numbers_that_are_not_finite_are_shown(stored: Callable[..., Path]) -> None:
    made = document(stored([evaluation("zoed_n", "ibims", "ZoeD-M12-N", rmse="inf", abs_rel="nan")]))
    assert texts(row(made, 3, "ZoeD-M12-N"))[4:8] == [
        ("0.658", "reproduced", ""),
        ("nan", "off", "+nan"),
        ("inf", "off", "+inf"),
        ("nan", "off", "+nan"),
    ]


def test_a_model_of_ones_own_has_a_row_of_its_own(stored: Callable[..., Path]) -> None:
    made = document(stored([evaluation("mine", "nyu", rmse=12.345), evaluation("mine", "zoe_folder/room")]))
    assert texts(made.tables[0].rows[-1])[3:5] == [("0.500", "own", ""), ("12.35", "own", "")]
    assert made.tables[0].rows[-1].rule_above
    assert [line.name for line in made.tables[3].rows][-1] == "ZoeD-M12-NK"
    assert "In no table: mine on zoe_folder/room." in made.notes


def test_the_rules_are_named(stored: Callable[..., Path]) -> None:
    path = stored([evaluation("zoed_n", "nyu")], rules="corrected", flip=False)
    made = document(path)
    named = "Measured under the rules corrected, by the protocol evaluate, without the mirrored image"
    assert named in made.summary
    assert all(named in table.source for table in made.tables)
    assert any("these were not, so differences are to be expected" in note for note in made.notes)
    for form in (as_markdown, as_latex, as_html):
        assert form(made).count(named) == 5


def test_results_that_no_table_has_are_refused(stored: Callable[..., Path]) -> None:
    with pytest.raises(
        EvaluationError, match="nothing to put into Tables 1 to 4: there are results of a on diml_indoor"
    ):
        document(stored([evaluation("a", "diml_indoor")]))
    # the paper evaluates it indoors only
    with pytest.raises(EvaluationError, match="there are results of zoed_n on ddad, and the tables are of ddad, "):
        document(stored([evaluation("zoed_n", "ddad")]))
    with pytest.raises(EvaluationError, match="there are results of nothing"):
        document(stored([evaluation("zoed_n", "nyu", images=0)]))


# ---- files


def test_files_are_written_whole(stored: Callable[..., Path], tmp_path: Path) -> None:
    path = stored([evaluation("zoed_n", "nyu", "ZoeD-M12-N")])
    written = write_tables([path], tmp_path / "new/out")
    assert [file.name for file in written] == ["tables.md", "tables.tex", "tables.html"]
    assert sorted((tmp_path / "new/out").iterdir()) == sorted(written)
    before = written[0].read_text()
    (only,) = write_tables([path], tmp_path / "new/out", ["md"], rows=["zoed_n=ZoeD-X-N"])
    assert only.read_text() != before


def test_a_place_that_cannot_be_written_is_one_line(
    stored: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored([evaluation("zoed_n", "nyu", "ZoeD-M12-N")])
    (tmp_path / "file").write_text("")
    assert main(["tables", str(path), "--output-dir", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"zoe-jax: {tmp_path}/file/tables.md cannot be written: Not a directory\n"


def test_formats_are_those_of_the_options() -> None:
    assert TablesOptions((Path("x"),)).formats == ("md", "tex", "html")
    assert TablesOptions((Path("x"),), format=("md, html", "md")).formats == ("md", "html")
    with pytest.raises(EvaluationError, match="--format 'pdf' is unknown; there are md, tex, html"):
        _ = TablesOptions((Path("x"),), format=("md,pdf",)).formats


@pytest.fixture
def made(stored: Callable[..., Path]) -> Document:
    evaluations = [evaluation("zoed_n", key, "ZoeD-M12-N", rmse=0.7) for key in ("nyu", "ibims")]
    partly = evaluation("zoed_n", "sunrgbd", "ZoeD-M12-N", images=3, rmse=0.2)
    return document(stored([*evaluations, partly, evaluation(HOSTILE, "ibims")]))


def test_markdown_has_all_cells(made: Document) -> None:
    text = as_markdown(made)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    # what separates cells is not escaped
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    expected = [9] * (2 + 17) + [8] * (2 + 11 + 1) + [19] * (2 + 7 + 1) + [19] * (2 + 7)
    assert widths == expected
    assert "| ZoeD-M12-N | zoed\\_n | 0.955 ✓ |" in text
    assert "0.700 (+0.430)" in text
    assert "0.200 (-0.146) °" in text
    assert "| ZoeD-M12-NK | not run | [0.953] |" in text
    assert "| BTS | published | 0.885 |" in text
    assert r"a\_b&c%d$e\#f{g}\~h^i\\j\|\<k\>\*" in text


def test_latex_has_all_cells_and_escapes_names(made: Document) -> None:
    text = as_latex(made)
    assert re.findall(r"\\begin\{tabular\}\{(\w+)\}", text) == ["ll" + "r" * n for n in (6, 5, 16, 16)]
    for body, columns in zip(re.findall(r"\\toprule(.*?)\\bottomrule", text, re.S), (8, 7, 18, 18), strict=True):
        for line in body.splitlines():
            if not line.endswith(r"\\"):
                continue
            spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == columns, line
    for name in ("table*", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 4
    outside_comments = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\.", "", outside_comments)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~†°✓]", bare)
    assert r"a\_b\&c\%d\$e\#f\{g\}\textasciitilde{}h\textasciicircum{}i\textbackslash{}j|<k>*" in text
    assert r"\textbf{0.700}$^{+0.430}$" in text
    assert r"\textbf{0.955}$^{=}$" in text
    assert r"0.200$^{-0.146\circ}$" in text
    assert r"\textit{(0.953)}" in text
    assert "$-$14.2" in text
    assert r"NeWCRFs-X-NK$\dagger$" in text
    assert bare.isascii()


class Cells(HTMLParser):
    """The rows of all tables, as (class, text) of their cells."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, str]]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append((dict(attrs).get("class") or "", ""))
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            kind, text = self.rows[-1][-1]
            self.rows[-1][-1] = (kind, f"{text} {data.strip()}".strip())


def test_html_has_all_cells_and_needs_nothing_else(made: Document) -> None:
    text = as_html(made)
    cells = Cells()
    cells.feed(text)
    rows = {row[0][1]: row for row in cells.rows}
    assert rows["ZoeD-X-N"][2][1].startswith("[")
    first = next(row for row in cells.rows if row[0][1] == "ZoeD-M12-N")
    assert first[1][1] == "zoed_n"
    assert first[2] == ("reproduced first", "0.955 ✓")
    assert first[6] == ("off", "0.700 +0.430")
    assert rows[HOSTILE][0] == ("name", HOSTILE)
    assert "<k>" not in text
    assert not re.search(r"https?://|<script|<link|src=", text)
    assert text.count("<table>") == 4
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_a_state_without_cells_is_not_in_the_legend(stored: Callable[..., Path]) -> None:
    made = document(stored([evaluation("zoed_n", "nyu", "ZoeD-M12-N")]))
    assert set(made.states) == {"reproduced", "not run", "published"}
    for form in (as_markdown, as_latex, as_html):
        assert "equal to the paper" in form(made)
        assert "over other images" not in form(made)
