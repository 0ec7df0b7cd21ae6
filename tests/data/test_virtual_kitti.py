"""Virtual KITTI 1: both layouts become the same records, whose content is what the original's loader read."""

from pathlib import Path

import numpy as np
import pytest

from tests.data import miniature
from tests.data.raw_sets import assert_as_golden, copy_tree, golden, prepare, records, stored
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.virtual_kitti import PREPARATION

NAME = "zoe_virtual_kitti/depth"

# what the original's loader subtracts and divides by, of images in [0, 1]
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_records_are_what_the_original_reads(tmp_path: Path, reference: Path) -> None:
    raw = miniature.make("vkitti", tmp_path / "raw")
    summary = prepare(PREPARATION, tmp_path / "out", raw)
    assert (summary.name, summary.splits["test"].count) == (NAME, 2)
    found = records(tmp_path / "out", NAME, "test")
    assert [record.id for record in found] == ["00000", "00001"]
    for record, expected in zip(found, golden(reference, "vkitti"), strict=True):
        normalized = (np.asarray(record.image, np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_DEVIATION
        # float32 rounding only: both files are PNG
        assert_as_golden(normalized, expected["image"], 1e-5)
        # the original takes centimetres for metres
        assert_as_golden(np.round(record.depth_m * 100), expected["depth"], 0)
        assert record.domain == "kitti"


def test_the_owners_layout_gives_the_same_records(tmp_path: Path) -> None:
    original = miniature.make("vkitti", tmp_path / "original")
    renamed = [("test_color/", "vkitti_1.3.1_rgb/0001/clone/"), ("test_depth/", "vkitti_1.3.1_depthgt/0001/clone/")]
    owners = copy_tree(original, tmp_path / "owners", renamed)
    prepare(PREPARATION, tmp_path / "a", original)
    prepare(PREPARATION, tmp_path / "b", owners)
    pairs = zip(stored(tmp_path / "a", NAME, "test"), stored(tmp_path / "b", NAME, "test"), strict=True)
    for index, (first, second) in enumerate(pairs):
        assert second["id"].decode() == f"0001/clone/{index:05d}"
        assert (first["image"], first["depth"]) == (second["image"], second["depth"])
        assert second["image"] == (owners / f"vkitti_1.3.1_rgb/0001/clone/{index:05d}.png").read_bytes()
        assert second["depth"] == (owners / f"vkitti_1.3.1_depthgt/0001/clone/{index:05d}.png").read_bytes()
        np.testing.assert_array_equal(second["intrinsics"], np.float32([725, 725, 620.5, 187]))


def test_the_sky_is_no_depth(tmp_path: Path) -> None:
    raw = miniature.make("vkitti", tmp_path / "raw")
    depth_m = np.full((375, 1242), 7.5)
    depth_m[:100] = 655.35
    miniature.write_depth(raw / "test_depth/00001.png", depth_m, 100)
    summary = prepare(PREPARATION, tmp_path / "out", raw).splits["test"].depth
    assert summary.max_depth_m < 100
    assert summary.valid_pixels == (375 + 275) * 1242


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    raw = miniature.make("vkitti", tmp_path / "raw")
    depth = raw / "test_depth/00001.png"

    def fails(match: str, folder: Path = raw, **options: Path) -> None:
        with pytest.raises(PreparationError, match=match):
            prepare(PREPARATION, tmp_path / "out", folder, **options)

    content = depth.read_bytes()
    depth.unlink()
    fails(r"1 file is missing: .*test_depth/00001\.png")
    depth.write_bytes(content[:-2000])
    fails(r"test_depth/00001\.png, which should be depth: it is truncated")
    miniature.write_image(depth, np.zeros((375, 1242), np.uint8))
    fails(r"test_depth/00001\.png, which should be depth: it is a 8-bit grey PNG; depth is 16-bit grey")
    miniature.write_depth(depth, np.ones((370, 1242)), 100)
    fails(r"test_depth/00001\.png is 1242x370, its image 1242x375")
    depth.write_bytes(content)

    image = raw / "test_color/00000.png"
    content = image.read_bytes()
    image.write_bytes(content[:-2000])
    fails(r"test_color/00000\.png cannot be read: .*truncated")
    image.write_bytes(b"GIF89a")
    fails(r"test_color/00000\.png cannot be read: .*it should be an RGB PNG")
    image.write_bytes(content)

    (tmp_path / "empty").mkdir()
    fails(r"holds no image of Virtual KITTI 1\.3\.1; expected are vkitti_1\.3\.1_rgb/", tmp_path / "empty")
    fails("is no folder", tmp_path / "nowhere")
    fails("has no split lists", splits=tmp_path)
    assert not (tmp_path / "out").exists()
