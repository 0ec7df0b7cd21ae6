"""KITTI, Eigen split: the layouts, against what the original's loader returned."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.miniature import KITTI_DRIVE, KITTI_TEST_LIST, make
from tests.data.raw_sets import assert_as_golden, assert_same_records, copy_tree, golden, prepare, records, stored
from zoe_jax.input.geometry import Sample, kb_crop
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.kitti_eigen import PREPARATION

NAME = "zoe_kitti_eigen/eigen"
PREFIX = f"2011_09_26/{KITTI_DRIVE}/image_02/data"

CALIBRATION = """calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 7.215377e+02 0.000000e+00 6.095593e+02 4.485728e+01 0.000000e+00 7.215377e+02 1.728540e+02 2.163791e-01 \
0.000000e+00 0.000000e+00 1.000000e+00 2.745884e-03
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("kitti_test", tmp_path_factory.mktemp("kitti"))


@pytest.fixture(scope="module")
def data_dir(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(PREPARATION, folder, raw, splits=raw)
    return folder


def test_records_are_what_the_original_evaluates(reference: Path, data_dir: Path) -> None:
    found, expected = records(data_dir, NAME, "test"), golden(reference, "kitti_online_eval")
    assert [record.id for record in found] == [f"{PREFIX}/{index:010d}" for index in range(3)]
    for record, loaded in zip(found, expected, strict=True):
        image = record.image.astype(np.float32) / np.float32(255)
        cropped = kb_crop(Sample(image, record.depth_m, record.depth_m > 0))
        assert_as_golden(cropped.image, loaded["image"], 1e-6)
        if loaded["has_valid_depth"]:
            assert_as_golden(cropped.depth_m, {**loaded["depth"], "shape": [1, 352, 1216]}, 1e-5)
        else:
            assert not record.depth_m.any()
        assert record.domain == "kitti"


def test_records_are_what_the_original_trains_on(reference: Path, tmp_path: Path) -> None:
    raw = make("kitti_train", tmp_path / "raw")
    summary = prepare(PREPARATION, tmp_path / "data", raw, splits=raw)
    assert list(summary.splits) == ["train"]
    found, expected = records(tmp_path / "data", NAME, "train"), golden(reference, "kitti_train_noaug")
    for record, loaded in zip(found, expected, strict=True):
        image = record.image.astype(np.float32) / np.float32(255)
        cropped = kb_crop(Sample(image, record.depth_m, record.depth_m > 0))
        assert_as_golden(cropped.image, loaded["image"], 1e-6)
        assert_as_golden(cropped.depth_m, loaded["depth"], 1e-5)


def test_images_without_truth_are_counted_in_the_report(raw: Path, tmp_path: Path) -> None:
    summary = prepare(PREPARATION, tmp_path, raw, splits=raw)
    assert summary.splits["test"].count == 3
    assert summary.notes[0] == "Images without truth in test, whose depth is 0: 1."
    assert summary.notes[1] == "No intrinsics: there is no calib_cam_to_cam.txt for 2011_09_26."


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("images", ["raw/", ""])
@pytest.mark.parametrize("depths", ["data_depth_annotated/", ""])
def test_the_owners_layouts(raw: Path, data_dir: Path, tmp_path: Path, part: str, images: str, depths: str) -> None:
    copy_tree(raw, tmp_path / "raw", [("raw/", images), ("gts/", f"{depths}{part}/")])
    prepare(PREPARATION, tmp_path / "data", tmp_path / "raw", splits=raw)
    assert_same_records(records(tmp_path / "data", NAME, "test"), records(data_dir, NAME, "test"))


def test_intrinsics_come_from_the_calibration(raw: Path, tmp_path: Path) -> None:
    copied = copy_tree(raw, tmp_path / "raw", [])
    calibration = copied / "raw/2011_09_26/calib_cam_to_cam.txt"
    calibration.write_text(CALIBRATION)
    prepare(PREPARATION, tmp_path / "data", copied, splits=raw)
    for record in stored(tmp_path / "data", "zoe_kitti_eigen/eigen", "test"):
        np.testing.assert_array_equal(record["intrinsics"], np.float32([721.5377, 721.5377, 609.5593, 172.854]))
    calibration.write_text(CALIBRATION.replace("P_rect_02", "P_rect_03"))
    with pytest.raises(PreparationError, match=r"calib_cam_to_cam\.txt cannot be read: .* P_rect_02 of 12 numbers"):
        prepare(PREPARATION, tmp_path / "other", copied, splits=raw)


def test_a_calibration_that_comes_later_makes_another_data_set(raw: Path, tmp_path: Path) -> None:
    copied = copy_tree(raw, tmp_path / "raw", [])
    prepare(PREPARATION, tmp_path / "data", copied, splits=raw)
    (copied / "raw/2011_09_26/calib_cam_to_cam.txt").write_text(CALIBRATION)
    with pytest.raises(PreparationError, match="is there, made with another test; overwrite it"):
        prepare(PREPARATION, tmp_path / "data", copied, splits=raw)


def test_what_is_missing_is_named(raw: Path, tmp_path: Path) -> None:
    copied = copy_tree(raw, tmp_path / "raw", [("gts/", "somewhere_else/")])
    expected = f"data_depth_annotated/train/{KITTI_DRIVE}/proj_depth/groundtruth/image_02/0000000000.png"
    with pytest.raises(PreparationError, match=f"eigen, split test, of 3 examples: 2 files are missing: .*{expected}"):
        prepare(PREPARATION, tmp_path / "data", copied, splits=raw)
    os.rename(copied / "raw/2011_09_26", copied / "raw/2011_09_27")
    with pytest.raises(PreparationError, match="has none of the days 2011_09_26, neither by itself nor in raw"):
        prepare(PREPARATION, tmp_path / "data", copied, splits=raw)


def test_an_image_and_its_depth_are_of_one_size(raw: Path, tmp_path: Path) -> None:
    (tmp_path / KITTI_TEST_LIST).write_text(
        f"{PREFIX}/0000000000.png {KITTI_DRIVE}/proj_depth/groundtruth/image_02/0000000001.png 721.5377\n"
    )
    with pytest.raises(PreparationError, match=r"image_02/0000000001\.png is 1226x370, its image 1242x375"):
        prepare(PREPARATION, tmp_path / "data", raw, splits=tmp_path)
