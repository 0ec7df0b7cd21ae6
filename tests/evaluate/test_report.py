"""The page of an evaluation: what it must say, whatever the images are called and whatever went wrong."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoe_jax import config
from zoe_jax.evaluate.report import PicturedImage, write_evaluation_report
from zoe_jax.evaluate.results import METRICS, Evaluation, ImageOutcome
from zoe_jax.evaluate.rules import BENCHMARKS
from zoe_jax.input.summary import DEPTH_EDGES_M

HOSTILE = "<script>alert('1')</script>\"$\\frac{"
PAPER = {"abs_rel": 0.075, "rmse": 0.27, "log10": 0.032}


def facts(checkpoints: Mapping[str, str], data_sets: Sequence[str]) -> dict[str, Any]:
    return {
        "zoe_jax": {"commit": "0123abcd", "cores": 2, "versions": {"jax": "9.8.7"}},
        "rules": "released",
        "protocol": "evaluate",
        "flip": True,
        "checkpoints": {
            name: {
                "source": f"{name}.pt",
                "preset": preset,
                "parameters_sha256": f"sha-of-{name}",
                "config": config.to_dict(config.preset(preset)),
            }
            for name, preset in checkpoints.items()
        },
        "data_sets": {
            key: {
                "title": BENCHMARKS[key].title,
                "prepared": BENCHMARKS[key].prepared,
                "split": BENCHMARKS[key].split,
                "images_of_the_paper": BENCHMARKS[key].images,
                "checksum": f"checksum-of-{key}",
                "rule": asdict(BENCHMARKS[key].rules["released"]),
            }
            for key in data_sets
        },
    }


def outcome(name: str, abs_rel: float, routed: str = "nyu", **metrics: float) -> ImageOutcome:
    values = dict.fromkeys(METRICS, 0.5) | {"abs_rel": abs_rel} | metrics
    pixels = [10 if 1 <= low < 5 else 0 for low in DEPTH_EDGES_M[:-1]]
    sums = [abs_rel * count for count in pixels]
    return ImageOutcome(name, "evaluated", "", routed, 50, 0, values, sums, pixels)


def pictured(name: str, metrics: Mapping[str, float], side: int = 8) -> PicturedImage:
    truth_m = np.linspace(1, 4, 2 * side * side, dtype=np.float32).reshape(side, 2 * side)
    image = np.full((side, 2 * side, 3), 200, np.uint8)
    return PicturedImage(name, image, truth_m, truth_m < 3.5, 1.1 * truth_m, metrics)


def text_of(path: Path) -> str:
    """What is read: without styles, pictures and tags, white space squeezed."""
    page = re.sub(r"<style>.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def no_paper(name: str, checkpoint: Mapping[str, Any], data_set: str) -> dict[str, float]:
    return {}


def row_of(path: Path, title: str, checkpoint: str) -> list[list[str]]:
    """The cells of a row of results, in words: the value, then what stands under it."""
    page = path.read_text(encoding="utf-8")
    row = re.search(rf'<th scope="row">{title}<small>{checkpoint}</small></th>(.*?)</tr>', page, re.DOTALL)
    assert row
    return [html.unescape(re.sub(r"<[^>]+>", " ", cell)).split() for cell in re.findall("<td>(.*?)</td>", row[1])]


def test_rule_and_protocol_come_first(tmp_path: Path) -> None:
    path = write_evaluation_report(tmp_path, facts({"a": "zoed_n"}, ["nyu"]), [Evaluation("a", "nyu", [])], {})
    assert path == tmp_path / "report.html"
    page = path.read_text(encoding="utf-8")
    assert "released" in page[page.index("<h1>") : page.index("</h1>")]
    head = page[page.index("</h1>") : page.index("</header>")]
    assert "Rules: released" in head
    assert "Protocol: evaluate" in head
    assert "mirrored image" in head


def test_a_number_stands_beside_the_papers(tmp_path: Path) -> None:
    images = [outcome("i", 0.07, rmse=0.2704), outcome("j", 0.09, rmse=0.2704)]
    path = write_evaluation_report(
        tmp_path,
        facts({"a": "zoed_n"}, ["nyu"]),
        [Evaluation("a", "nyu", images)],
        {},
        lambda name, checkpoint, key: PAPER if (name, checkpoint["preset"], key) == ("a", "zoed_n", "nyu") else {},
    )
    delta1, _, _, abs_rel, rmse, rmse_log, log10, _, count = row_of(path, "NYU Depth v2", "a")
    assert delta1 == rmse_log == ["0.500"]  # nothing published: nothing beside it
    assert abs_rel == ["0.080", "0.075,", "+0.005"]
    assert rmse == ["0.270", "0.270,", "same"]
    assert log10 == ["0.500", "0.032,", "+0.468"]
    assert count == ["2", "of", "654"]


def test_the_papers_own_tables_are_the_default(tmp_path: Path) -> None:
    evaluation = Evaluation("a", "nyu", [outcome("i", 0.075)])
    path = write_evaluation_report(tmp_path, facts({"a": "zoed_n"}, ["nyu"]), [evaluation], {})
    assert row_of(path, "NYU Depth v2", "a")[3] == ["0.075", "0.075,", "same"]


@pytest.mark.parametrize(("odd", "shown"), [(math.nan, "nan"), (math.inf, "inf")])
def test_numbers_that_are_none_are_shown(tmp_path: Path, odd: float, shown: str) -> None:
    images = [outcome("good", 0.1), outcome("odd", odd, silog=odd)]
    shown_images = [pictured(image.id, image.metrics) for image in images]
    evaluation = Evaluation("a", "nyu", images)
    path = write_evaluation_report(
        tmp_path, facts({"a": "zoed_n"}, ["nyu"]), [evaluation], {("a", "nyu"): shown_images}, lambda *_: PAPER
    )
    cells = row_of(path, "NYU Depth v2", "a")
    assert cells[7] == [shown]
    assert cells[3] == [shown, "0.075"]  # a difference would be none either
    text = text_of(path)
    assert "metric not finite: 1" in text
    assert "1 not finite, left out" in text
    assert f"odd: abs_rel {shown}" in text


def test_an_evaluation_without_images_says_so(tmp_path: Path) -> None:
    given = facts({"a": "zoed_n"}, ["nyu", "kitti"])
    left_out = [ImageOutcome("i", "no truth", "its depth is 0 everywhere")]
    evaluations = [Evaluation("a", "nyu", []), Evaluation("a", "kitti", left_out)]
    path = write_evaluation_report(tmp_path, given, evaluations, {}, no_paper)
    assert row_of(path, "KITTI", "a") == [["nan"]] * 8 + [["0", "of", "652"]]
    text = text_of(path)
    assert text.count("No image counts") == 2
    assert "no truth: 1" in text
    assert "its depth is 0 everywhere" in text
    assert "<figure" not in path.read_text(encoding="utf-8")


def test_nothing_evaluated_is_a_page_too(tmp_path: Path) -> None:
    text = text_of(write_evaluation_report(tmp_path, facts({}, []), [], {}))
    assert "Nothing was evaluated" in text
    assert "Rules: released" in text


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    given = facts({HOSTILE: "zoed_nk"}, ["nyu"])
    image = outcome(HOSTILE, 0.1)
    evaluation = Evaluation(HOSTILE, "nyu", [image, ImageOutcome(HOSTILE + "2", "unreadable", "<b>" + HOSTILE)])
    others = Evaluation("_other", "nyu", [image])
    given["checkpoints"]["_other"] = given["checkpoints"][HOSTILE]
    shown = {(HOSTILE, "nyu"): [pictured(HOSTILE, image.metrics)]}
    path = write_evaluation_report(tmp_path, given, [evaluation, others], shown)
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>&lt;" not in page
    text = text_of(path)
    assert text.count(HOSTILE) >= 6
    assert "unreadable: 1" in text
    assert re.search(r'class="legend".*?</i>_other</span>', page)


def test_one_model_with_two_heads_has_its_choices_counted(tmp_path: Path) -> None:
    images = [outcome(f"i{index}", 0.1, "kitti" if index == 0 else "nyu") for index in range(8)]
    given = facts({"two": "zoed_nk", "one": "zoed_n"}, ["nyu"])
    evaluations = [Evaluation(name, "nyu", images) for name in ("two", "one")]
    page = write_evaluation_report(tmp_path, given, evaluations, {}).read_text(encoding="utf-8")
    router = page[page.index("<h2>Router") : page.index("<h2>Problems")]
    assert "<h3>two</h3>" in router
    assert "<h3>one</h3>" not in router
    assert re.findall(r"<td>(\d+)<small>(.*?)</small></td>", router) == [("7", "87.5 %"), ("1", "12.5 %")]


def test_models_with_one_head_have_no_router(tmp_path: Path) -> None:
    evaluation = Evaluation("one", "nyu", [outcome("i", 0.1)])
    text = text_of(write_evaluation_report(tmp_path, facts({"one": "zoed_n"}, ["nyu"]), [evaluation], {}))
    assert "Router" not in text


def test_improvement_is_over_the_first_checkpoint(tmp_path: Path) -> None:
    given = facts({"first": "zoed_n", "second": "zoed_n"}, ["nyu", "ibims"])
    evaluations = [
        Evaluation("first", "nyu", [outcome("i", 0.2, rmse=1.0, delta1=0.5)]),
        Evaluation("second", "nyu", [outcome("i", 0.1, rmse=0.75, delta1=0.5)]),
        Evaluation("first", "ibims", [outcome("i", 0.2)]),
    ]
    text = text_of(write_evaluation_report(tmp_path, given, evaluations, {}, no_paper))
    assert "Mean relative improvement over first, the first checkpoint" in text
    # abs_rel by half, rmse by a quarter, delta1 not at all: a mean of 25 %; iBims-1 has but the first
    assert "NYU Depth v2 +25.0 % iBims-1 not run mRI_D +50.0 % over 1 of 2" in text
    assert "Relative improvement" not in text_of(write_evaluation_report(tmp_path, given, evaluations[:1], {}))


def test_many_problems_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    images = [ImageOutcome(f"image_{index:03d}", "no truth") for index in range(60)]
    evaluations = [Evaluation("a", "nyu", [*images, ImageOutcome("broken", "unreadable", "ends early")])]
    text = text_of(write_evaluation_report(tmp_path, facts({"a": "zoed_n"}, ["nyu"]), evaluations, {}))
    assert "no truth: 60" in text
    assert "The first 50 of 60; images.csv has all" in text
    assert "image_049" in text
    assert "image_050" not in text
    assert text.index("unreadable: 1") < text.index("no truth: 60")  # what somebody must mend comes first
    assert "<details>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_best_and_worst_images_are_told_apart(tmp_path: Path) -> None:
    images = [outcome(f"i{index}", 0.01 * (index + 1)) for index in range(10)]
    shown = [pictured(images[index].id, images[index].metrics) for index in (9, 0, 8, 1)]
    evaluation = Evaluation("a", "nyu", images)
    path = write_evaluation_report(
        tmp_path, facts({"a": "zoed_n"}, ["nyu"]), [evaluation], {("a", "nyu"): shown}, no_paper
    )
    captions = re.findall(r"(i\d): abs_rel ([\d.]+), .*? (rank \d+ of \d+)", text_of(path))
    assert captions == [
        ("i0", "0.010", "rank 1 of 10"),
        ("i1", "0.020", "rank 2 of 10"),
        ("i9", "0.100", "rank 10 of 10"),
        ("i8", "0.090", "rank 9 of 10"),
    ]
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 4 * 4
    assert page.count("data:image/svg+xml") == 4


def test_rules_and_facts_are_told(tmp_path: Path) -> None:
    given = facts({"a": "zoed_n"}, ["diode_indoor", "kitti"])
    evaluations = [Evaluation("a", key, [outcome("i", 0.1)]) for key in ("diode_indoor", "kitti")]
    text = text_of(write_evaluation_report(tmp_path, given, evaluations, {}))
    for said in (
        "DIODE Indoor zoe_diode/indoor, validation 0.001 to 10 m Eigen's box, rows 45 to 470 and columns 41 to 600",
        "resized to 640x480 before the model sees it not used",
        "cut to its lower middle, 1216x352, with the truth",
        "0123abcd",
        "jax 9.8.7",
        "sha-of-a",
        "checksum-of-kitti",
    ):
        assert said in text


def test_other_ways_than_the_papers_are_named(tmp_path: Path) -> None:
    given = facts({"a": "zoed_n"}, ["nyu"])
    evaluations = [Evaluation("a", "nyu", [outcome("i", 0.1)])]
    assert "so were these" in text_of(write_evaluation_report(tmp_path, given, evaluations, {}))
    given |= {"rules": "corrected", "flip": False}
    text = text_of(write_evaluation_report(tmp_path, given, evaluations, {}))
    assert "other rules, no average with the mirrored image" in text
    given["checkpoints"]["a"]["config"] = given["checkpoints"]["a"]["config"] | {"head": None}
    text = text_of(write_evaluation_report(tmp_path, given, evaluations, {}))
    assert "a: relative depth, brought to the truth of each image by a scale and a shift" in text


def test_predictions_that_are_not_finite_are_named(tmp_path: Path) -> None:
    image = replace(outcome("i", 0.1), nonfinite_pixels=7)
    evaluation = Evaluation("a", "nyu", [image])
    text = text_of(write_evaluation_report(tmp_path, facts({"a": "zoed_n"}, ["nyu"]), [evaluation], {}))
    assert "prediction not finite: 1" in text
    assert "7 pixels" in text
