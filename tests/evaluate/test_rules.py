"""The rules against the original's settings, the paper's table of ranges, and each other."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from zoe_jax.config import ConfigError
from zoe_jax.evaluate.rules import BENCHMARKS, GROUPS, Rule, benchmark_names, own_benchmark
from zoe_jax.evaluate.validity import NYU_EIGEN_BOX_PX, crop_mask

ORIGINAL_NAMES = {"hypersim_test": "hypersim", "kitti_test": "kitti"}

# Table 7 of arXiv 2302.12288: evaluated images, range in metres, crop. Of KITTI's 697 images 652 have truth.
TABLE_7 = {
    "NYU Depth v2": (654, 0.001, 10, "nyu_eigen"),
    "SUN RGB-D": (5050, 0.001, 8, "nyu_eigen"),
    "iBims-1": (100, 0.001, 10, "nyu_eigen"),
    "DIODE Indoor": (325, 0.001, 10, "nyu_eigen"),
    "HyperSim": (7690, 0.001, 80, "nyu_eigen"),
    "KITTI": (652, 0.001, 80, "garg"),
    "Virtual KITTI 2": (1701, 0.001, 80, "garg"),
    "DDAD": (3950, 0.001, 80, "garg"),
    "DIML Outdoor": (500, 0.001, 80, "garg"),
    "DIODE Outdoor": (446, 0.001, 80, "garg"),
}

RELATIVE = {"crop": "relative_nyu_eigen"}
AS_IT_IS = {"image_size": None}
MENDED = {
    "sunrgbd": RELATIVE,
    "diode_indoor": RELATIVE | AS_IT_IS | {"use_mask": True},
    "hypersim": RELATIVE | AS_IT_IS,
    "diml_indoor": RELATIVE | AS_IT_IS,
    "ddad": AS_IT_IS,
    "diode_outdoor": AS_IT_IS | {"use_mask": True},
}


def settings_of_the_original(reference):
    stored = json.loads((reference / "train/metrics/metrics.json").read_text())
    return {group["dataset"]: group["eval"] for group in stored["groups"]}


def test_released_ranges_and_crops_are_the_originals(reference):
    settings = settings_of_the_original(reference)
    assert len(settings) == 13
    assert {ORIGINAL_NAMES.get(name, name) for name in settings} == set(BENCHMARKS)
    for name, wanted in settings.items():
        rule = BENCHMARKS[ORIGINAL_NAMES.get(name, name)].rules["released"]
        assert (rule.min_depth_m, rule.max_depth_m) == (wanted["min_depth_eval"], wanted["max_depth_eval"]), name
        crops = {"garg": wanted["garg_crop"], "nyu_eigen": wanted["eigen_crop"]}
        assert crops == {crop: crop == rule.crop for crop in crops}, name


def test_released_images_are_the_originals():
    """The loaders of zoedepth/data: which cut image and truth, which resize the image, which drop a mask."""
    released = {name: benchmark.rules["released"] for name, benchmark in BENCHMARKS.items()}
    assert {name for name, rule in released.items() if rule.kb_crop} == {"kitti", "vkitti2"}
    assert {name: rule.image_size for name, rule in released.items() if rule.image_size} == {
        "diml_indoor": (480, 640),
        "diode_indoor": (480, 640),
        "diode_outdoor": (480, 640),
        "hypersim": (480, 640),
        "ddad": (352, 1216),
    }
    assert {name for name, rule in released.items() if not rule.use_mask} == {"diode_indoor", "diode_outdoor"}


def test_the_papers_rules_are_those_of_its_table():
    by_title = {benchmark.title: benchmark for benchmark in BENCHMARKS.values()}
    for title, (images, low, high, crop) in TABLE_7.items():
        rule = by_title[title].rules["paper"]
        assert (rule.min_depth_m, rule.max_depth_m, rule.crop) == (low, high, crop), title
        assert by_title[title].images == images, title


def test_the_papers_rules_differ_from_the_released_in_the_least_depth_alone():
    for name, benchmark in BENCHMARKS.items():
        released = benchmark.rules["released"]
        assert benchmark.rules["paper"] == replace(released, min_depth_m=1e-3)
        assert (released.min_depth_m != 1e-3) == (name in ("ibims", "sunrgbd", "diml_indoor", "diml_outdoor"))


def test_corrected_rules_mend_what_is_documented_and_nothing_else():
    for name, benchmark in BENCHMARKS.items():
        paper, corrected = asdict(benchmark.rules["paper"]), asdict(benchmark.rules["corrected"])
        differing = {field: value for field, value in corrected.items() if value != paper[field]}
        assert differing == MENDED.get(name, {}), name


def test_the_relative_crop_is_the_fixed_one_at_the_size_of_nyu_and_its_share_elsewhere():
    np.testing.assert_array_equal(crop_mask("relative_nyu_eigen", 480, 640), crop_mask("nyu_eigen", 480, 640))
    doubled = np.kron(crop_mask("nyu_eigen", 480, 640), np.ones((2, 2), bool))
    np.testing.assert_array_equal(crop_mask("relative_nyu_eigen", 960, 1280), doubled)
    top, bottom, left, right = NYU_EIGEN_BOX_PX
    # of a larger image the original counts the upper left part alone
    rows, columns = np.nonzero(crop_mask("nyu_eigen", 768, 1024))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (top, bottom, left, right)
    rows, columns = np.nonzero(crop_mask("relative_nyu_eigen", 768, 1024))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (72, 753, 65, 961)


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (-1, 1), (float("nan"), 1)])
def test_a_range_that_is_none_is_refused(bounds):
    with pytest.raises(ConfigError, match="must satisfy 0 <= min < max"):
        Rule(*bounds)


def test_groups_are_those_of_the_original_and_names_stand_once():
    assert benchmark_names(["indoor"]) == ("nyu", "ibims", "sunrgbd", "diode_indoor", "hypersim")
    assert benchmark_names(["outdoor"]) == ("kitti", "diml_outdoor", "diode_outdoor", "vkitti2", "ddad")
    assert benchmark_names(["all"]) == GROUPS["indoor"] + GROUPS["outdoor"]
    named = ["kitti", "zoe_folder/mine", "outdoor", "kitti"]
    assert benchmark_names(named) == ("kitti", "zoe_folder/mine", "diml_outdoor", "diode_outdoor", "vkitti2", "ddad")
    assert set(GROUPS["all"]) | {"vkitti", "diml_indoor"} == set(BENCHMARKS)


def test_of_an_own_data_set_all_counts_under_every_rule():
    benchmark = own_benchmark("zoe_folder/mine", "validation", 0.5, 20)
    assert set(benchmark.rules) == {"released", "paper", "corrected"}
    assert set(benchmark.rules.values()) == {Rule(0.5, 20)}
    assert (benchmark.prepared, benchmark.split, benchmark.images) == ("zoe_folder/mine", "validation", None)
