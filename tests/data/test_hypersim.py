"""Hypersim: records against the original's loader, distances to depth, the official split, bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest

from tests.data import miniature
from tests.data.raw_sets import (
    assert_as_golden,
    assert_refused,
    assert_same_records,
    golden,
    prepare,
    records,
    resized_as_original,
    stored,
)
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.hypersim import PREPARATION
from zoe_jax_data.hypersim.builder import planar_depth
from zoe_jax_data.hypersim.official_split import COLUMNS, URL
from zoe_jax_data.hypersim.official_split import NAME as SPLIT

NAME = "zoe_hypersim/planar"
SCENE = "ai_001_010"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return miniature.make("hypersim_test", tmp_path / "raw")


def test_records_are_what_the_original_reads(tmp_path: Path, raw: Path, reference: Path) -> None:
    summary = prepare(PREPARATION, tmp_path / "out", raw)
    assert (summary.name, summary.splits["test"].count) == (NAME, 2)
    found = records(tmp_path / "out", NAME, "test")
    assert [record.id for record in found] == [f"{SCENE}/cam_00/frame.{i:04d}" for i in range(2)]
    for record, expected in zip(found, golden(reference, "hypersim_test"), strict=True):
        # decoders of JPEG differ by one or two of 255 levels
        assert_as_golden(resized_as_original(record.image, 480, 640), expected["image"], 0.01)
        depth = expected["depth"]
        valid = record.depth_m > 0
        assert (~valid).sum() == depth["n_nan"]
        # the original's NaN is 0 here; the same arithmetic in float32, so that the tolerance is that of the mean
        assert_as_golden(np.where(valid, record.depth_m, depth["mean"]), depth | {"probes": with_mean(depth)}, 1e-5)
        assert record.domain == "nyu"
    for record in stored(tmp_path / "out", NAME, "test"):
        np.testing.assert_array_equal(record["intrinsics"], np.float32([886.81, 886.81, 512, 384]))


def with_mean(depth: dict[str, Any]) -> list[Any]:
    """Probes, NaN replaced by the mean."""
    return [[y, x, [depth["mean"] if value is None else value for value in values]] for y, x, values in depth["probes"]]


def test_distance_becomes_depth() -> None:
    depth_m = planar_depth(np.full((768, 1024), 5, np.float16))
    assert depth_m.dtype == np.float32
    # figures of the original, of 5 m along the ray
    np.testing.assert_allclose(depth_m[[0, 0, -1, -1], [0, -1, 0, -1]], 4.0559425, rtol=1e-6)
    np.testing.assert_allclose(depth_m[383:385, 511:513], 4.9999986, rtol=1e-6)
    # the definition, in float64: points of the image plane at the distance of 5 m
    y, x = np.mgrid[:768, :1024] - np.array([383.5, 511.5])[:, None, None]
    np.testing.assert_allclose(depth_m, 5 * 886.81 / np.sqrt(x**2 + y**2 + 886.81**2), rtol=1e-6)


def test_scenes_may_lie_as_the_owner_unpacks_them(tmp_path: Path, raw: Path) -> None:
    miniature.make("hypersim_test", tmp_path / "owner/evermotion_dataset/scenes")
    prepare(PREPARATION, tmp_path / "a", raw)
    prepare(PREPARATION, tmp_path / "b", tmp_path / "owner")
    assert_same_records(records(tmp_path / "a", NAME, "test"), records(tmp_path / "b", NAME, "test"))


def write_split(folder: Path, *lines: str) -> Path:
    path = folder / SPLIT
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return path


def test_official_split_takes_its_test_frames(tmp_path: Path, raw: Path) -> None:
    path = write_split(
        tmp_path,
        f"{SCENE},cam_00,0,True,,train",
        f"{SCENE},cam_00,1,True,,test",
        # not released, so not there
        f"{SCENE},cam_00,2,False,CONTENT FLAGGED FOR REMOVAL,",
        f"{SCENE},cam_00,3,False,CONTENT FLAGGED FOR REMOVAL,test",
        "ai_002_001,cam_00,0,True,,val",
    )
    for number, splits in enumerate((path, tmp_path)):
        prepare(PREPARATION, tmp_path / f"out{number}", raw, official_split=True, splits=splits)
        found = records(tmp_path / f"out{number}", NAME, "test")
        assert [record.id for record in found] == [f"{SCENE}/cam_00/frame.0001"]


def test_official_split_is_fetched(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def retrieve(url: str, known_hash: str | None, fname: str, path: Path, progressbar: bool) -> str:
        asked.append((url, path))
        return str(write_split(tmp_path, f"{SCENE},cam_00,1,True,,test"))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setenv("ZOE_JAX_CACHE", str(tmp_path / "cache"))
    summary = prepare(PREPARATION, tmp_path / "out", raw, official_split=True)
    assert summary.splits["test"].count == 1
    assert asked == [(URL, tmp_path / "cache/splits")]


def test_official_split_that_cannot_be_fetched_is_named(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retrieve(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(PreparationError, match=rf"{SPLIT} cannot be fetched \(OSError\); download .* by --splits"):
        prepare(PREPARATION, tmp_path / "out", raw, official_split=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [f"{SCENE},cam_00,7,True,,test"],
            r"2 files are missing: .*frame\.0007\.tonemap\.jpg, .*frame\.0007\.depth_met",
        ),
        ([f"{SCENE},cam_00,0,True,,train"], r"has no line of the public release whose split_partition_name is test"),
    ],
)
def test_official_split_that_does_not_fit_is_named(tmp_path: Path, raw: Path, lines: list[str], message: str) -> None:
    with pytest.raises(PreparationError, match=message):
        prepare(PREPARATION, tmp_path / "out", raw, official_split=True, splits=write_split(tmp_path, *lines))


def test_table_of_another_kind_is_named(tmp_path: Path, raw: Path) -> None:
    (tmp_path / "mine.csv").write_text("scene_name,frame\nai_001_010,0\n")
    with pytest.raises(PreparationError, match=r"mine\.csv has the columns scene_name, frame; metadata_images_split"):
        prepare(PREPARATION, tmp_path / "out", raw, official_split=True, splits=tmp_path / "mine.csv")
    with pytest.raises(PreparationError, match="--splits is read with --official-split only"):
        prepare(PREPARATION, tmp_path / "out", raw, splits=tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no depth", r"1 file is missing: .*scene_cam_00_geometry_hdf5/frame\.0001\.depth_meters\.hdf5"),
        ("nothing", r"holds no scene of Hypersim; expected is ai_\*/images/scene_cam_\*_final_preview/frame"),
        (
            "depth is text",
            r"frame\.0001\.depth_meters\.hdf5 cannot be read: .*; it should be an HDF5 file with distances",
        ),
        ("depth elsewhere", r"depth_meters\.hdf5 cannot be read: .*; it should be .* in 'dataset'"),
        ("depth of other kind", r"depth_meters\.hdf5 holds int32 of shape \(768, 1024\); it should be"),
        ("depth of other size", r"depth_meters\.hdf5 is 1024x100, its image 1024x768 \(width x height\)"),
        ("image of other size", r"frame\.0001\.tonemap\.jpg is 640x480; it should be 1024x768 \(width x height\)"),
        ("truncated image", r"frame\.0001\.tonemap\.jpg cannot be read: .*; it should be an RGB JPEG"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, raw: Path, what: str, message: str) -> None:
    spoil(raw, what)
    assert_refused(PREPARATION, tmp_path / "out", raw, message)


def spoil(raw: Path, what: str) -> None:
    """Makes the second frame bad."""
    image = raw / SCENE / "images/scene_cam_00_final_preview/frame.0001.tonemap.jpg"
    depth = raw / SCENE / "images/scene_cam_00_geometry_hdf5/frame.0001.depth_meters.hdf5"
    match what:
        case "no depth":
            depth.unlink()
        case "nothing":
            (raw / SCENE).rename(raw / "scene")
        case "depth is text":
            depth.write_text("no depth")
        case "depth elsewhere":
            miniature.write_h5(depth, np.ones((768, 1024), np.float16), "depth")
        case "depth of other kind":
            miniature.write_h5(depth, np.ones((768, 1024), np.int32))
        case "depth of other size":
            miniature.write_h5(depth, np.ones((100, 1024), np.float16))
        case "image of other size":
            miniature.write_image(image, np.zeros((480, 640, 3), np.uint8))
        case "truncated image":
            image.write_bytes(image.read_bytes()[:5000])
