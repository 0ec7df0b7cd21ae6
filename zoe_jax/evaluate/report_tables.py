"""The tables of an evaluation's page: metrics beside the paper's, improvement over a reference, choices of heads."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from zoe_jax.evaluate import paper
from zoe_jax.evaluate.improvement import OVER_METRICS, improvement_over_data_sets, improvement_over_metrics
from zoe_jax.evaluate.results import Evaluation
from zoe_jax.evaluate.rules import GROUPS
from zoe_jax.view.report import Cell, Section, Table

Published = Callable[[str, Mapping[str, Any], str], Mapping[str, float]]
"""A checkpoint's name and facts and the key of a data set to the paper's numbers, by the names of `METRICS`."""

METRICS_SHOWN = ("delta1", "delta2", "delta3", "abs_rel", "rmse", "rmse_log", "log10", "silog")
DECIMALS = 3
"""As many as the paper prints of numbers below 10."""


def results_section(facts: Mapping[str, Any], evaluations: Sequence[Evaluation], published: Published) -> Section:
    """A table for each group of data sets: every metric, beside the paper's."""
    units = {"rmse": "rmse (m)"}
    headers = ("data set", *(units.get(name, name) for name in METRICS_SHOWN), "images")
    parts = []
    for title, keys in _groups(evaluations).items():
        rows = [
            [Cell(title_of(facts, key), evaluation.checkpoint), *_values(facts, evaluation, published)]
            for key in keys
            for evaluation in evaluations
            if evaluation.data_set == key
        ]
        parts.append(Section(title, tables=[Table(headers, rows)]))
    text = (
        "Means over images. The deltas are better the higher they are, the others the lower. Under a number stands the "
        "paper's, where it has one, and by how much ours is above (+) or below it, rounded as the paper does."
    )
    return Section("Results", text, parts=parts)


def _groups(evaluations: Sequence[Evaluation]) -> dict[str, list[str]]:
    """Data sets by the group of the original that they are in, where there are any."""
    keys = list(dict.fromkeys(evaluation.data_set for evaluation in evaluations))
    indoor, outdoor = GROUPS["indoor"], GROUPS["outdoor"]
    groups = {
        "Indoor": [key for key in keys if key in indoor],
        "Outdoor": [key for key in keys if key in outdoor],
        "Others": [key for key in keys if key not in indoor + outdoor],
    }
    return {title: members for title, members in groups.items() if members}


def _values(facts: Mapping[str, Any], evaluation: Evaluation, published: Published) -> Iterator[Cell]:
    means = evaluation.metrics()
    printed = published(evaluation.checkpoint, facts["checkpoints"][evaluation.checkpoint], evaluation.data_set)
    for name in METRICS_SHOWN:
        yield Cell(number_text(means[name]), _beside(name, means[name], printed[name]) if name in printed else "")
    counted, whole = len(evaluation.evaluated), facts["data_sets"][evaluation.data_set]["images_of_the_paper"]
    yield Cell(counted, f"of {whole}" if whole not in (None, counted) else "")


def number_text(value: float) -> str:
    """As many decimals as the paper; nan and inf by these names."""
    return f"{value:.{DECIMALS}f}"


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _beside(metric: str, value: float, printed: float) -> str:
    """The paper's number, and the difference once both are rounded as it is."""
    decimals = paper.printed_decimals(metric, printed)
    beside = f"{printed:.{decimals}f}"
    if not math.isfinite(value):
        return beside
    difference = round(value, decimals) - printed
    same = abs(difference) < 0.5 * 10**-decimals
    return f"{beside}, " + ("same" if same else _signed(difference, decimals))


def improvement_sections(facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> list[Section]:
    """mRI of every checkpoint over the first one, where there are several."""
    reference, *others = dict.fromkeys(evaluation.checkpoint for evaluation in evaluations) or [""]
    if not others:
        return []
    means = {(evaluation.checkpoint, evaluation.data_set): evaluation.metrics() for evaluation in evaluations}
    keys = list(dict.fromkeys(evaluation.data_set for evaluation in evaluations))
    columns = []
    for name in others:
        shared = [key for key in keys if (reference, key) in means and (name, key) in means]
        by_key = {key: improvement_over_metrics(means[name, key], means[reference, key]) for key in shared}
        errors, reference_errors = ({key: means[n, key]["abs_rel"] for key in shared} for n in (name, reference))
        over_data_sets = _percent(improvement_over_data_sets(errors, reference_errors))
        part = f"over {len(shared)} of {len(keys)}" if len(shared) < len(keys) else ""
        cells = [_percent(by_key[key]) if key in by_key else "not run" for key in keys]
        columns.append([*cells, Cell(over_data_sets, part)])
    rows = zip([*(title_of(facts, key) for key in keys), "mRI_D"], *columns, strict=True)
    text = (
        f"Mean relative improvement over {reference}, the first checkpoint: on a data set over "
        f"{', '.join(OVER_METRICS)} (mRI_\N{GREEK SMALL LETTER THETA} in the paper), and of abs_rel over the data sets "
        "(mRI_D). Above 0 is better; nan has a number of the first checkpoint that is 0, or not there."
    )
    table = Table(("data set", *others), list(rows), strong_rows=(len(keys),))
    return [Section("Relative improvement", text, tables=[table])]


def _percent(share: float) -> str:
    return f"{_signed(100 * share, 1)} %" if math.isfinite(share) else str(share)


def router_sections(facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> list[Section]:
    """Data sets by chosen head, for every checkpoint that has a choice."""
    parts = []
    for name in dict.fromkeys(evaluation.checkpoint for evaluation in evaluations):
        routed = {e.data_set: e.routed() for e in evaluations if e.checkpoint == name}
        head = facts["checkpoints"][name]["config"]["head"]
        heads = head["domains"] if head else ()
        if len(heads) < 2:
            continue
        rows = [
            [title_of(facts, key), *(_share(row.get(chosen, 0), sum(row.values())) for chosen in heads)]
            for key, row in routed.items()
        ]
        parts.append(Section(name, tables=[Table(("data set", *heads), rows)]))
    text = "Images by data set (rows) and by the head that made their depth (columns)."
    return [Section("Router", text, parts=parts)] if parts else []


def _share(count: int, total: int) -> Cell:
    return Cell(count, f"{100 * count / total:.1f} %" if total else "")


def title_of(facts: Mapping[str, Any], key: str) -> str:
    """What a data set is called on the page."""
    return facts["data_sets"][key]["title"]
