"""SUN RGB-D: records against the original's loader, the owner's layout with its rotated depth, bad input."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from tests.data import miniature
from tests.data.raw_sets import assert_as_golden, assert_refused, assert_same_records, golden, prepare, records, stored
from zoe_jax_data.sun_rgbd import PREPARATION
from zoe_jax_data.sun_rgbd.builder import decoded

NAME = "zoe_sun_rgbd/depth"

FRAMES = ("kv1/NYUdata/NYU0001", "xtion/sun3ddata/hotel_umd/maryland_hotel3/0001-000000")


def make_owners(original: Path, root: Path) -> Path:
    """The two images of the miniature in the owner's layout, a third that is not of the test split, and the split."""
    for index, frame in enumerate(FRAMES, 1):
        folder = root / "SUNRGBD" / frame
        for kind in ("image", "depth_bfx"):
            (folder / kind).mkdir(parents=True)
        shutil.copy(original / f"rgb/rgb/{index:06d}.jpg", folder / "image/img.jpg")
        millimetres = np.asarray(Image.open(original / f"gt/gt/{index:06d}.png"))
        rotated = ((millimetres.astype(np.int64) << 3) | (millimetres >> 13)) & 0xFFFF
        miniature.write_image(folder / "depth_bfx/depth.png", rotated.astype(np.uint16))
        (folder / "intrinsics.txt").write_text("518.857901 0.000000 284.582449\n0 519.469611 208.736166\n0 0 1\n")
    (root / "SUNRGBD/kv2/kinect2data/000002").mkdir(parents=True)
    # the owner writes two slashes at times, and one at the end at others
    write_split(root, [f"/n/fs/sun3d/data/SUNRGBD/{FRAMES[1]}/", f"/n/fs/sun3d/data//SUNRGBD/{FRAMES[0]}"])
    return root


def write_split(root: Path, alltest: list[str]) -> Path:
    path = root / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    alltrain = ["/n/fs/sun3d/data/SUNRGBD/kv2/kinect2data/000002"]
    cells = {
        name: np.array([names], object).reshape(1, -1) for name, names in (("alltest", alltest), ("alltrain", alltrain))
    }
    scipy.io.savemat(path, cells)
    return path


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return miniature.make("sunrgbd", tmp_path / "original")


def test_records_are_what_the_original_reads(tmp_path: Path, original: Path, reference: Path) -> None:
    summary = prepare(PREPARATION, tmp_path / "out", original)
    assert (summary.name, summary.splits["test"].count) == (NAME, 2)
    found = records(tmp_path / "out", NAME, "test")
    assert [record.id for record in found] == ["000001", "000002"]
    for record, expected in zip(found, golden(reference, "sunrgbd"), strict=True):
        # decoders of JPEG differ by one or two of 255 levels
        assert_as_golden(record.image / np.float32(255), expected["image"], 0.01)
        # the original marks what is beyond 8 m; its depth is float64
        assert_as_golden(np.where(record.depth_m > 8, np.float32(-1), record.depth_m), expected["depth"], 1e-5)
        assert record.domain == "nyu"


def test_rotation_is_undone() -> None:
    every = np.arange(2**16, dtype=np.uint16)[None]
    rotated = ((every.astype(np.int64) << 3) | (every >> 13)) & 0xFFFF
    np.testing.assert_array_equal(decoded(rotated.astype(np.uint16)), every)
    # three bits are not lost: 8 and 1 are 1 and 8192 mm
    np.testing.assert_array_equal(decoded(np.array([[8, 1]], np.uint16)), [[1, 8192]])


def test_owners_layout_gives_the_same_records_and_intrinsics(tmp_path: Path, original: Path) -> None:
    prepare(PREPARATION, tmp_path / "a", original)
    owners = make_owners(original, tmp_path / "owners")
    prepare(PREPARATION, tmp_path / "b", owners)
    found = records(tmp_path / "b", NAME, "test")
    assert_same_records(found, records(tmp_path / "a", NAME, "test"))
    assert [record.id for record in found] == list(FRAMES)
    for record in stored(tmp_path / "b", NAME, "test"):
        intrinsics = [518.857901, 519.469611, 284.582449, 208.736166]
        np.testing.assert_array_equal(record["intrinsics"], np.float32(intrinsics))
        assert record["image"] == (owners / "SUNRGBD" / record["id"].decode() / "image/img.jpg").read_bytes()


@pytest.mark.parametrize("as_folder", [True, False])
def test_split_may_be_named(tmp_path: Path, original: Path, as_folder: bool) -> None:
    owners = make_owners(original, tmp_path / "owners")
    path = write_split(tmp_path / "elsewhere", [f"/n/fs/sun3d/data/SUNRGBD/{FRAMES[0]}"])
    shutil.rmtree(owners / "SUNRGBDtoolbox")
    splits = path.parent if as_folder else path
    # --raw may be the folder SUNRGBD itself
    summary = prepare(PREPARATION, tmp_path / "out", owners / "SUNRGBD", splits=splits)
    assert summary.splits["test"].count == 1


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "no split",
            r"there is no .*SUNRGBDtoolbox/traintestSUNRGBD/allsplit\.mat, which names the test images: unpack",
        ),
        ("split is text", r"allsplit\.mat cannot be read: .*; it should be the owner's allsplit\.mat"),
        ("split of another set", r"allsplit\.mat: '/data/kitchen' names no folder of SUNRGBD"),
        ("no frame", r"3 files are missing: .*NYU0001/image/\*\.jpg, .*depth_bfx/\*\.png, .*NYU0001/intrinsics\.txt"),
        ("no image", r"1 file is missing: .*NYU0001/image/\*\.jpg"),
        ("no depth", r"1 file is missing: .*NYU0001/depth_bfx/\*\.png"),
        ("two images", r"NYU0001/image holds 2 files \*\.jpg; a frame has one"),
        ("truncated image", r"image/img\.jpg cannot be read: .*; it should be an RGB JPEG"),
        ("depth of other size", r"depth_bfx/depth\.png is 640x100, its image 730x530 \(width x height\)"),
        ("intrinsics", r"NYU0001/intrinsics\.txt holds 2 numbers; it should hold 9, the rows of a 3x3 matrix"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, original: Path, what: str, message: str) -> None:
    owners = make_owners(original, tmp_path / "owners")
    spoil(owners, what)
    assert_refused(PREPARATION, tmp_path / "out", owners, message)


def spoil(root: Path, what: str) -> None:
    """Makes the first frame bad, or the split."""
    split = root / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    frame = root / "SUNRGBD" / FRAMES[0]
    image, depth = frame / "image/img.jpg", frame / "depth_bfx/depth.png"
    match what:
        case "no split":
            split.unlink()
        case "split is text":
            split.write_text("kv1/NYUdata/NYU0001")
        case "split of another set":
            write_split(root, ["/data/kitchen"])
        case "no frame":
            shutil.rmtree(frame)
        case "no image":
            image.unlink()
        case "no depth":
            depth.unlink()
        case "two images":
            shutil.copy(image, image.with_name("other.jpg"))
        case "truncated image":
            image.write_bytes(image.read_bytes()[:5000])
        case "depth of other size":
            miniature.write_image(depth, np.ones((100, 640), np.uint16))
        case "intrinsics":
            (frame / "intrinsics.txt").write_text("518.9 519.5")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no depth", r"1 file is missing: .*gt/gt/000002\.png"),
        (
            "tenths of a millimetre",
            r"000002\.png: its median depth would be 51.* m; it should be in millimetres, decoded",
        ),
        ("rotated", r"000002\.png: its median depth would be 24 m; it should be in millimetres, decoded"),
        ("nothing", r"holds no image of SUN RGB-D; expected are SUNRGBD/kv1, .*, or rgb/rgb/\*\.jpg"),
    ],
)
def test_bad_input_in_the_originals_layout_is_named(tmp_path: Path, original: Path, what: str, message: str) -> None:
    depth = original / "gt/gt/000002.png"
    match what:
        case "no depth":
            depth.unlink()
        case "tenths of a millimetre":
            miniature.write_image(depth, np.full((427, 561), 51234, np.uint16))
        case "rotated":
            # 3 m, as in the owner's files
            miniature.write_image(depth, np.full((427, 561), 3000 << 3, np.uint16))
        case "nothing":
            shutil.rmtree(original / "rgb")
    assert_refused(PREPARATION, tmp_path / "out", original, message)
