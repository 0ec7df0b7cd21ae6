"""iBims-1: records against the original's loader, the owner's layout, bad input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import miniature
from tests.data.raw_sets import assert_as_golden, assert_refused, assert_same_records, golden, prepare, records, stored
from zoe_jax_data.ibims1 import PREPARATION

NAME = "zoe_ibims1/core_raw"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return miniature.make("ibims", tmp_path / "raw/ibims1_core_raw")


def test_records_are_what_the_original_reads(tmp_path: Path, raw: Path, reference: Path) -> None:
    summary = prepare(PREPARATION, tmp_path / "out", raw)
    assert (summary.name, summary.splits["test"].count) == (NAME, 2)
    found = records(tmp_path / "out", NAME, "test")
    assert [record.id for record in found] == ["corridor_00", "corridor_01"]
    for record, expected in zip(found, golden(reference, "ibims"), strict=True):
        assert record.valid_mask is not None
        assert record.domain == "nyu"
        # float32 rounding only: all files are PNG
        assert_as_golden(record.image / np.float32(255), expected["image"], 1e-6)
        # the original marks what the masks take out; its depth is float64
        depth_m = np.where(record.valid_mask, record.depth_m, np.float32(-1))
        assert_as_golden(depth_m, expected["depth"], 1e-5)


def as_owner(root: Path) -> None:
    """The list beside the folder, masks of 1 bit, intrinsics."""
    (root / "imagelist.txt").rename(root.parent / "imagelist.txt")
    for mask in sorted(root.glob("mask_*/*.png")):
        with Image.open(mask) as image:
            bits = image.convert("1", dither=Image.Dither.NONE)
        bits.save(mask)
    (root / "calib").mkdir()
    for image in root.glob("rgb/*.png"):
        (root / f"calib/{image.stem}.txt").write_text("550.39,548.55,315.27,238.76\n")


def test_owners_layout_gives_the_same_records_and_intrinsics(tmp_path: Path, raw: Path) -> None:
    prepare(PREPARATION, tmp_path / "original", raw)
    as_owner(raw)
    prepare(PREPARATION, tmp_path / "owner", raw.parent)
    assert_same_records(records(tmp_path / "owner", NAME, "test"), records(tmp_path / "original", NAME, "test"))
    for record in stored(tmp_path / "owner", NAME, "test"):
        np.testing.assert_array_equal(record["intrinsics"], np.float32([550.39, 548.55, 315.27, 238.76]))


def test_list_lies_beside_the_folder_that_one_is_in(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_owner(raw)
    monkeypatch.chdir(raw)
    assert prepare(PREPARATION, tmp_path / "out", Path()).splits["test"].count == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_list_may_be_named(tmp_path: Path, raw: Path, encoding: str) -> None:
    (raw / "imagelist.txt").unlink()
    (tmp_path / "mine.txt").write_text("corridor_01", encoding=encoding)
    summary = prepare(PREPARATION, tmp_path / "out", raw, splits=tmp_path / "mine.txt")
    assert summary.splits["test"].count == 1


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no image", r"1 file is missing: .*rgb/corridor_01\.png"),
        ("no mask", r"1 file is missing: .*mask_transp/corridor_01\.png"),
        ("no list", r"there is no .*imagelist\.txt; .*--splits"),
        ("list is no UTF-8", r"imagelist\.txt cannot be read: .*; it should be a list of images as text"),
        ("list leads out", r"imagelist\.txt, line 1: '\.\./\.\./x' leads out of the data set's folder"),
        ("nothing", r"holds no image of iBims-1; expected are rgb/\*\.png"),
        ("truncated", r"rgb/corridor_01\.png cannot be read: .*; it should be an RGB PNG of 8 bits a channel"),
        ("grey", r"rgb/corridor_01\.png is a PNG of mode L; it should be an RGB PNG"),
        ("depth of 8 bits", r"depth/corridor_01\.png, which should be depth: it is a 8-bit grey PNG"),
        ("other size", r"depth/corridor_01\.png is 640x100, its image 640x480 \(width x height\)"),
        ("mask of other size", r"mask_invalid/corridor_01\.png is 640x100, its image 640x480"),
        ("intrinsics", r"calib/corridor_01\.txt holds 3 numbers; it should hold 4, fx, fy, cx, cy"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, raw: Path, what: str, message: str) -> None:
    spoil(raw, what)
    assert_refused(PREPARATION, tmp_path / "data", raw, message)


def spoil(raw: Path, what: str) -> None:
    """Makes corridor_01 bad."""
    image, depth = raw / "rgb/corridor_01.png", raw / "depth/corridor_01.png"
    match what:
        case "no image":
            image.unlink()
        case "no mask":
            (raw / "mask_transp/corridor_01.png").unlink()
        case "no list":
            (raw / "imagelist.txt").unlink()
        case "list is no UTF-8":
            (raw / "imagelist.txt").write_text("küche_01", encoding="latin-1")
        case "list leads out":
            (raw / "imagelist.txt").write_text("../../x")
        case "nothing":
            (raw / "rgb").rename(raw / "images")
        case "truncated":
            image.write_bytes(image.read_bytes()[:1000])
        case "grey":
            miniature.write_image(image, np.zeros((480, 640), np.uint8))
        case "depth of 8 bits":
            miniature.write_image(depth, np.zeros((480, 640), np.uint8))
        case "other size":
            miniature.write_depth(depth, np.ones((100, 640)), 1000)
        case "mask of other size":
            miniature.write_image(raw / "mask_invalid/corridor_01.png", np.zeros((100, 640), np.uint8))
        case "intrinsics":
            as_owner(raw)
            (raw / "calib/corridor_01.txt").write_text("500, 500, 320")
