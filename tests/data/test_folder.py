"""A folder of images and depth becomes a data set: what is stored, how pairs are found, how splits are made."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.data.folders import (
    depth_of,
    image_of,
    prepare,
    write_depth,
    write_exr,
    write_h5,
    write_image,
    write_pairs,
)
from zoe_jax import cli
from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.reader import PreparedReader, Record

EVERYTHING = {"validation_share": 0.0}


def records(data_dir: Path, split: str = "train") -> dict[str, Record]:
    reader = PreparedReader("zoe_folder/mine", split, str(data_dir))
    return {record.id: record for record in (reader[index] for index in range(len(reader)))}


def stored_bytes(data_dir: Path) -> dict[str, dict[str, Any]]:
    builder = tfds.builder_from_directory(data_dir / "zoe_folder/mine/1.0.0")
    skip: Any = {name: tfds.decode.SkipDecoding() for name in builder.info.features if name in ("image", "depth")}
    source: Any = builder.as_data_source("train", decoders=skip)
    return {source[index]["id"].decode(): source[index] for index in range(len(source))}


# ---- what is stored


@pytest.mark.parametrize("image_suffix", [".jpg", ".png"])
def test_bytes_of_images_and_png_depth_are_copied(tmp_path: Path, image_suffix: str) -> None:
    options = write_pairs(tmp_path, 3, image_suffix)
    prepare(tmp_path / "out", **options, **EVERYTHING)
    stored = stored_bytes(tmp_path / "out")
    assert sorted(stored) == ["00", "01", "02"]
    for name, record in stored.items():
        assert record["image"] == (tmp_path / f"rgb/{name}{image_suffix}").read_bytes()
        assert record["depth"] == (tmp_path / f"depth/{name}.png").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".npy", ".exr", ".h5"])
def test_depth_of_every_kind_arrives_in_metres(tmp_path: Path, suffix: str) -> None:
    options = write_pairs(tmp_path, 3, depth_suffix=suffix)
    summary = prepare(tmp_path / "out", **options, **EVERYTHING)
    found = records(tmp_path / "out")
    for index in range(3):
        record = found[f"{index:02}"]
        np.testing.assert_array_equal(record.image, image_of(index))
        np.testing.assert_array_equal(record.depth_m, depth_of(index))
        assert record.valid_mask is None
    depths = np.stack([depth_of(index) for index in range(3)])
    statistics = summary.splits["train"].depth
    assert (statistics.min_depth_m, statistics.max_depth_m) == (depths.min(), depths.max())


def test_a_scale_applies_to_every_kind(tmp_path: Path) -> None:
    for suffix in (".npy", ".exr", ".h5", ".png"):
        write_image(tmp_path / f"rgb/{suffix[1:]}.png", image_of(1))
        write_depth(tmp_path / f"depth/{suffix[1:]}{suffix}", depth_of(1), 256)
    options = {"images": str(tmp_path / "rgb"), "depth": str(tmp_path / "depth")}
    prepare(tmp_path / "out", **options, depth_units_per_m=256.0, **EVERYTHING)
    found = records(tmp_path / "out")
    assert sorted(found) == ["exr", "h5", "npy", "png"]  # mixed: all as float
    for name, record in found.items():
        # the PNG holds whole units, 1/256 m
        tolerance_m = 0.5 / 256 if name == "png" else 1e-6
        np.testing.assert_allclose(record.depth_m, depth_of(1), atol=tolerance_m)


def test_layers_and_names_within_depth_files(tmp_path: Path) -> None:
    write_image(tmp_path / "rgb/a.png", image_of(0))
    (tmp_path / "depth").mkdir()
    noise = np.full((6, 8), 7, np.float32)
    options = {"images": str(tmp_path / "rgb"), "depth": str(tmp_path / "depth"), **EVERYTHING}

    write_exr(tmp_path / "depth/a.exr", {"R": noise, "G": noise, "B": noise, "View.Depth.Z": depth_of(0)})
    prepare(tmp_path / "by_rule", **options)
    np.testing.assert_array_equal(records(tmp_path / "by_rule")["a"].depth_m, depth_of(0))

    (tmp_path / "depth/a.exr").unlink()
    write_h5(tmp_path / "depth/a.h5", {"frames/depth": depth_of(0)[None], "frames/error": noise})
    with pytest.raises(PreparationError, match=r"frames/depth, frames/error; name one of them by --depth-key"):
        prepare(tmp_path / "unnamed", **options)
    prepare(tmp_path / "named", **options, depth_key="/frames/depth")
    np.testing.assert_array_equal(records(tmp_path / "named")["a"].depth_m, depth_of(0))


def test_images_that_decoders_would_see_differently_are_stored_as_rgb(tmp_path: Path) -> None:
    folder, image = tmp_path / "rgb", image_of(0)
    grey = image[..., 0]
    write_image(folder / "rgb.bmp", image)
    write_image(folder / "grey.png", grey)
    write_image(folder / "alpha.png", np.dstack([image, grey]))
    write_image(folder / "sixteen.png", grey.astype(np.uint16) * 257)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(image)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(folder / "turned.png", exif=exif)
    Image.fromarray(image).quantize(256).save(folder / "palette.png")
    for path in folder.iterdir():
        write_depth(tmp_path / f"depth/{path.stem}.npy", depth_of(0))
    prepare(tmp_path / "out", images=str(folder), depth=str(tmp_path / "depth"), **EVERYTHING)
    found = records(tmp_path / "out")
    assert len(found) == 6
    three_times_grey = np.repeat(grey[..., None], 3, axis=2)
    for name in ("rgb", "alpha", "turned", "palette"):
        np.testing.assert_array_equal(found[name].image, image, err_msg=name)
    for name in ("grey", "sixteen"):
        np.testing.assert_array_equal(found[name].image, three_times_grey, err_msg=name)


def test_masks_intrinsics_and_domain(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 2)
    mask = np.zeros((6, 8), np.uint8)
    mask[2:] = 255
    write_image(tmp_path / "masks/00.png", mask)
    summary = prepare(
        tmp_path / "out",
        **options,
        **EVERYTHING,
        masks=str(tmp_path / "masks"),
        intrinsics=(500.0, 501.0, 4.0, 3.0),
        domain="kitti",
        max_depth_m=2.0,
    )
    found = records(tmp_path / "out")
    mine, other = found["00"], found["01"]
    assert mine.valid_mask is not None
    assert other.valid_mask is not None
    np.testing.assert_array_equal(mine.valid_mask, mask != 0)
    assert other.valid_mask.all()
    assert mine.domain == "kitti"
    assert summary.notes[0] == "Images without a mask, all of whose pixels count: 1."
    np.testing.assert_array_equal(stored_bytes(tmp_path / "out")["00"]["intrinsics"], [500, 501, 4, 3])
    valid = int((depth_of(0)[2:] < 2).sum() + (depth_of(1) < 2).sum())
    assert summary.splits["train"].depth.valid_pixels == valid


# ---- how pairs are found


def test_parallel_folders_may_have_folders_in_them(tmp_path: Path) -> None:
    for name in ("a/1", "b/1"):
        write_image(tmp_path / f"rgb/{name}.jpg", image_of(0))
        write_depth(tmp_path / f"depth/{name}.npy", depth_of(0))
    prepare(tmp_path / "out", images=str(tmp_path / "rgb"), depth=str(tmp_path / "depth"), **EVERYTHING)
    assert sorted(records(tmp_path / "out")) == ["a/1", "b/1"]


@pytest.mark.parametrize(
    ("images", "depth"),
    [("{id}_rgb.png", "{id}_depth.npy"), ("*_rgb.png", "*_depth.npy"), ("s*/{id}_rgb.png", "s*/{id}_depth.npy")],
)
def test_patterns_in_one_folder(tmp_path: Path, images: str, depth: str) -> None:
    for index in range(3):
        write_image(tmp_path / f"scans/{index}_rgb.png", image_of(index))
        write_depth(tmp_path / f"scans/{index}_depth.npy", depth_of(index))
    folder = tmp_path if "/" in images else tmp_path / "scans"
    summary = prepare(tmp_path / "out", images=f"{folder}/{images}", depth=f"{folder}/{depth}", **EVERYTHING)
    found = records(tmp_path / "out")
    assert sorted(found) == ["0", "1", "2"]
    np.testing.assert_array_equal(found["2"].depth_m, depth_of(2))
    assert summary.odd_files == ()


def test_a_pattern_can_name_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "night"):
        write_image(tmp_path / split / "rgb/0.png", image_of(0))
        write_depth(tmp_path / split / "depth/0.npy", depth_of(0))
    patterns = {"images": f"{tmp_path}/{{split}}/rgb/{{id}}.png", "depth": f"{tmp_path}/{{split}}/depth/{{id}}.npy"}
    summary = prepare(tmp_path / "out", **patterns)
    assert list(summary.splits) == ["train", "validation", "night"]
    assert list(records(tmp_path / "out", "night")) == ["night/0"]  # ids differ over all splits


def write_table(file: Path, lines: list[dict[str, Any]]) -> Path:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return file


def test_a_table_says_everything(tmp_path: Path) -> None:
    write_pairs(tmp_path, 3, depth_suffix=".npy")
    write_image(tmp_path / "mask.png", np.full((6, 8), 1, np.uint8))
    lines = [
        {"image": f"rgb/{i:02}.png", "depth": f"depth/{i:02}.npy", "mask": "mask.png" if i else "", "id": f"scan {i}"}
        | {"split": ("train", "train", "val")[i], "fx": 10 + i, "fy": 10, "cx": 4, "cy": 3}
        for i in range(3)
    ]
    summary = prepare(tmp_path / "out", pairs=write_table(tmp_path / "pairs.csv", lines))
    assert {split: part.count for split, part in summary.splits.items()} == {"train": 2, "validation": 1}
    stored = stored_bytes(tmp_path / "out")
    assert stored["scan 1"]["intrinsics"].tolist() == [11, 10, 4, 3]
    np.testing.assert_array_equal(records(tmp_path / "out")["scan 1"].depth_m, depth_of(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,depth,masks\na,b,c\n", "columns image, depth, masks; image and depth are needed"),
        ("image\na\n", "has the columns image; image and depth are needed"),
        ("", "has the columns none"),
        ("image,depth\n", "no line below its columns"),
        ("image,depth\nrgb/00.png\n", "line 2: it should have 2 values"),
        ("image,depth\nrgb/00.png,\n", "line 2: column depth is empty"),
        ("image,depth\nrgb/00.png,depth/00.png\nrgb/00.png,depth/00.png\n", "line 3: 'rgb/00' is there twice"),
        ("image,depth,split\nrgb/00.png,depth/00.png,a b\n", "'a b' cannot name a split"),
        ("image,depth,fx,fy,cx,cy\nrgb/00.png,depth/00.png,1,2,3,\n", "line 2: fx, fy, cx, cy are 1, 2, 3, ;"),
        ("image,depth,fx,fy,cx,cy\nrgb/00.png,depth/00.png,0,2,3,4\n", "fx and fy positive"),
        (
            "image,depth,fx,fy,cx,cy\nrgb/00.png,depth/00.png,1,2,3,4\nrgb/01.png,depth/01.png,,,,\n",
            "1 pairs, such as 'rgb/01', have no fx, fy, cx, cy",
        ),
    ],
)
def test_tables_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    write_pairs(tmp_path, 2)
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(PreparationError) as error:
        prepare(tmp_path / "out", pairs=tmp_path / "pairs.csv", depth_units_per_m=1000.0)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


# ---- splits


def test_a_share_is_drawn_by_name_and_seed(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 20)
    drawn = []
    for seed in (0, 0, 1):
        out = tmp_path / str(len(drawn))
        summary = prepare(out, **options, seed=seed, validation_share=0.3)
        assert {split: part.count for split, part in summary.splits.items()} == {"train": 14, "validation": 6}
        drawn.append(set(records(out, "validation")))
        assert not drawn[-1] & set(records(out, "train"))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("n", "share", "validation"), [(2, 0.01, 1), (3, 0.99, 2), (1, 0.5, 0), (4, 0.0, 0)])
def test_a_share_leaves_something_to_both(tmp_path: Path, n: int, share: float, validation: int) -> None:
    summary = prepare(tmp_path / "out", **write_pairs(tmp_path, n), validation_share=share)
    counts = {split: part.count for split, part in summary.splits.items()}
    assert counts == {"train": n - validation} | ({"validation": validation} if validation else {})


def test_a_share_is_drawn_of_the_images_that_can_be_used(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 5)
    prepare(tmp_path / "whole", **options)
    (drawn,) = records(tmp_path / "whole", "validation")
    write_depth(tmp_path / f"depth/{drawn}.png", np.zeros((6, 8), np.float32))
    summary = prepare(tmp_path / "out", **options)
    assert {split: part.count for split, part in summary.splits.items()} == {"train": 3, "validation": 1}
    assert f"--data.validation.0.name {summary.name}" in summary.notes[-1]


def test_splits_by_folder(tmp_path: Path) -> None:
    for name in ("training/1", "training/2", "valid/1"):
        write_image(tmp_path / f"rgb/{name}.png", image_of(0))
        write_depth(tmp_path / f"depth/{name}.npy", depth_of(0))
    options = {"images": str(tmp_path / "rgb"), "depth": str(tmp_path / "depth"), "split_by": "folder"}
    summary = prepare(tmp_path / "out", **options)
    assert {split: part.count for split, part in summary.splits.items()} == {"train": 2, "validation": 1}
    write_image(tmp_path / "rgb/3.png", image_of(0))
    write_depth(tmp_path / "depth/3.npy", depth_of(0))
    with pytest.raises(PreparationError, match=r"3\.png lies in no sub-folder that could name its split"):
        prepare(tmp_path / "other", **options)


# ---- the whole


def test_a_dry_run_reports_the_same_and_writes_nothing(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 5, ".jpg") | {"validation_share": 0.2, "max_depth_m": 2.2}
    would_be = prepare(tmp_path / "out", **options, dry_run=True)
    assert not (tmp_path / "out").exists()
    assert would_be.folder is None
    assert "nothing was written" in str(would_be)
    real = prepare(tmp_path / "out", **options)
    unchecked = {split: dataclasses.replace(part, checksum="") for split, part in real.splits.items()}
    assert would_be.splits == unchecked


def test_a_change_of_files_or_options_is_noticed(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 3)
    prepare(tmp_path / "out", **options)
    assert prepare(tmp_path / "out", **options).was_there
    with pytest.raises(PreparationError, match="made with another depth_units_per_m; overwrite it"):
        prepare(tmp_path / "out", **options | {"depth_units_per_m": 500.0})
    write_depth(tmp_path / "depth/01.png", depth_of(7), 1000)
    with pytest.raises(PreparationError, match="made with another files"):
        prepare(tmp_path / "out", **options)
    assert not prepare(tmp_path / "out", **options, overwrite=True).was_there
    np.testing.assert_array_equal(
        (records(tmp_path / "out") | records(tmp_path / "out", "validation"))["01"].depth_m, depth_of(7)
    )


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(tmp_path, 4)
    folders = ["--images", f"{tmp_path}/rgb", "--depth", f"{tmp_path}/depth", "--data-dir", f"{tmp_path}/out"]
    assert cli.main(["prepare", "folder", "mine", *folders, "--depth-units-per-m", "1000"]) == 0
    text = capsys.readouterr().out
    assert "train: 3 images, width x height 8x6" in text
    assert "validation: 1 image" in text
    assert "--data.train.0.name zoe_folder/mine" in text  # what comes next
    assert len(records(tmp_path / "out")) == 3


def test_help_is_about_everything_that_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "folder", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    from zoe_jax_data.folder.options import FolderOptions

    for field in dataclasses.fields(FolderOptions):
        assert (f"--{field.name.replace('_', '-')}" if field.name != "name" else "NAME") in text
