"""Tables of numbers that are compared with published ones, as Markdown, LaTeX (booktabs) and HTML."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from zoe_jax.view.page import render

State = Literal["reproduced", "off", "part", "not run", "published", "own", "none"]

LEGEND: dict[State, str] = {
    "reproduced": "equal to the paper's number in all digits that it prints",
    "off": "beside it the difference to the paper's number",
    "part": "over other images than the paper's, with the difference to its number",
    "not run": "the paper's number; nothing was measured",
    "published": "published elsewhere: the paper's number of a method that is not measured here",
    "own": "a model that is not in the paper",
}
"""What is said of the cells of each state."""

MARKDOWN: dict[State, str] = {
    "reproduced": "{} ✓",
    "off": "{} ({})",
    "part": "{} ({}) °",
    "not run": "[{}]",
    "published": "{}",
    "own": "{} •",
    "none": "–",
}
LATEX: dict[State, str] = {
    "reproduced": r"\textbf{{{}}}$^{{=}}$",
    "off": r"\textbf{{{}}}$^{{{}}}$",
    "part": r"{}$^{{{}\circ}}$",
    "not run": r"\textit{{({})}}",
    "published": "{}",
    "own": r"{}$^{{*}}$",
    "none": "--",
}
EXAMPLE = ("0.123", "+0.004")
"""Number and difference by which the legends show a state."""


@dataclass(frozen=True)
class NumberCell:
    """A number, how it came about, and what stands beside it."""

    text: str
    state: State
    note: str = ""
    """The difference, signed; of published numbers a remark."""


NO_NUMBER = NumberCell("", "none")


@dataclass(frozen=True)
class Column:
    """The head of a column; those of one group stand beside each other."""

    label: str
    latex: str
    group: str = ""


@dataclass(frozen=True)
class NumberRow:
    """A row's name, whose numbers these are, and the numbers."""

    name: str
    origin: str
    cells: Sequence[NumberCell]
    rule_above: bool = False
    """Whether a line sets it off from the row before."""


@dataclass(frozen=True)
class NumberTable:
    """One table."""

    key: str
    """Letters and digits, for references within LaTeX and HTML."""
    title: str
    source: str
    columns: Sequence[Column]
    rows: Sequence[NumberRow]
    notes: Sequence[str] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Names of groups, and over how many columns each goes; empty where there are none."""
        groups = [(name, len(list(members))) for name, members in itertools.groupby(self.columns, lambda c: c.group)]
        return groups if any(name for name, _ in groups) else []


@dataclass(frozen=True)
class Document:
    """Tables, and what holds for all of them."""

    title: str
    summary: str
    tables: Sequence[NumberTable]
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it was made of."""

    @property
    def states(self) -> dict[State, int]:
        """How many cells there are of each state, in the order of LEGEND."""
        cells = (cell.state for table in self.tables for row in table.rows for cell in row.cells)
        counts = Counter(cells)
        return {state: counts[state] for state in LEGEND if counts[state]}


def as_markdown(document: Document) -> str:
    """A page of Markdown with tables as GitHub has them."""
    lines = [f"# {_markdown_text(document.title)}", "", _markdown_text(document.summary), ""]
    for state, count in document.states.items():
        lines.append(
            f"- {_markdown_cell(NumberCell(EXAMPLE[0], state, _example_note(state)))}: {LEGEND[state]} ({count})"
        )
    lines += [line for note in document.notes for line in ("", _markdown_text(note))]
    for table in document.tables:
        heads = [f"{column.group} {column.label}".strip() for column in table.columns]
        lines += ["", f"## {_markdown_text(table.title)}", "", f"{_markdown_text(table.source)}.", ""]
        lines.append(_markdown_row(["Method", "Numbers", *heads]))
        lines.append("|---|---|" + "--:|" * len(heads))
        for row in table.rows:
            cells = [_markdown_text(row.name), _markdown_text(row.origin), *map(_markdown_cell, row.cells)]
            lines.append(_markdown_row(cells))
        lines += [line for note in table.notes for line in ("", _markdown_text(note))]
    lines += ["", *(f"- {_markdown_text(name)}: {_markdown_text(value)}" for name, value in document.facts.items())]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: NumberCell) -> str:
    text = MARKDOWN[cell.state].format(cell.text, cell.note)
    return f"{text} ({cell.note})" if cell.state == "published" and cell.note else text


def _markdown_text(text: str) -> str:
    # a checkpoint may be called anything
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def as_latex(document: Document) -> str:
    """Table environments to be read into a paper; they need the package booktabs. Remarks on cells are left out."""
    lines = [
        rf"% {_one_line(document.title)}: {_one_line(document.summary)}",
        *(rf"% {_one_line(note)}" for note in document.notes),
        r"% \usepackage{booktabs}",
    ]
    for table in document.tables:
        lines += ["", *_latex_table(table)]
    lines += ["", *(f"% {_one_line(name)}: {_one_line(value)}" for name, value in document.facts.items())]
    return "\n".join(lines) + "\n"


def _latex_table(table: NumberTable) -> list[str]:
    states: list[State] = [state for state in LEGEND if any(c.state == state for row in table.rows for c in row.cells)]
    legend = " ".join(
        f"{_latex_cell(NumberCell(EXAMPLE[0], state, _example_note(state)))}: {LEGEND[state]}." for state in states
    )
    notes = " ".join(map(_latex_text, table.notes))
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_latex_text(table.title)}. {_latex_text(table.source)}. {legend} {notes}}}".replace(" }", "}"),
        rf"\label{{tab:{table.key}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}",
        r"\toprule",
    ]
    if table.groups:
        heads, rules, at = [], [], 3
        for name, width in table.groups:
            heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex_text(name)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
        lines += [rf" & & {' & '.join(heads)} \\", "".join(rules)]
    lines += [rf"Method & Numbers & {' & '.join(column.latex for column in table.columns)} \\", r"\midrule"]
    for row in table.rows:
        if row.rule_above:
            lines.append(r"\midrule")
        cells = [_latex_text(row.name), _latex_text(row.origin), *map(_latex_cell, row.cells)]
        lines.append(rf"{' & '.join(cells)} \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]


def _latex_cell(cell: NumberCell) -> str:
    return LATEX[cell.state].format(cell.text.replace("-", "$-$"), cell.note)


LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "†": r"$\dagger$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex_text(text: str) -> str:
    return "".join(LATEX_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def as_html(document: Document) -> str:
    """A page that needs no other file, in light and in dark."""
    return render("number_tables.html.j2", document=document, legend=LEGEND, example=EXAMPLE, note_of=_example_note)


def _example_note(state: State) -> str:
    return EXAMPLE[1] if state in ("off", "part") else ""


FORMATS: dict[str, Callable[[Document], str]] = {"md": as_markdown, "tex": as_latex, "html": as_html}
"""By the suffix of the file."""
