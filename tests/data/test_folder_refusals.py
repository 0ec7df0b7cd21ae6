"""Bad input: each kind is named, counted, left out or refused, and nothing is written half."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.data.folders import (
    depth_of,
    image_of,
    prepare,
    write_depth,
    write_h5,
    write_image,
    write_pairs,
)
from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.reader import PreparedReader


def truncate(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def write_noise_image(path: Path, side: int) -> None:
    write_image(path, np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def spoil(root: Path, what: str) -> None:
    """Makes pair 01 of `write_pairs` bad."""
    image, depth = root / "rgb/01.png", root / "depth/01.png"
    match what:
        case "image is text":
            image.write_text("not an image")
        case "image is truncated":
            write_noise_image(image, 64)
            truncate(image)
        case "image is empty":
            image.write_bytes(b"")
        case "depth of another size":
            write_depth(depth, depth_of(1)[:5], 1000)
        case "depth is zero":
            write_depth(depth, 0 * depth_of(1), 1000)
        case "depth is too deep":
            write_depth(depth, depth_of(1) + 20, 1000)
        case "depth is text":
            depth.write_text("not depth")
        case "depth is truncated":
            write_depth(depth, depth_of(1), 1000)
            truncate(depth)
        case "depth has 8 bits":
            write_image(depth, image_of(1)[..., 0])
        case "depth is a colour picture":
            cv2.imwrite(str(depth), image_of(1).astype(np.uint16))
        case "scale is wrong":
            write_depth(depth, np.full((6, 8), 2, np.float32), 1)
        case "no depth":
            depth.unlink()
        case "no image":
            image.unlink()
        case "two images":
            write_image(root / "rgb/01.jpg", image_of(1))


@pytest.mark.parametrize(
    ("what", "file", "kind", "reason"),
    [
        ("image is text", "rgb/01.png", "unreadable image", "is not an image of a kind that Pillow can read"),
        ("image is truncated", "rgb/01.png", "unreadable image", "truncated"),
        ("image is empty", "rgb/01.png", "unreadable image", "is not an image"),
        ("depth of another size", "depth/01.png", "depth of another size", "it is 8x5, its image 8x6"),
        ("depth is zero", "depth/01.png", "no valid depth", "no pixel is above 0.001 and below 20 m"),
        ("depth is too deep", "depth/01.png", "no valid depth", "no pixel is above"),
        ("depth is text", "depth/01.png", "unreadable depth", "it is not a PNG file"),
        ("depth is truncated", "depth/01.png", "unreadable depth", "it is truncated"),
        ("depth has 8 bits", "depth/01.png", "unreadable depth", "8-bit grey PNG; depth is 16-bit grey"),
        ("depth is a colour picture", "depth/01.png", "unreadable depth", "16-bit colour PNG"),
        ("scale is wrong", "depth/01.png", "wrong scale", "its median depth would be 0.002 m"),
        ("no depth", "rgb/01.png", "image without depth", ""),
        ("no image", "depth/01.png", "depth without image", ""),
        ("two images", "rgb/01.png", "several files for one image", "01.jpg, 01.png"),
    ],
)
def test_a_bad_pair_is_left_out_by_name_or_refused(
    tmp_path: Path, what: str, file: str, kind: str, reason: str
) -> None:
    options = write_pairs(tmp_path, 4) | {"max_depth_m": 20.0}
    spoil(tmp_path, what)
    with pytest.raises(PreparationError) as refusal:
        prepare(tmp_path / "out", **options, strict=True)
    assert str(refusal.value).startswith("--strict refuses to leave out any file; ")
    assert f"{kind}: " in str(refusal.value)
    assert not (tmp_path / "out").exists()

    summary = prepare(tmp_path / "out", **options, validation_share=0.0)
    assert summary.splits["train"].count == 3
    odd = {odd.name: odd for odd in summary.odd_files}[str(tmp_path / file)]
    assert (odd.kind, odd.fate) == (kind, "left out")
    assert reason in odd.reason
    assert str(tmp_path / file) in str(summary)
    reader = PreparedReader("zoe_folder/mine", "train", str(tmp_path / "out"))
    assert sorted(reader[index].id for index in range(3)) == ["00", "02", "03"]


@pytest.mark.parametrize(
    ("spoil_depth", "kind", "pixels"),
    [
        (lambda depth: depth * np.where(np.arange(8) < 2, -1, 1), "negative depth, taken as invalid", 12),
        (lambda depth: np.where(np.arange(8) < 3, np.nan, depth), "NaN or infinite depth, taken as invalid", 18),
        (lambda depth: np.where(np.arange(8) < 1, np.inf, depth), "NaN or infinite depth, taken as invalid", 6),
        (lambda depth: np.where(np.arange(8) < 1, -np.inf, depth), "NaN or infinite depth, taken as invalid", 6),
    ],
)
def test_bad_values_become_invalid_and_are_counted(
    tmp_path: Path, spoil_depth: Callable[[Any], Any], kind: str, pixels: int
) -> None:
    options = write_pairs(tmp_path, 2, depth_suffix=".npy")
    np.save(tmp_path / "depth/01.npy", spoil_depth(depth_of(1)).astype(np.float32))
    summary = prepare(tmp_path / "out", **options, validation_share=0.0, strict=True)  # none is left out
    (odd,) = summary.odd_files
    assert (odd.name, odd.kind, odd.reason, odd.fate) == (
        str(tmp_path / "depth/01.npy"),
        kind,
        f"{pixels} pixels",
        "kept",
    )
    assert summary.splits["train"].depth.valid_pixels == 2 * 48 - pixels
    reader = PreparedReader("zoe_folder/mine", "train", str(tmp_path / "out"))
    stored = {reader[index].id: reader[index].depth_m for index in range(2)}["01"]
    assert np.isfinite(stored).all()
    assert (stored == 0).sum() == pixels


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((6, 8, 3), np.float32), "shape (6, 8, 3); depth is [height, width]"),
        (np.zeros((0, 8), np.float32), "shape (0, 8)"),
        (np.zeros((6, 8), complex), "type complex128"),
        (np.zeros((6, 8), object), "cannot be read"),  # which only pickle could read
        (np.full((6, 8), -1.0), "no pixel is above"),
        (np.full((6, 8), np.nan), "no pixel is above"),
        (np.full((6, 8), 3e38), "wrong scale"),
        (np.full((6, 8), 2500, np.int32), "2.5 m with --depth-units-per-m 1000 or 9.77 m with --depth-units-per-m 256"),
        (np.full((6, 8), 15 * 256.0), "or 15 m with --depth-units-per-m 256"),
        (np.linspace(500, 4000, 48).reshape(6, 8), "2.29 m with --depth-units-per-m 1000"),  # some of it below 1000
    ],
)
def test_arrays_that_are_no_depth_in_metres(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    options = write_pairs(tmp_path, 1, depth_suffix=".npy")
    np.save(tmp_path / "depth/00.npy", array)
    with pytest.raises(PreparationError) as error:
        prepare(tmp_path / "out", **options)
    assert str(error.value).startswith("no pair can be used; ")
    assert reason in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("named", [{"max_depth_m": 100.0}, {}])
def test_a_value_for_missing_depth_says_nothing_of_the_scale(tmp_path: Path, named: dict[str, float]) -> None:
    options = write_pairs(tmp_path, 1, depth_suffix=".npy")
    np.save(tmp_path / "depth/00.npy", np.where(np.arange(8) < 5, np.float32(1e10), depth_of(0)))
    summary = prepare(tmp_path / "out", **options, **named, strict=True)  # none is left out
    assert summary.splits["train"].depth.valid_pixels == 6 * 3


@pytest.mark.parametrize("suffix", [".npy", ".exr", ".h5"])
@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_depth_of_every_kind(tmp_path: Path, suffix: str, damage: bytes | None) -> None:
    options = write_pairs(tmp_path, 2, depth_suffix=suffix)
    bad = tmp_path / f"depth/01{suffix}"
    if damage is None:
        truncate(bad)
    else:
        bad.write_bytes(damage)
    summary = prepare(tmp_path / "out", **options)
    assert [(odd.name, odd.kind) for odd in summary.odd_files] == [(str(bad), "unreadable depth")]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("01.png", np.zeros((6, 8), np.uint8), "no valid depth"),
        ("01.png", np.ones((6, 7), np.uint8), "mask of another size"),
        ("01.png", np.ones((6, 8, 3), np.uint8), "unreadable mask"),
        ("01.png", b"text", "unreadable mask"),
        ("01.npy", b"text", "unreadable mask"),
        ("09.png", np.ones((6, 8), np.uint8), "mask without image"),
    ],
)
def test_bad_masks(tmp_path: Path, name: str, content: Any, kind: str) -> None:
    options = write_pairs(tmp_path, 2)
    mask = write_image(tmp_path / "masks" / name, np.ones((6, 8), np.uint8)) if name.endswith("png") else None
    mask = mask or tmp_path / "masks" / name
    mask.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        mask.write_bytes(content)
    else:
        write_image(mask, content)
    summary = prepare(tmp_path / "out", **options, masks=str(tmp_path / "masks"))
    (odd,) = summary.odd_files
    assert odd.kind == kind


def test_an_image_with_two_masks_is_left_out(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 2)
    write_image(tmp_path / "masks/01.png", np.ones((6, 8), np.uint8))
    np.save(tmp_path / "masks/01.npy", np.ones((6, 8), np.uint8))
    summary = prepare(tmp_path / "out", **options, masks=str(tmp_path / "masks"))
    assert summary.splits["train"].count == 1
    odd = {Path(odd.name).relative_to(tmp_path).as_posix(): odd.kind for odd in summary.odd_files}
    several = "several files for one mask"
    assert odd == {"masks/01.npy": several, "masks/01.png": several, "rgb/01.png": "image with several masks"}


def test_files_of_other_kinds_are_ignored_by_name_and_hidden_ones_silently(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 2)
    (tmp_path / "rgb/Thumbs.db").write_text("")
    (tmp_path / "depth/.DS_Store").write_text("")
    summary = prepare(tmp_path / "out", **options, strict=True)
    assert [(odd.name, odd.fate) for odd in summary.odd_files] == [(str(tmp_path / "rgb/Thumbs.db"), "ignored")]


def test_missing_files_of_a_table_are_named(tmp_path: Path) -> None:
    write_pairs(tmp_path, 2)
    table = tmp_path / "pairs.csv"
    table.write_text("image,depth\nrgb/00.png,depth/00.png\nrgb/01.png,depth/99.png\n")
    summary = prepare(tmp_path / "out", pairs=table, depth_units_per_m=1000.0)
    (odd,) = summary.odd_files
    assert (odd.name, odd.kind, odd.reason) == (str(tmp_path / "depth/99.png"), "missing file", f"{table}, line 3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": "EMPTY"}, "there is no image in EMPTY; it should have files of these kinds: .jpg, .jpeg, .png"),
        ({"depth": "EMPTY"}, "there is no depth file in EMPTY"),
        ({"images": "MISSING"}, "there is no folder MISSING"),
        ({"images": "MISSING/{id}.png"}, "there is no folder MISSING"),
        ({"images": "RGB/{name}.png"}, "it should have {id} once"),
        ({"images": "RGB/{id}_{id}.png"}, "it should have {id} once"),
        ({"images": "RGB/{id}_none.png"}, "there is no image in RGB/{id}_none.png"),
        ({"depth": "RGB"}, "depth in PNG files needs --depth-units-per-m"),
        ({"images": "RGB/0{id}.png"}, "no image has a depth file: RGB/00.png: image without depth"),
        ({"depth": None}, "give either --images and --depth, or --pairs"),
        ({"pairs": Path("x.csv")}, "give either --images and --depth, or --pairs"),
        ({"images": None, "depth": None, "pairs": Path("x.csv")}, "there is no table x.csv"),
        ({"images": None, "depth": None, "pairs": Path("x.csv"), "masks": "m"}, "masks are a column of the table"),
        ({"depth_units_per_m": 0.0}, "--depth-units-per-m is 0.0; it must be positive"),
        ({"min_depth_m": 2.0, "max_depth_m": 1.0}, "0 <= min < max"),
        ({"validation_share": 1.0}, "--validation-share is 1.0"),
        ({"intrinsics": (0.0, 1.0, 2.0, 3.0)}, "fx fy cx cy are 0 1 2 3; they must be finite"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    places = {"EMPTY": str(tmp_path / "empty"), "RGB": str(tmp_path / "rgb"), "MISSING": str(tmp_path / "missing")}
    (tmp_path / "empty").mkdir()
    options = write_pairs(tmp_path, 1, depth_suffix=".npy") | changes
    for word, place in places.items():
        message = message.replace(word, place)
        options = {
            key: value.replace(word, place) if isinstance(value, str) else value for key, value in options.items()
        }
    with pytest.raises(PreparationError) as error:
        prepare(tmp_path / "out", **options)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-x"])
def test_names_that_cannot_be(name: str) -> None:
    from zoe_jax_data.folder.options import FolderOptions

    with pytest.raises(PreparationError, match="NAME is"):
        FolderOptions(name, images="a", depth="b")


@pytest.mark.parametrize(("suffix", "library"), [(".exr", "OpenEXR"), (".h5", "h5py")])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, suffix: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = write_pairs(tmp_path, 1, depth_suffix=suffix)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        PreparationError, match=rf"{suffix} files are read by {library}: pip install 'zoe_jax\[{suffix[1:]}\]'"
    ):
        prepare(tmp_path / "out", **options)


def test_an_exr_without_a_channel_for_depth(tmp_path: Path) -> None:
    from tests.data.folders import write_exr

    options = write_pairs(tmp_path, 1, depth_suffix=".exr")
    flat = np.ones((6, 8), np.float32)
    write_exr(tmp_path / "depth/00.exr", {"G": flat, "B": flat})
    with pytest.raises(PreparationError, match="it has the channels B, G; name one of them by --depth-key"):
        prepare(tmp_path / "out", **options)


def test_an_h5_without_any_data_set(tmp_path: Path) -> None:
    options = write_pairs(tmp_path, 1, depth_suffix=".h5")
    write_h5(tmp_path / "depth/00.h5", {})
    with pytest.raises(PreparationError, match="it has the data sets none"):
        prepare(tmp_path / "out", **options)
