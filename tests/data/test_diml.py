"""DIML: records against the original's loaders, the owner's layout, bad input."""

from pathlib import Path

import numpy as np
import pytest

from tests.data import miniature
from tests.data.raw_sets import (
    assert_as_golden,
    assert_refused,
    assert_same_records,
    copy_tree,
    golden,
    prepare,
    prepare_all,
    records,
    resized_as_original,
    stored,
)
from zoe_jax_data.diml import PREPARATION


@pytest.mark.parametrize(("scenes", "domain"), [("indoor", "nyu"), ("outdoor", "kitti")])
def test_records_are_what_the_original_reads(tmp_path: Path, reference: Path, scenes: str, domain: str) -> None:
    name = f"zoe_diml/{scenes}"
    summary = prepare(PREPARATION, tmp_path / "out", miniature.make(f"diml_{scenes}", tmp_path / "raw"))
    assert (summary.name, summary.splits["test"].count) == (name, 2)
    found = records(tmp_path / "out", name, "test")
    assert [record.id for record in found] == ["scene_a/im_0", "scene_a/im_1"]
    for record, expected in zip(found, golden(reference, f"diml_{scenes}"), strict=True):
        # indoors the original forces 480x640; two ways to interpolate in float32
        image = resized_as_original(record.image, *expected["image"]["shape"][1:])
        assert_as_golden(image, expected["image"], 1e-5)
        # the original's depth is float64
        assert_as_golden(record.depth_m, expected["depth"], 1e-5)
        assert record.domain == domain


def test_owners_layout_gives_the_same_records(tmp_path: Path) -> None:
    owner = tmp_path / "owner"
    for scenes in ("indoor", "outdoor"):
        original = miniature.make(f"diml_{scenes}", tmp_path / scenes)
        prepare(PREPARATION, tmp_path / "a", original)
        renamed = [] if scenes == "indoor" else [("scene_a/", "LR/")]
        copy_tree(original, owner / scenes / "test", renamed)
        # neither the training images nor those of high resolution count
        copy_tree(original, owner / scenes / "train", renamed)
        copy_tree(original, owner / scenes / "test", [("scene_a/" if renamed else "LR/", "HR/")])
    summaries = prepare_all(PREPARATION, tmp_path / "b", owner)
    assert [summary.name for summary in summaries] == ["zoe_diml/indoor", "zoe_diml/outdoor"]
    for summary in summaries:
        one, other = (records(tmp_path / place, summary.name, "test") for place in "ab")
        assert_same_records(one, other)
    for scenes, before in (("indoor", "scene_a/"), ("outdoor", "")):
        found = records(tmp_path / "b", f"zoe_diml/{scenes}", "test")
        assert [record.id for record in found] == [f"{before}im_0", f"{before}im_1"]


def test_files_are_copied_as_they_are(tmp_path: Path) -> None:
    raw = miniature.make("diml_outdoor", tmp_path / "raw")
    prepare(PREPARATION, tmp_path / "out", raw)
    for record in stored(tmp_path / "out", "zoe_diml/outdoor", "test"):
        scene, _, stem = record["id"].decode().partition("/")
        assert record["image"] == (raw / scene / f"outleft/{stem}.png").read_bytes()
        assert record["depth"] == (raw / scene / f"depthmap/{stem}.png").read_bytes()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no depth", r"1 file is missing: .*depth_filled/im_1_depth_filled\.png"),
        ("nothing", r"holds no test image of DIML; expected are indoor/test/LR"),
        ("splits", r"diml has no split lists: .*; leave --splits out"),
        ("image is text", r"im_1_c\.png cannot be read: .*; it should be an RGB PNG of 8 bits a channel"),
        ("image of 16 bits", r"im_1_c\.png is a .*; it should be an RGB PNG of 8 bits a channel"),
        ("image is a JPEG", r"im_1_c\.png is a JPEG of mode RGB; it should be an RGB PNG"),
        ("depth is truncated", r"im_1_depth_filled\.png, which should be depth: it is truncated"),
        ("depth of other size", r"im_1_depth_filled\.png is 500x100, its image 500x300 \(width x height\)"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, what: str, message: str) -> None:
    raw = miniature.make("diml_indoor", tmp_path / "raw")
    spoil(raw / "LR/scene_a", what)
    options = {"splits": tmp_path} if what == "splits" else {}
    assert_refused(PREPARATION, tmp_path / "out", raw, message, **options)


def spoil(scene: Path, what: str) -> None:
    """Makes the second image bad."""
    image, depth = scene / "color/im_1_c.png", scene / "depth_filled/im_1_depth_filled.png"
    match what:
        case "no depth":
            depth.unlink()
        case "nothing":
            (scene / "color").rename(scene / "colour")
        case "image is text":
            image.write_text("no image")
        case "image of 16 bits":
            import cv2

            assert cv2.imwrite(str(image), np.zeros((300, 500, 3), np.uint16))
        case "image is a JPEG":
            miniature.write_image(image.with_suffix(".jpg"), np.zeros((300, 500, 3), np.uint8)).rename(image)
        case "depth is truncated":
            depth.write_bytes(depth.read_bytes()[:-100])
        case "depth of other size":
            miniature.write_depth(depth, np.ones((100, 500)), 1000)
