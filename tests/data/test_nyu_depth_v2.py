"""NYU Depth v2: both layouts, against what the original's loader returned."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from tests.data import miniature
from tests.data.miniature import NYU_TEST_LIST, NYU_TRAIN_LIST, make, write_h5
from tests.data.raw_sets import assert_as_golden, golden, prepare, prepare_all, records, stored
from zoe_jax.input.prepare import PreparationError
from zoe_jax_data.nyu_depth_v2 import PREPARATION
from zoe_jax_data.nyu_depth_v2.builder import INTRINSICS
from zoe_jax_data.raw import RawOptions

SYNC = "zoe_nyu_depth_v2/sync"
LABELLED = "zoe_nyu_depth_v2/labelled"

# Decoders of JPEG differ by one or two grey levels.
JPEG_TOLERANCE = 0.01


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nyu")
    make("nyu_train", folder)
    return make("nyu_test", folder)


@pytest.fixture(scope="module")
def data_dir(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(PREPARATION, folder, raw, splits=raw)
    return folder


@pytest.mark.parametrize(
    ("split", "scene", "loader"),
    [("train", "kitchen_0028b", "nyu_train_noaug"), ("test", "bathroom", "nyu_online_eval")],
)
def test_records_are_what_the_original_loads(
    reference: Path, data_dir: Path, split: str, scene: str, loader: str
) -> None:
    found, expected = records(data_dir, SYNC, split), golden(reference, loader)
    assert [record.id for record in found] == [f"{scene}/rgb_{index:05d}" for index in range(2)]
    for record, loaded in zip(found, expected, strict=True):
        assert_as_golden(record.image / np.float32(255), loaded["image"], JPEG_TOLERANCE)
        depth = {**loaded["depth"], "shape": [1, 480, 640]}  # in evaluation the original has channels last
        # the original divides in float32, too; its mean is of another order of summing
        assert_as_golden(record.depth_m, depth, 1e-6)
        assert record.domain == "nyu"
        assert record.valid_mask is None


def test_files_are_copied_byte_by_byte_and_the_camera_is_the_toolbox(raw: Path, data_dir: Path) -> None:
    for index, record in enumerate(stored(data_dir, "zoe_nyu_depth_v2/sync", "test")):
        scene = raw / "official_splits/test/bathroom"
        assert record["image"] == (scene / f"rgb_{index:05d}.jpg").read_bytes()
        assert record["depth"] == (scene / f"sync_depth_{index:05d}.png").read_bytes()
        np.testing.assert_array_equal(record["intrinsics"], np.float32(INTRINSICS))


def test_a_split_alone(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/official_splits").symlink_to(raw / "official_splits")
    with pytest.raises(PreparationError, match=r"sync, split train, of 2 examples: 4 files are missing: .*--only"):
        prepare(PREPARATION, tmp_path / "data", tmp_path / "raw", splits=raw)
    by_option = prepare(PREPARATION, tmp_path / "option", tmp_path / "raw", splits=raw, only=("test",))
    by_list = prepare(PREPARATION, tmp_path / "list", tmp_path / "raw", splits=raw / NYU_TEST_LIST)
    assert list(by_option.splits) == list(by_list.splits) == ["test"]
    assert by_option.splits["test"].checksum == by_list.splits["test"].checksum


def test_every_image_has_depth(raw: Path, tmp_path: Path) -> None:
    (tmp_path / NYU_TRAIN_LIST).write_text("/kitchen_0028b/rgb_00000.jpg None 518.8579\n")
    with pytest.raises(PreparationError, match=r"train gives no depth for kitchen_0028b/rgb_00000\.jpg"):
        prepare(PREPARATION, tmp_path / "data", raw, splits=tmp_path)


def test_an_empty_download_is_told_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match=r"holds no NYU .* sync or official_splits/test .*labeled\.mat"):
        prepare(PREPARATION, tmp_path / "data", tmp_path)


@pytest.mark.parametrize("name", ["rgb_00001.jpg", "sync_depth_00001.png"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    raw = make("nyu_test", tmp_path / "raw")
    file = raw / "official_splits/test/bathroom" / name
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(PreparationError, match=rf"bathroom/{name}.*truncated"):
        prepare(PREPARATION, tmp_path / "data", raw, splits=raw)
    assert not list(tmp_path.glob("data/**/*.array_record*"))


# ---- the owner's labelled file


def write_labelled(folder: Path, kinds: tuple[str, ...] = ("kitchen", "bathroom", "bathroom"), last: int = 3) -> Path:
    """`nyu_depth_v2_labeled.mat` and `splits.mat`: images 1 and `last` are test, image 2 is train."""
    height, width = 480, 640
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w") as file:
        images, depths = [], []
        for index in range(len(kinds)):
            random = np.random.RandomState(index)
            images.append(miniature.image(random, height, width).T)
            depth_m = miniature.depth(random, height, width, 0.7, 11)
            depths.append(np.where(miniature.holes(random, height, width, 0.1), 0, depth_m).astype(np.float32).T)
        file.create_dataset("images", data=np.stack(images), compression="gzip")
        file.create_dataset("rawDepths", data=np.stack(depths), compression="gzip")
        cells = [file.create_dataset(f"#refs#/{i}", data=[[ord(c)] for c in kind]) for i, kind in enumerate(kinds)]
        file["sceneTypes"] = np.array([[cell.ref for cell in cells]], dtype=h5py.ref_dtype)
    scipy.io.savemat(folder / "splits.mat", {"trainNdxs": [[2]], "testNdxs": [[1], [last]]})
    return folder


def test_the_labelled_file_gives_raw_depth_and_the_official_split(tmp_path: Path) -> None:
    raw = write_labelled(tmp_path / "raw")
    summary = prepare(PREPARATION, tmp_path / "data", raw)
    assert summary.name == LABELLED
    assert {split: part.count for split, part in summary.splits.items()} == {"train": 1, "test": 2}
    (train,) = records(tmp_path / "data", LABELLED, "train")
    assert train.id == "bathroom/rgb_00001"
    test = records(tmp_path / "data", LABELLED, "test")
    assert [record.id for record in test] == ["bathroom/rgb_00002", "kitchen/rgb_00000"]
    for record, index in ((train, 1), (test[0], 2), (test[1], 0)):
        random = np.random.RandomState(index)
        np.testing.assert_array_equal(record.image, miniature.image(random, 480, 640))
        depth_m = miniature.depth(random, 480, 640, 0.7, 11)
        hole = miniature.holes(random, 480, 640, 0.1)
        np.testing.assert_array_equal(record.depth_m, np.where(hole, 0, depth_m).astype(np.float32))
        assert record.domain == "nyu"


def test_both_layouts_in_one_folder(tmp_path: Path) -> None:
    raw = write_labelled(make("nyu_test", tmp_path / "raw"))
    sync, labelled = prepare_all(PREPARATION, tmp_path / "data", raw, splits=raw, only=("test",))
    assert (sync.name, labelled.name) == (SYNC, LABELLED)
    assert list(labelled.splits) == ["test"]


def test_a_labelled_file_that_cannot_be_read_leaves_the_images_taken_out_of_it(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sync").mkdir()
    (tmp_path / "nyu_depth_v2_labeled.mat").touch()
    options = RawOptions(tmp_path, splits=raw)
    (sync,) = PREPARATION.find(options)
    before = "No data set of nyu_depth_v2_labeled.mat: "
    assert (sync.name, sync.notes) == ("sync", (before + "splits.mat does not lie beside it.",))
    (tmp_path / "splits.mat").touch()
    with pytest.raises(PreparationError, match=r"nyu_depth_v2_labeled\.mat cannot be read"):
        PREPARATION.find(options)
    monkeypatch.setitem(sys.modules, "h5py", None)
    (sync,) = PREPARATION.find(options)
    assert sync.notes == (f"{before}nyu_depth_v2_labeled.mat is read by h5py: pip install 'zoe_jax[h5]'.",)


def test_damaged_owner_files_are_named(tmp_path: Path) -> None:
    raw = write_labelled(tmp_path / "range", last=4)
    with pytest.raises(PreparationError, match=r"splits\.mat, testNdxs: images 1 to 4 are named, .* has 1 to 3"):
        prepare(PREPARATION, tmp_path / "data", raw)
    (raw / "splits.mat").unlink()
    with pytest.raises(PreparationError, match=r"splits\.mat cannot be read: .*lies beside nyu_depth_v2_labeled\.mat"):
        prepare(PREPARATION, tmp_path / "data", raw)
    write_h5(raw / "nyu_depth_v2_labeled.mat", np.zeros(3), "images")
    with pytest.raises(PreparationError, match=r"nyu_depth_v2_labeled\.mat cannot be read: .* sceneTypes"):
        prepare(PREPARATION, tmp_path / "data", raw)
    raw = write_labelled(tmp_path / "shape")
    with h5py.File(raw / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["rawDepths"]
        file["rawDepths"] = np.ones((3, 480, 640), np.float32)
    with pytest.raises(PreparationError, match=r"image \d: images have the shape \(3, 640, 480\).*\(480, 640\); they"):
        prepare(PREPARATION, tmp_path / "data", raw)
