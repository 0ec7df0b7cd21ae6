"""`zoe-jax tables`: Tables 1 to 4 of the paper, with what was measured in the place of what the paper prints."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from zoe_jax.evaluate.improvement import improvement_over_data_sets, improvement_over_metrics
from zoe_jax.evaluate.paper import IMPROVEMENT, Row, joint_rows, printed_decimals, rows_of, tables
from zoe_jax.evaluate.result_files import Measurement, Results, assign_methods, read_results
from zoe_jax.evaluate.results import EvaluationError
from zoe_jax.evaluate.rules import BENCHMARKS
from zoe_jax.view.number_tables import (
    FORMATS,
    NO_NUMBER,
    Column,
    Document,
    NumberCell,
    NumberRow,
    NumberTable,
    State,
)
from zoe_jax.whole_file import write_whole

FILE = "tables"
"""What the files are called, before their suffix."""

REFERENCE = "NeWCRFs"
"""The method that Tables 3 and 4 measure improvement against, and, trained on both domains, Table 2."""
JOINT_REFERENCE = "NeWCRFs-X-NK+"

PRINTED_TO_PCT = 0.06
"""Improvements of the paper follow from its numbers within this many percentage points, both being rounded."""

LABELS = {
    "delta1": Column("δ1 ↑", r"$\delta_1\uparrow$"),
    "delta2": Column("δ2 ↑", r"$\delta_2\uparrow$"),
    "delta3": Column("δ3 ↑", r"$\delta_3\uparrow$"),
    "abs_rel": Column("REL ↓", r"REL$\,\downarrow$"),
    "rmse": Column("RMSE ↓", r"RMSE$\,\downarrow$"),
    "log10": Column("log10 ↓", r"$\log_{10}\downarrow$"),
    IMPROVEMENT: Column("mRI ↑", r"mRI$\,\uparrow$"),
}
TITLES = {
    "1": "Table 1: NYU Depth v2",
    "2": "Table 2: one model for indoors and outdoors, REL",
    "3": "Table 3: indoor data sets unseen in training",
    "4": "Table 4: outdoor data sets unseen in training",
}
METRICS_OF_ONE = ("delta1", "delta2", "delta3", "abs_rel", "rmse", "log10")
METRICS_OF_MANY = ("delta1", "abs_rel", "rmse", IMPROVEMENT)
JOINT_DATA_SETS = ("nyu", "kitti", "ibims", "vkitti2")


@dataclass(frozen=True)
class TablesOptions:
    """Which results become which rows, and where they go."""

    # The docstrings are the words of `zoe-jax tables --help`.

    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="RESULTS")]
    """results.json files of zoe-jax evaluate, or the folders they are in; all made under the same rules."""
    output_dir: Path = Path("runs/tables")
    """Where tables.md, tables.tex and tables.html go."""
    format: tuple[str, ...] = tuple(FORMATS)
    """Which of md, tex and html, with commas or spaces between."""
    row: tuple[str, ...] = ()
    """CHECKPOINT=ROW: the row of the paper that a checkpoint fills, such as mine=ZoeD-M12-N; mine=own: a new one."""

    @property
    def formats(self) -> tuple[str, ...]:
        """Each once.

        Raises:
            EvaluationError: there is no such format.
        """
        formats = dict.fromkeys(part.strip() for text in self.format for part in text.split(",") if part.strip())
        if unknown := [name for name in formats if name not in FORMATS]:
            raise EvaluationError(f"--format {unknown[0]!r} is unknown; there are {', '.join(FORMATS)}")
        return tuple(formats)


def write_tables(
    paths: Sequence[Path], output_dir: Path, formats: Sequence[str] = tuple(FORMATS), rows: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Writes the tables in each format, whole or not at all.

    Args:
        paths: `results.json` files, or the folders that they are in.
        output_dir: where to; it is made.
        formats: of FORMATS.
        rows: `CHECKPOINT=ROW` each, see `TablesOptions.row`.

    Returns:
        The files written.

    Raises:
        EvaluationError: results cannot be read or contradict each other, or none of them belongs into a table.
        ZoeJaxError: the tables cannot be written.
    """
    results = read_results(paths)
    document = paper_tables(results, assign_methods(results, rows))
    written = {output_dir / f"{FILE}.{name}": FORMATS[name](document) for name in formats}
    for path, text in written.items():
        write_whole(path, text)
    return tuple(written)


def paper_tables(results: Results, rows: Mapping[str, str | None]) -> Document:
    """Tables 1 to 4.

    Args:
        results: what was measured.
        rows: checkpoint to the method of the paper whose row it fills, None for a row of its own.

    Raises:
        EvaluationError: no result is of a data set of the tables.
    """
    made = [_table(number, results, rows) for number in TITLES]
    left_over = [place for place in results.measurements if not any(_has_place(n, *place, rows) for n in TITLES)]
    if len(left_over) == len(results.measurements):
        data_sets = sorted({data_set for number in TITLES for block in _blocks(number) for data_set in block.data_sets})
        raise EvaluationError(
            f"nothing to put into Tables 1 to 4: there are results of {_places(left_over) or 'nothing'}, and the "
            f"tables are of {', '.join(data_sets)}"
        )
    facts = {str(path): f"commit {commit}" for path, commit in results.sources.items()}
    for name, checkpoint in results.checkpoints.items():
        facts[name] = f"{checkpoint.get('source', 'unknown')}, in the row {rows[name] or 'of its own'}"
    return Document(
        "Tables 1 to 4 of ZoeDepth, reproduced",
        f"{_made_by(results)}. Numbers of the paper: arXiv 2302.12288.",
        made,
        tuple(_notes(results, left_over)),
        facts,
    )


def _made_by(results: Results) -> str:
    flip = "averaged with the mirrored image" if results.flip else "without the mirrored image"
    return f"Measured under the rules {results.rules}, by the protocol {results.protocol}, {flip}"


def _has_place(number: str, checkpoint: str, data_set: str, rows: Mapping[str, str | None]) -> bool:
    """Whether a table has a column and a row for this: a model of one's own may have a row in every table."""
    blocks = [block for block in _blocks(number) if data_set in block.data_sets]
    method = rows[checkpoint]
    return any(method is None or method in block.printed for block in blocks)


def _places(places: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{checkpoint} on {data_set}" for checkpoint, data_set in places)


def _notes(results: Results, left_over: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield (
        "mRI: mean relative improvement in percent, computed from the numbers in its row; in Tables 3 and 4 over δ1, "
        f"REL and RMSE against {REFERENCE}, in Table 2 over the data sets against {_shown(JOINT_REFERENCE)}."
    )
    if (results.rules, results.protocol, results.flip) != ("released", "evaluate", True):
        yield (
            "The paper's numbers were made under the rules released, by the protocol evaluate, averaged with the "
            "mirrored image; these were not, so differences are to be expected."
        )
    for measurement in results.measurements.values():
        if measurement.is_part:
            benchmark = BENCHMARKS[measurement.data_set]
            yield (
                f"{measurement.checkpoint} on {benchmark.title}: {measurement.images} images, the paper's number is "
                f"over {benchmark.images}."
            )
    if left_over:
        yield f"In no table: {_places(left_over)}."


def _table(number: str, results: Results, rows: Mapping[str, str | None]) -> NumberTable:
    blocks = list(_blocks(number))
    methods = list(blocks[0].printed)
    columns = [column for block in blocks for column in block.columns]
    data_sets = {data_set for block in blocks for data_set in block.data_sets}
    fills = {method: name for name, method in rows.items() if method is not None}
    own = [name for name, method in rows.items() if method is None and any(results.of(name, d) for d in data_sets)]
    made, notes = [], []
    for method in methods:
        checkpoint = fills.get(method)
        cells = [cell for block in blocks for cell in block.cells(method, checkpoint, results)]
        ours = any(cell.state in ("reproduced", "off", "part") for cell in cells)
        published = not method.startswith("ZoeD")
        origin = str(checkpoint) if ours else "published" if published else "not run"
        set_off = method.startswith("ZoeD") and bool(made) and not made[-1].name.startswith("ZoeD")
        made.append(NumberRow(_shown(method), origin, cells, rule_above=set_off))
    for index, name in enumerate(own):
        cells = [cell for block in blocks for cell in block.cells("", name, results)]
        made.append(NumberRow(name, name, cells, rule_above=index == 0))
    if number == "2":
        notes.append("†: one head for both domains.")
        notes += [f"{_shown(row['method'])} {row['note']}." for row in tables()["2"]["rows"] if "note" in row]
    source = f"{tables()[number]['source']}. {_made_by(results)}"
    return NumberTable(f"paper{number}", TITLES[number], source, columns, made, notes)


def _shown(method: str) -> str:
    return method.replace("+", "†")


@dataclass(frozen=True)
class _Block:
    """Columns that belong together: one data set of Tables 1, 3 and 4, or all of Table 2."""

    columns: Sequence[Column]
    data_sets: Sequence[str]
    """Of the columns, but for that of improvement."""
    metrics: Sequence[str]
    """Of the columns."""
    printed: Mapping[str, Row]
    """By method; Table 2 has data sets for the names of metrics."""
    joint: bool = False

    def cells(self, method: str, checkpoint: str | None, results: Results) -> Iterator[NumberCell]:
        """The method's cells, with what the checkpoint measured, if there is one."""
        printed = self.printed.get(method, {})
        measured = {
            data_set: found
            for data_set in self.data_sets
            if checkpoint is not None and (found := results.of(checkpoint, data_set))
        }
        for position, metric in enumerate(self.metrics):
            if metric == IMPROVEMENT:
                yield self._improvement(method, printed, measured)
                continue
            data_set = self.data_sets[position if self.joint else 0]
            of_paper = printed.get(data_set if self.joint else metric)
            found = measured.get(data_set)
            yield _cell(method, metric, of_paper, found and found.metrics[metric], found is not None and found.is_part)

    def _improvement(self, method: str, printed: Row, measured: Mapping[str, Measurement]) -> NumberCell:
        of_paper = printed.get(IMPROVEMENT)
        whole = len(measured) == len(self.data_sets)
        if self.joint:
            row = {data_set: found.metrics["abs_rel"] for data_set, found in measured.items()}
        else:
            row = next((found.metrics for found in measured.values()), {})
        value = self.improvement(row) if whole else None
        cell = _cell(method, IMPROVEMENT, of_paper, value, any(found.is_part for found in measured.values()))
        if cell.state == "published" and of_paper is not None:
            recomputed = self.improvement(printed)
            if abs(recomputed - of_paper) > PRINTED_TO_PCT:
                return NumberCell(cell.text, cell.state, f"from its numbers: {recomputed:.1f}")
        return cell

    def improvement(self, row: Row) -> float:
        """mRI in percent that follows from the numbers of a row, by the names that `printed` has."""
        if self.joint:
            reference = {data_set: self.printed[JOINT_REFERENCE][data_set] for data_set in self.data_sets}
            return 100 * improvement_over_data_sets(row, reference)
        return 100 * improvement_over_metrics(row, self.printed[REFERENCE])


def _blocks(number: str) -> Iterator[_Block]:
    if number == "2":
        columns = [Column(*_named(BENCHMARKS[data_set].title)) for data_set in JOINT_DATA_SETS]
        metrics = ("abs_rel",) * len(columns) + (IMPROVEMENT,)
        yield _Block([*columns, LABELS[IMPROVEMENT]], JOINT_DATA_SETS, metrics, joint_rows(), joint=True)
        return
    metrics = METRICS_OF_ONE if number == "1" else METRICS_OF_MANY
    for data_set in tables()[number]["data_sets"]:
        group = "" if number == "1" else BENCHMARKS[data_set].title
        columns = [Column(LABELS[metric].label, LABELS[metric].latex, group) for metric in metrics]
        yield _Block(columns, (data_set,), metrics, rows_of(number, data_set))


def _named(title: str) -> tuple[str, str]:
    return f"{title} ↓", rf"{title}$\,\downarrow$"


def _cell(method: str, metric: str, printed: float | None, measured: float | None, part: bool) -> NumberCell:
    if measured is None:
        if printed is None:
            return NO_NUMBER
        state: State = "not run" if method.startswith("ZoeD") else "published"
        return NumberCell(f"{printed:.{printed_decimals(metric, printed)}f}", state)
    decimals = printed_decimals(metric, measured if printed is None else printed)
    text = f"{measured:.{decimals}f}"
    if printed is None:
        return NumberCell(text, "own")
    difference = round(measured, decimals) - printed if math.isfinite(measured) else measured
    equal = abs(difference) < 0.5 * 10**-decimals
    if equal and not part:
        return NumberCell(text, "reproduced")
    return NumberCell(text, "part" if part else "off", "=" if equal else f"{difference:+.{decimals}f}")
