"""DIODE: records against the original's loader, the owner's layout, bad input."""

from pathlib import Path

import numpy as np
import pytest

from tests.data import miniature
from tests.data.raw_sets import (
    assert_as_golden,
    assert_refused,
    assert_same_records,
    golden,
    prepare,
    prepare_all,
    records,
    resized_as_original,
    stored,
)
from zoe_jax_data.diode import PREPARATION

SCAN = "scene_00019/scan_00195"


@pytest.mark.parametrize(("scenes", "domain"), [("indoor", "nyu"), ("outdoor", "kitti")])
def test_records_are_what_the_original_reads(tmp_path: Path, reference: Path, scenes: str, domain: str) -> None:
    name = f"zoe_diode/{scenes}"
    summary = prepare(PREPARATION, tmp_path / "out", miniature.make(f"diode_{scenes}", tmp_path / "raw"))
    assert (summary.name, summary.splits["validation"].count) == (name, 2)
    found = records(tmp_path / "out", name, "validation")
    assert [record.id for record in found] == [f"{SCAN}/0001{i}_00195_{scenes}s_000_010" for i in range(2)]
    for record, expected in zip(found, golden(reference, f"diode_{scenes}"), strict=True):
        # two ways to interpolate in float32
        assert_as_golden(resized_as_original(record.image, 480, 640), expected["image"], 1e-5)
        # the original drops the mask, and so does this comparison: depth is stored where the mask denies it
        assert_as_golden(record.depth_m, expected["depth"], 1e-5)
        assert record.domain == domain
    for record in stored(tmp_path / "out", name, "validation"):
        np.testing.assert_array_equal(record["intrinsics"], np.float32([886.81, 927.06, 512, 384]))


def test_mask_is_stored_beside_the_depth(tmp_path: Path) -> None:
    raw = miniature.make("diode_indoor", tmp_path / "raw")
    prepare(PREPARATION, tmp_path / "out", raw)
    for record in records(tmp_path / "out", "zoe_diode/indoor", "validation"):
        np.testing.assert_array_equal(record.valid_mask, np.load(raw / f"{record.id}_depth_mask.npy") == 1)
        denied = record.depth_m[~record.valid_mask]
        # of the 28 % that are denied, a share of .18 / .28 has depth; 786432 pixels leave no more to chance than this
        assert 0.6 < np.mean(denied > 0) < 0.68


def test_owners_layout_gives_the_same_records(tmp_path: Path) -> None:
    for scenes, folder in (("indoor", "indoors"), ("outdoor", "outdoor")):
        original = miniature.make(f"diode_{scenes}", tmp_path / f"diode_{scenes}")
        miniature.make(f"diode_{scenes}", tmp_path / "owner/val" / folder)
        prepare(PREPARATION, tmp_path / "a", original)
    summaries = prepare_all(PREPARATION, tmp_path / "b", tmp_path / "owner")
    assert [summary.name for summary in summaries] == ["zoe_diode/indoor", "zoe_diode/outdoor"]
    for summary in summaries:
        one, other = (records(tmp_path / place, summary.name, "validation") for place in "ab")
        assert_same_records(one, other)
        assert [record.id for record in one] == [record.id for record in other]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no depth", r"1 file is missing: .*00011_00195_indoors_000_010_depth\.npy"),
        ("nothing", r"holds no image of DIODE; expected are val/indoors/scene_"),
        ("splits", r"diode has no split lists: .*; leave --splits out"),
        ("depth is text", r"_depth\.npy, which should be depth: cannot be read"),
        ("depth is pickled", r"_depth\.npy, which should be depth: cannot be read"),
        ("depth of other size", r"_depth\.npy is 1024x100, its image 1024x768 \(width x height\)"),
        ("mask is text", r"_depth_mask\.npy, which should be a mask: cannot be read"),
        ("mask of other size", r"_depth_mask\.npy is 1024x100, its image 1024x768 \(width x height\)"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, what: str, message: str) -> None:
    raw = miniature.make("diode_indoor", tmp_path / "raw")
    spoil(raw / SCAN, what)
    options = {"splits": tmp_path} if what == "splits" else {}
    assert_refused(PREPARATION, tmp_path / "out", raw, message, **options)


def spoil(scan: Path, what: str) -> None:
    """Makes the second image bad."""
    stem = "00011_00195_indoors_000_010"
    depth, mask = scan / f"{stem}_depth.npy", scan / f"{stem}_depth_mask.npy"
    match what:
        case "no depth":
            depth.unlink()
        case "nothing":
            scan.rename(scan.with_name("other"))
        case "depth is text":
            depth.write_text("no depth")
        case "depth is pickled":
            np.save(depth, np.array([{"depth": 1}], object), allow_pickle=True)
        case "depth of other size":
            miniature.write_array(depth, np.ones((100, 1024, 1), np.float32))
        case "mask is text":
            mask.write_text("no mask")
        case "mask of other size":
            miniature.write_array(mask, np.ones((100, 1024)))


def test_what_is_no_number_becomes_0(tmp_path: Path) -> None:
    raw = miniature.make("diode_indoor", tmp_path / "raw")
    path = raw / SCAN / "00010_00195_indoors_000_010_depth.npy"
    depth_m = np.load(path)
    depth_m[0, :4, 0] = [np.nan, np.inf, -1, 2]
    np.save(path, depth_m)
    prepare(PREPARATION, tmp_path / "out", raw)
    record = records(tmp_path / "out", "zoe_diode/indoor", "validation")[0]
    np.testing.assert_array_equal(record.depth_m[0, :4], [0, 0, 0, 2])
