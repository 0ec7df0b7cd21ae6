"""The paper's numbers: what is stored is what it prints, and its improvements follow from its own numbers."""

import json
import math
from importlib import resources
from pathlib import Path

import pytest

from zoe_jax.evaluate import paper
from zoe_jax.evaluate.improvement import (
    improvement_over_data_sets,
    improvement_over_metrics,
    relative_improvement,
)
from zoe_jax.evaluate.metrics import DepthMetrics
from zoe_jax.evaluate.results import EvaluationError
from zoe_jax.evaluate.rules import BENCHMARKS

# both the numbers and the improvement are rounded: 0.05 of the last digit printed, and what rounded numbers make of it
PRINTED_TO_PCT = 0.06

# in paper_tables.json, too: what the paper prints does not follow from what it prints
INCONSISTENT = ("3", "ibims", "LocalBins")

IN_THE_APPENDIX = {
    "9": "sunrgbd",
    "10": "ibims",
    "11": "diode_indoor",
    "12": "hypersim",
    "13": "vkitti2",
    "14": "ddad",
    "15": "diml_outdoor",
    "16": "diode_outdoor",
}


def inconsistencies() -> list[dict]:
    text = resources.files("zoe_jax.evaluate").joinpath("paper_tables.json").read_text(encoding="utf-8")
    return json.loads(text)["inconsistencies"]


# ---- improvement


def test_improvement_is_a_share_of_the_reference() -> None:
    assert relative_improvement("abs_rel", 0.08, 0.1) == pytest.approx(0.2)
    assert relative_improvement("delta1", 0.96, 0.8) == pytest.approx(0.2)
    assert relative_improvement("delta1", 0.4, 0.8) == pytest.approx(-0.5)
    assert relative_improvement("rmse", 3.0, 2.0) == pytest.approx(-0.5)


def test_improvement_is_the_mean_of_shares() -> None:
    reference = {"delta1": 0.5, "abs_rel": 0.2, "rmse": 4.0, "log10": 1.0}
    values = {"delta1": 0.6, "abs_rel": 0.1, "rmse": 5.0, "log10": math.nan}
    assert improvement_over_metrics(values, reference) == pytest.approx((0.2 + 0.5 - 0.25) / 3)
    assert improvement_over_metrics(values, reference, ["rmse"]) == pytest.approx(-0.25)
    over = improvement_over_data_sets({"nyu": 0.05, "kitti": 0.2, "other": 9.0}, {"nyu": 0.1, "kitti": 0.1})
    assert over == pytest.approx((0.5 - 1) / 2)


def test_improvement_over_nothing_is_no_number() -> None:
    reference = {"delta1": 0.5, "abs_rel": 0.2, "rmse": 4.0}
    assert improvement_over_metrics(reference, reference) == 0
    assert math.isnan(improvement_over_metrics({"delta1": 0.5, "abs_rel": 0.2}, reference))
    assert math.isnan(improvement_over_metrics(reference | {"rmse": math.inf}, reference))
    assert math.isnan(improvement_over_metrics(reference, reference | {"delta1": 0.0}))
    assert math.isnan(improvement_over_data_sets({"nyu": 0.1}, {"nyu": 0.1, "kitti": 0.1}))
    assert math.isnan(improvement_over_data_sets({}, {}))


# ---- what the paper prints


@pytest.mark.parametrize("number", ["3", "4"])
def test_improvements_over_metrics_follow_from_the_numbers(number: str) -> None:
    checked = 0
    for data_set in paper.tables()[number]["data_sets"]:
        rows = paper.rows_of(number, data_set)
        for method, row in rows.items():
            recomputed = 100 * improvement_over_metrics(row, rows["NeWCRFs"])
            differs = abs(recomputed - row[paper.IMPROVEMENT]) > PRINTED_TO_PCT
            assert differs == ((number, data_set, method) == INCONSISTENT), (data_set, method, recomputed)
            checked += 1
    assert checked == 4 * 7


def test_improvements_over_data_sets_follow_from_the_numbers() -> None:
    rows = {method: row for method, row in paper.joint_rows().items() if row}
    reference = {name: value for name, value in rows["NeWCRFs-X-NK+"].items() if name != paper.IMPROVEMENT}
    assert sorted(reference) == ["ibims", "kitti", "nyu", "vkitti2"]
    assert len(rows) == len(paper.joint_rows()) - 1 == 10
    for method, row in rows.items():
        recomputed = 100 * improvement_over_data_sets(row, reference)
        assert recomputed == pytest.approx(row[paper.IMPROVEMENT], abs=PRINTED_TO_PCT), method


def test_the_inconsistency_is_listed() -> None:
    (listed,) = [entry for entry in inconsistencies() if "recomputed_pct" in entry]
    assert (listed["table"], listed["data_set"], listed["method"]) == INCONSISTENT
    rows = paper.rows_of("3", "ibims")
    assert listed["printed_improvement_pct"] == rows["LocalBins"][paper.IMPROVEMENT] == -0.7
    recomputed = 100 * improvement_over_metrics(rows["LocalBins"], rows["NeWCRFs"])
    assert recomputed == pytest.approx(listed["recomputed_pct"], abs=0.005)


def test_the_appendix_repeats_the_tables() -> None:
    differing = []
    for number, data_set in IN_THE_APPENDIX.items():
        main = paper.rows_of("3" if data_set in paper.tables()["3"]["data_sets"] else "4", data_set)
        longer = paper.rows_of(number, data_set)
        assert set(main) < set(longer)
        for method, row in main.items():
            for metric in ("delta1", "abs_rel", "rmse"):
                if row[metric] != longer[method][metric]:
                    differing.append((data_set, method, metric, row[metric], longer[method][metric]))
    assert differing == [("diode_outdoor", "LocalBins", "rmse", 10.27, 10.273)]
    (listed,) = [entry for entry in inconsistencies() if "table_16" in entry]
    assert (listed["data_set"], listed["method"], listed["metric"], listed["printed"], listed["table_16"]) == differing[
        0
    ]


def test_the_numbers_are_those_transcribed_elsewhere(reference: Path) -> None:
    """The recipes' expected numbers come from a transcription of their own."""
    other = json.loads((reference / "paper/tables.json").read_text())
    short = {"d1": "delta1", "d2": "delta2", "d3": "delta3", "REL": "abs_rel", "RMSE": "rmse", "log10": "log10"}
    titles = {benchmark.title: key for key, benchmark in BENCHMARKS.items()}
    compared = 0
    for number, name in (("1", "table1_nyu"), ("3", "table3_zeroshot_indoor"), ("4", "table4_zeroshot_outdoor")):
        listed = {"NYU Depth v2": other[name]["rows"]} if number == "1" else other[name]
        for title in titles.keys() & listed.keys():
            for row in listed[title]:
                mine = paper.rows_of(number, titles[title])[row["method"]]
                assert {short[key]: row[key] for key in short if key in row}.items() <= mine.items()
                compared += 1
    assert compared >= 3 * 9


def test_metrics_and_data_sets_have_the_names_of_the_package() -> None:
    for number, table in paper.tables().items():
        for data_set in table.get("data_sets", {}):
            assert data_set in BENCHMARKS
            for row in paper.rows_of(number, data_set).values():
                assert set(row) <= {*DepthMetrics._fields, paper.IMPROVEMENT}
                assert all(0 < value < 20 for name, value in row.items() if name != paper.IMPROVEMENT)
                assert row["delta1"] <= row.get("delta2", 1) <= row.get("delta3", 1) <= 1


def test_decimals_are_those_printed() -> None:
    assert paper.printed_decimals("rmse", 9.228) == paper.printed_decimals("abs_rel", 0.1) == 3
    assert paper.printed_decimals("rmse", 10.27) == 2
    assert paper.printed_decimals(paper.IMPROVEMENT, 976.4) == 1


# ---- which method a checkpoint is


@pytest.mark.parametrize(
    ("name", "preset", "method"),
    [
        ("anything", "zoed_n", "ZoeD-M12-N"),
        ("anything", "zoed_k", "ZoeD-M12-K"),
        ("anything", "zoed_nk", "ZoeD-M12-NK"),
        ("ZoeD_M12_NK", None, "ZoeD-M12-NK"),
        ("zoedepth-nyu", None, "ZoeD-M12-N"),
        ("zoedepth-nyu-kitti", "zoed_nk", "ZoeD-M12-NK"),
        # the same configuration, without the pre-training on twelve data sets
        ("zoed_x_n", "zoed_n", "ZoeD-X-N"),
        ("zoed-m12-nk+", "zoed_n", "ZoeD-M12-NK+"),
        ("mine", "zoed_tiny_nk", None),
        ("BTS", None, None),
    ],
)
def test_a_name_goes_before_a_preset(name: str, preset: str | None, method: str | None) -> None:
    assert paper.method_of(name, preset) == method


def test_methods_are_found_as_they_are_typed() -> None:
    assert paper.find_method(" zoed-m12-n ") == "ZoeD-M12-N"
    with pytest.raises(EvaluationError, match=r"no table of the paper has a row 'ZoeD'; there are .*ZoeD-M12-NK\+"):
        paper.find_method("ZoeD")


def test_all_that_is_printed_is_found() -> None:
    kitti = {"abs_rel": 0.057, "rmse": 2.362}  # Tables 2 and 6: there is no table of KITTI
    assert paper.published("x", {"preset": "zoed_nk"}, "kitti") == kitti
    nyu = {"delta1": 0.955, "delta2": 0.995, "delta3": 0.999, "abs_rel": 0.075, "rmse": 0.27, "log10": 0.032}
    assert paper.published("x", {"preset": "zoed_n"}, "nyu") == nyu
    ddad = paper.published("x", {"preset": "zoed_k"}, "ddad")
    assert (ddad["delta3"], ddad["log10"], ddad["rmse"]) == (0.988, 0.06, 7.108)
    assert paper.published("x", {"preset": "zoed_n"}, "kitti") == {}
    assert paper.published("x", {"preset": None}, "nyu") == {}
    assert paper.published("x", {}, "zoe_folder/mine") == {}
