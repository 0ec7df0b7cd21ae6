"""Virtual KITTI 2: three layouts, splits drawn by name or given by lists, content as the original reads it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.data import miniature
from tests.data.raw_sets import assert_as_golden, copy_tree, golden, prepare, records, stored
from zoe_jax.input.geometry import Sample, kb_crop
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.virtual_kitti_2 import PREPARATION
from zoe_jax_data.virtual_kitti_2.builder import drawn_splits

NAME = "zoe_virtual_kitti_2/depth"
FRAMES = "Scene01/clone/frames"


def write_lists(folder: Path, train: list[str], test: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for split, names in (("train", train), ("test", test)):
        paths = [f"/home/somebody/data/vkitti2/rgb/{FRAMES}/rgb/Camera_0/{name}.jpg" for name in names]
        (folder / f"{split}.txt").write_text("\n".join(paths))
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return miniature.make("vkitti2", tmp_path / "raw")


def test_records_are_what_the_original_reads(tmp_path: Path, raw: Path, reference: Path) -> None:
    lists = write_lists(tmp_path / "lists", [], ["rgb_00000", "rgb_00001"])
    summary = prepare(PREPARATION, tmp_path / "out", raw, splits=lists)
    assert (summary.name, list(summary.splits)) == (NAME, ["test"])
    found = records(tmp_path / "out", NAME, "test")
    assert [record.id for record in found] == ["Scene01/clone/00000", "Scene01/clone/00001"]
    for record, expected in zip(found, golden(reference, "vkitti2"), strict=True):
        image, depth_m, _ = kb_crop(Sample(record.image, record.depth_m, np.ones_like(record.depth_m, bool)))
        # JPEG decoders differ by a grey level or two
        assert_as_golden(np.asarray(image, np.float32) / 255, expected["image"], 0.01)
        # centimetres are exact; the mean is one of float32 numbers
        assert_as_golden(np.where(depth_m > 80, -1, depth_m), expected["depth"], 1e-4)


@pytest.mark.parametrize(
    "renamed",
    [
        [("rgb/Scene01", "Scene01"), ("depth/Scene01", "Scene01")],
        [("rgb/S", "vkitti_2.0.3_rgb/S"), ("depth/S", "vkitti_2.0.3_depth/S")],
    ],
    ids=["one folder", "two folders"],
)
def test_the_owners_layouts_give_the_same_records(tmp_path: Path, raw: Path, renamed: list[tuple[str, str]]) -> None:
    owners = copy_tree(raw, tmp_path / "owners", renamed)
    right = next(owners.rglob("rgb_00000.jpg"))
    other_camera = right.parents[1] / "Camera_1" / right.name
    other_camera.parent.mkdir()
    other_camera.write_bytes(b"the right eye is not looked at")
    summaries = [prepare(PREPARATION, tmp_path / name, folder) for name, folder in (("a", raw), ("b", owners))]
    for split in ("train", "test"):
        assert summaries[0].splits[split].checksum == summaries[1].splits[split].checksum
        (record,) = stored(tmp_path / "b", NAME, split)
        number = record["id"].decode()[-5:]
        assert record["image"] == (raw / f"rgb/{FRAMES}/rgb/Camera_0/rgb_{number}.jpg").read_bytes()
        assert record["depth"] == (raw / f"depth/{FRAMES}/depth/Camera_0/depth_{number}.png").read_bytes()
        np.testing.assert_array_equal(record["intrinsics"], np.float32([725.0087, 725.0087, 620.5, 187]))


def test_drawn_splits_are_the_same_everywhere() -> None:
    ids = [f"Scene{scene:02}/fog/{number:05}" for scene in (1, 2, 6, 18, 20) for number in range(4252)]
    splits = drawn_splits(ids)
    assert (len(splits["train"]), len(splits["test"])) == (19559, 1701)
    assert sorted(splits["train"] + splits["test"]) == sorted(ids)
    assert drawn_splits(ids[::-1]) == splits
    assert drawn_splits(ids, seed=1) != splits
    # the numbers of today: a change would give every user other test images
    digest = hashlib.sha256("\n".join(splits["test"]).encode()).hexdigest()
    assert digest[:16] == "558672403e35dfff"


def test_lists_in_the_download_are_used(tmp_path: Path, raw: Path) -> None:
    write_lists(raw, ["rgb_00001"], ["rgb_00000"])
    summary = prepare(PREPARATION, tmp_path / "out", raw)
    assert [record.id for record in records(tmp_path / "out", NAME, "test")] == ["Scene01/clone/00000"]
    assert [record.id for record in records(tmp_path / "out", NAME, "train")] == ["Scene01/clone/00001"]
    assert "frames in neither: 0" in summary.notes[0]
    write_lists(tmp_path / "others", ["rgb_00000"], ["rgb_00001"])
    with pytest.raises(PreparationError, match="is there, made with another"):
        prepare(PREPARATION, tmp_path / "out", raw, splits=tmp_path / "others")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["rgb_00000"], ["rgb_00000"], r"Scene01/clone/00000 and 0 more are in train\.txt and in test\.txt"),
        ([], ["rgb_00007"], r"test\.txt, line 1 names frame Scene01/clone/00007, which is not in the download"),
        (["rgb_00000", "depth_00001"], [], r"train\.txt, line 2 is .*; expected is a path that ends as Scene"),
        ([], ["rgb_00001", "rgb_00001"], r"test\.txt names 1 frames more than once"),
    ],
)
def test_wrong_lists_are_named(tmp_path: Path, raw: Path, train: list[str], test: list[str], message: str) -> None:
    with pytest.raises(PreparationError, match=message):
        prepare(PREPARATION, tmp_path / "out", raw, splits=write_lists(tmp_path / "lists", train, test))


def test_what_is_wrong_is_named(tmp_path: Path, raw: Path) -> None:
    def fails(match: str, folder: Path = raw, **options: Path) -> None:
        with pytest.raises(PreparationError, match=match):
            prepare(PREPARATION, tmp_path / "out", folder, **options)

    fails(r"nowhere/train\.txt cannot be read: .*; it should be a list of images as text", splits=tmp_path / "nowhere")
    image = raw / f"rgb/{FRAMES}/rgb/Camera_0/rgb_00000.jpg"
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    fails(r"rgb_00000\.jpg cannot be read: .*truncated")
    image.write_bytes(content)
    (raw / f"depth/{FRAMES}/depth/Camera_0/depth_00001.png").unlink()
    fails(r"1 file is missing: .*depth/Scene01/clone/frames/depth/Camera_0/depth_00001\.png")
    (tmp_path / "empty").mkdir()
    fails(
        r"holds no image of Virtual KITTI 2; expected are files such as one of vkitti_2\.0\.3_rgb/", tmp_path / "empty"
    )
