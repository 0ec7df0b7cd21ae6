"""The log that an evaluation goes on from, and the files that others read."""

import math

import numpy as np
import pytest

from tests.evaluate.evaluations import results_of, strict, table_of
from zoe_jax.errors import ZoeJaxError
from zoe_jax.evaluate.results import (
    METRICS,
    Evaluation,
    EvaluationError,
    ImageOutcome,
    OutcomeLog,
    extremes,
    write_results,
)
from zoe_jax.input.summary import DEPTH_EDGES_M

RANGES = len(DEPTH_EDGES_M) - 1
MADE_OF = {"rules": "released", "checkpoint": "a"}


def outcome(name, abs_rel=0.1, nonfinite_pixels=0, **metrics):
    values = dict.fromkeys(METRICS, 0.5) | {"abs_rel": abs_rel} | metrics
    sums = (0.0,) * (RANGES - 2) + (1.5, math.inf)
    pixels = (0,) * (RANGES - 2) + (3, 1)
    return ImageOutcome(name, "evaluated", "", "nyu", 4, nonfinite_pixels, values, sums, pixels)


ODD_NUMBERS = outcome('ünïcode/\u2028 and "quotes"', abs_rel=math.inf, silog=math.nan, rmse_log=-math.inf)
REFUSED = ImageOutcome("blank", "no truth", "its depth is 0 everywhere")


@pytest.mark.parametrize("kept", [outcome("plain"), ODD_NUMBERS, REFUSED], ids=["plain", "odd numbers", "refused"])
def test_a_line_says_all_and_is_one_line_of_json(kept):
    line = kept.to_line()
    assert len(line.splitlines()) == 1
    strict(line)
    # nan equals nothing: its text does
    assert repr(ImageOutcome.from_line(line)) == repr(kept)


def test_the_log_goes_on_after_what_is_there(tmp_path):
    path = tmp_path / "new/images/log.jsonl"
    log = OutcomeLog(path, MADE_OF)
    assert log.outcomes == {}
    log.extend([outcome("a"), REFUSED])
    again = OutcomeLog(path, MADE_OF)
    assert again.outcomes == {"a": outcome("a"), "blank": REFUSED}
    again.extend([outcome("b")])
    assert list(OutcomeLog(path, MADE_OF).outcomes) == ["a", "blank", "b"]
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize("lost", [1, 30, 10_000])
def test_a_line_that_was_not_finished_is_forgotten(tmp_path, lost):
    path = tmp_path / "log.jsonl"
    OutcomeLog(path, MADE_OF).extend([outcome("a"), outcome("b")])
    content = path.read_bytes()
    # at least the line's end, at most all of it but a character
    last = len(content.splitlines()[-1])
    path.write_bytes(content[: len(content) - min(lost, last)])
    log = OutcomeLog(path, MADE_OF)
    assert list(log.outcomes) == ["a"]
    log.extend([outcome("b")])
    assert path.read_bytes() == content


def test_a_file_that_ends_in_its_first_line_begins_anew(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"rules": "rel')
    OutcomeLog(path, MADE_OF).extend([outcome("a")])
    assert list(OutcomeLog(path, MADE_OF).outcomes) == ["a"]


def test_the_lines_of_another_evaluation_are_never_taken(tmp_path):
    path = tmp_path / "log.jsonl"
    OutcomeLog(path, MADE_OF).extend([outcome("a")])
    for part, value in (("rules", "paper"), ("checkpoint", "b"), ("new", None)):
        with pytest.raises(EvaluationError, match="belongs to another evaluation"):
            OutcomeLog(path, MADE_OF | {part: value})


@pytest.mark.parametrize(
    "line", ['{"id": "a"}', "[]", "no json", '{"id": "a", "status": "evaluated", "metrics": {}, "new": 1}', "\xff\xfe"]
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "log.jsonl"
    OutcomeLog(path, MADE_OF)
    path.write_bytes(path.read_bytes() + line.encode("latin-1") + b"\n")
    with pytest.raises(EvaluationError, match=rf"{path}: a line is damaged .*; remove the file"):
        OutcomeLog(path, MADE_OF)


def test_hosts_that_do_not_write_read_and_keep(tmp_path):
    path = tmp_path / "log.jsonl"
    OutcomeLog(path, MADE_OF).extend([outcome("a")])
    before = path.read_bytes()
    log = OutcomeLog(path, MADE_OF, writing=False)
    log.extend([outcome("b")])
    assert list(log.outcomes) == ["a", "b"]
    assert path.read_bytes() == before
    OutcomeLog(tmp_path / "nowhere/log.jsonl", MADE_OF, writing=False)
    assert not (tmp_path / "nowhere").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ZoeJaxError, match=r"file/log\.jsonl cannot be written: Not a directory"):
        OutcomeLog(tmp_path / "file/log.jsonl", MADE_OF)
    with pytest.raises(ZoeJaxError, match=r"file/results\.json cannot be written"):
        write_results(tmp_path / "file", {}, [])
    log = OutcomeLog(tmp_path / "images/log.jsonl", MADE_OF)
    (tmp_path / "images/log.jsonl").unlink()
    (tmp_path / "images").rmdir()
    with pytest.raises(EvaluationError, match=r"log\.jsonl cannot be written"):
        log.extend([outcome("a")])


def test_a_log_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(EvaluationError, match=rf"{tmp_path} cannot be read: Is a directory"):
        OutcomeLog(tmp_path, MADE_OF)


def test_the_extremes_are_the_same_however_the_outcomes_come():
    errors = {"a": 0.3, "b": 0.1, "c": math.nan, "d": 0.2, "e": 0.2, "f": 0.9, "g": 0.4, "h": 0.5}
    outcomes = [outcome(name, abs_rel) for name, abs_rel in errors.items()]
    assert [found.id for found in extremes([*outcomes, REFUSED])] == ["b", "d", "e", "h", "f", "c"]
    assert extremes(outcomes[::-1]) == extremes(outcomes)
    assert extremes([*extremes(outcomes[:7]), *outcomes[7:]]) == extremes(outcomes)
    assert [found.id for found in extremes(outcomes[:3])] == ["b", "a", "c"]


def test_means_are_over_the_images_that_count():
    evaluation = Evaluation("a", "nyu", [outcome("x", 0.1), REFUSED, outcome("y", 0.3)])
    assert evaluation.metrics()["abs_rel"] == pytest.approx(0.2, rel=1e-12)
    assert evaluation.to_json()["images"] == 2
    assert evaluation.to_json()["left_out"] == 1
    assert evaluation.routed() == {"nyu": 2}


def test_without_an_image_that_counts_the_mean_is_nan_and_the_reason_is_named():
    evaluation = Evaluation("a", "nyu", [REFUSED])
    assert all(math.isnan(value) for value in evaluation.metrics().values())
    assert evaluation.problems() == [("blank", "no truth", "its depth is 0 everywhere")]
    assert evaluation.abs_rel_by_depth() == []


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_no_number_has_its_image_named(odd):
    evaluation = Evaluation("a", "nyu", [outcome("good"), outcome("odd", silog=odd, log10=odd)])
    assert not math.isfinite(evaluation.metrics()["silog"])
    assert math.isfinite(evaluation.metrics()["rmse"])
    assert evaluation.problems() == [("odd", "metric not finite", "log10, silog")]


def test_a_prediction_that_is_no_number_is_named_though_its_metrics_are_finite():
    evaluation = Evaluation("a", "nyu", [outcome("odd", nonfinite_pixels=7)])
    assert evaluation.problems() == [("odd", "prediction not finite", "7 pixels")]


def test_error_over_depth_is_over_all_pixels():
    image = outcome("x")
    low, high, abs_rel, pixels = Evaluation("a", "nyu", [image, image]).abs_rel_by_depth()[0]
    assert (low, high, pixels) == (*DEPTH_EDGES_M[-3:-1], 6)
    assert abs_rel == pytest.approx(0.5)


def test_results_are_json_and_a_table_whatever_the_numbers(tmp_path):
    evaluations = [Evaluation("a", "nyu", [outcome("x"), ODD_NUMBERS, REFUSED]), Evaluation("b", "nyu", [])]
    write_results(tmp_path, {"rules": "released"}, evaluations)
    tree = results_of(tmp_path)
    assert (tree["format"], tree["rules"]) == (1, "released")
    first, second = tree["evaluations"]
    assert first["metrics"]["abs_rel"] == "inf"
    assert first["metrics"]["silog"] == "nan"
    assert first["abs_rel_by_depth_m"][-1][1] == "inf"
    assert second["metrics"]["rmse"] == "nan"
    assert [kind for _, kind, _ in first["problems"]] == ["metric not finite", "no truth"]
    rows = table_of(tmp_path)
    assert [row["id"] for row in rows] == ["x", ODD_NUMBERS.id, "blank"]
    assert [float(row["abs_rel"]) for row in rows[:2]] == [0.1, np.inf]
    assert rows[2]["abs_rel"] == ""
    assert rows[2]["detail"] == REFUSED.detail
    assert not list(tmp_path.glob(".*"))
