"""Miniature raw copies of the paper's data sets: two examples each, laid out as the original's loaders expect them.

The arrays are those that `tests/reference/datasets/loader_goldens.json` was recorded with, down to the last bit: each
example draws from numpy's legacy generator with the seed 10 * (place in DATA_SETS) + (0 or 1), in the order written
here. Images and depth are smooth, so that decoders and resizes differ little; holes are what the sensors leave out.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Writer = Callable[[np.random.RandomState, Path, int], None]
"""Writes the example of this index into the folder of its data set."""

NYU_TRAIN_LIST = "nyudepthv2_train_files_with_gt.txt"
NYU_TEST_LIST = "nyudepthv2_test_files_with_gt.txt"
KITTI_TRAIN_LIST = "kitti_eigen_train_files_with_gt.txt"
KITTI_TEST_LIST = "kitti_eigen_test_files_with_gt.txt"
KITTI_DRIVE = "2011_09_26_drive_0057_sync"

# ---- what is drawn


def image(random: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """uint8 [h, w, 3]."""
    return np.floor(_smooth(random, height, width, 3) * 254 + 0.5).astype(np.uint8)


def depth(random: np.random.RandomState, height: int, width: int, low_m: float, high_m: float) -> np.ndarray:
    """Metres, float64 [h, w]."""
    return low_m + (high_m - low_m) * _smooth(random, height, width, 1)[..., 0]


def holes(random: np.random.RandomState, height: int, width: int, share: float) -> np.ndarray:
    """True where there is no measurement, bool [h, w]."""
    return random.uniform(size=(height, width)) < share


def _smooth(random: np.random.RandomState, height: int, width: int, channels: int) -> np.ndarray:
    """The sum of two ramps with random slopes, within 0 and 1."""
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    a, b = random.uniform(0.2, 0.8, size=(1, 1, channels)), random.uniform(0.1, 0.9, size=(1, 1, channels))
    return np.clip(a * y + (1 - a) * (b * x + (1 - b) * (1 - x)), 0, 1)


# ---- how it is written


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """PNG or JPEG, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def write_depth(path: Path, depth_m: np.ndarray, units_per_m: float, hole: np.ndarray | bool = False) -> Path:
    """16-bit PNG, 0 in holes."""
    return write_image(path, np.where(hole, 0, np.floor(depth_m * units_per_m + 0.5)).astype(np.uint16))


def write_array(path: Path, array: np.ndarray) -> Path:
    """.npy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def write_h5(path: Path, array: np.ndarray, key: str = "dataset") -> Path:
    """HDF5, compressed."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array, compression="gzip")
    return path


def add_line(path: Path, line: str) -> None:
    """To a list; the list is made by its first line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


# ---- the data sets


def _nyu_train(random: np.random.RandomState, root: Path, index: int) -> None:
    line = _nyu(random, root / "sync", "kitchen_0028b", index, "/")
    add_line(root / NYU_TRAIN_LIST, line)


def _nyu_test(random: np.random.RandomState, root: Path, index: int) -> None:
    line = _nyu(random, root / "official_splits/test", "bathroom", index, "")
    add_line(root / NYU_TEST_LIST, line)


def _nyu(random: np.random.RandomState, folder: Path, scene: str, index: int, before: str) -> str:
    height, width = 480, 640
    pixels, depth_m = image(random, height, width), depth(random, height, width, 0.7, 11.0)
    rgb, sync = f"{scene}/rgb_{index:05d}.jpg", f"{scene}/sync_depth_{index:05d}.png"
    write_image(folder / rgb, pixels)
    write_depth(folder / sync, depth_m, 1000, holes(random, height, width, 0.1))
    return f"{before}{rgb} {before}{sync} 518.8579"


def _kitti_train(random: np.random.RandomState, root: Path, index: int) -> None:
    add_line(root / KITTI_TRAIN_LIST, _kitti(random, root, index))


def _kitti_test(random: np.random.RandomState, root: Path, index: int) -> None:
    add_line(root / KITTI_TEST_LIST, _kitti(random, root, index))
    if index == 1:
        # an image without truth: that of index 0 under another name, since each stands in the real list once
        data = f"2011_09_26/{KITTI_DRIVE}/image_02/data"
        shutil.copy(root / f"raw/{data}/{0:010d}.png", root / f"raw/{data}/{2:010d}.png")
        add_line(root / KITTI_TEST_LIST, f"{data}/{2:010d}.png None 721.5377")


def _kitti(random: np.random.RandomState, root: Path, index: int) -> str:
    height, width = [(375, 1242), (370, 1226)][index]
    pixels, depth_m = image(random, height, width), depth(random, height, width, 3, 90)
    rgb = f"2011_09_26/{KITTI_DRIVE}/image_02/data/{index:010d}.png"
    truth = f"{KITTI_DRIVE}/proj_depth/groundtruth/image_02/{index:010d}.png"
    write_image(root / "raw" / rgb, pixels)
    write_depth(root / "gts" / truth, depth_m, 256, holes(random, height, width, 0.7))
    return f"{rgb} {truth} 721.5377"


def _ibims(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width, name = 480, 640, f"corridor_{index:02d}"
    pixels, depth_m = image(random, height, width), depth(random, height, width, 1, 15)
    invalid, transparent = holes(random, height, width, 0.1), holes(random, height, width, 0.05)
    write_image(root / f"rgb/{name}.png", pixels)
    write_depth(root / f"depth/{name}.png", depth_m, 65535 / 50.0, invalid)
    write_image(root / f"mask_invalid/{name}.png", np.where(invalid, 0, 255).astype(np.uint8))
    write_image(root / f"mask_transp/{name}.png", np.where(transparent, 0, 255).astype(np.uint8))
    add_line(root / "imagelist.txt", name)


def _sunrgbd(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width = [(530, 730), (427, 561)][index]
    pixels, depth_m = image(random, height, width), depth(random, height, width, 0.8, 9.5)
    write_image(root / f"rgb/rgb/{index + 1:06d}.jpg", pixels)
    write_depth(root / f"gt/gt/{index + 1:06d}.png", depth_m, 1000, holes(random, height, width, 0.1))


def _diml_indoor(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width, scene = 300, 500, root / "LR/scene_a"
    pixels, depth_m = image(random, height, width), depth(random, height, width, 0.8, 6)
    hole = holes(random, height, width, 0.02)
    write_image(scene / f"color/im_{index}_c.png", pixels)
    write_depth(scene / f"depth_filled/im_{index}_depth_filled.png", depth_m, 1000, hole)


def _diml_outdoor(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width, scene = 384, 640, root / "scene_a"
    pixels, depth_m = image(random, height, width), depth(random, height, width, 1, 60)
    write_image(scene / f"outleft/im_{index}.png", pixels)
    write_depth(scene / f"depthmap/im_{index}.png", depth_m, 1000, holes(random, height, width, 0.1))


def _diode_indoor(random: np.random.RandomState, root: Path, index: int) -> None:
    _diode(random, root, f"0001{index}_00195_indoors_000_010", 12)


def _diode_outdoor(random: np.random.RandomState, root: Path, index: int) -> None:
    _diode(random, root, f"0001{index}_00195_outdoors_000_010", 120)


def _diode(random: np.random.RandomState, root: Path, name: str, high_m: float) -> None:
    height, width, scan = 768, 1024, root / "scene_00019/scan_00195"
    pixels, depth_m = image(random, height, width), depth(random, height, width, 1, high_m).astype(np.float32)
    hole = holes(random, height, width, 0.1)
    write_image(scan / f"{name}.png", pixels)
    write_array(scan / f"{name}_depth.npy", np.where(hole, np.float32(0), depth_m)[..., None])
    # the mask takes out 20 % more, whose depth is not 0: the original ignores the mask
    write_array(scan / f"{name}_depth_mask.npy", np.where(hole | holes(random, height, width, 0.2), 0.0, 1.0))


def _hypersim_test(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width, images = 768, 1024, root / "ai_001_010/images"
    pixels, distance_m = image(random, height, width), depth(random, height, width, 1, 15).astype(np.float16)
    distance_m[:3, :5] = np.nan
    write_image(images / f"scene_cam_00_final_preview/frame.{index:04d}.tonemap.jpg", pixels)
    write_h5(images / f"scene_cam_00_geometry_hdf5/frame.{index:04d}.depth_meters.hdf5", distance_m)


def _vkitti(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width = 375, 1242
    write_image(root / f"test_color/{index:05d}.png", image(random, height, width))
    write_depth(root / f"test_depth/{index:05d}.png", depth(random, height, width, 3, 90), 100)


def _vkitti2(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width = 375, 1242
    pixels, depth_m = image(random, height, width), depth(random, height, width, 3, 120)
    depth_m[:20] = 655.35  # the sky
    frames = "Scene01/clone/frames"
    write_image(root / f"rgb/{frames}/rgb/Camera_0/rgb_{index:05d}.jpg", pixels)
    write_depth(root / f"depth/{frames}/depth/Camera_0/depth_{index:05d}.png", depth_m, 100)


def _ddad(random: np.random.RandomState, root: Path, index: int) -> None:
    height, width = 1216, 1936
    pixels, depth_m = image(random, height, width), depth(random, height, width, 3, 200).astype(np.float32)
    write_image(root / f"{index:06d}_rgb.png", pixels)
    hole = holes(random, height, width, 0.98)
    write_array(root / f"{index:06d}_depth.npy", np.where(hole, np.float32(0), depth_m))


DATA_SETS: dict[str, Writer] = {
    "nyu_train": _nyu_train,
    "nyu_test": _nyu_test,
    "kitti_train": _kitti_train,
    "kitti_test": _kitti_test,
    "ibims": _ibims,
    "sunrgbd": _sunrgbd,
    "diml_indoor": _diml_indoor,
    "diml_outdoor": _diml_outdoor,
    "diode_indoor": _diode_indoor,
    "diode_outdoor": _diode_outdoor,
    "hypersim_test": _hypersim_test,
    "vkitti": _vkitti,
    "vkitti2": _vkitti2,
    "ddad": _ddad,
}
"""By the names of the goldens, in the order that the seeds count."""


def make(name: str, root: Path) -> Path:
    """Writes both examples of a data set into `root`, and the list that names them where the data set has one.

    Names and folders are those of the original's loaders, relative to the folder that they are given; NYU's two are
    in `sync` and `official_splits/test`, KITTI's in `raw` and `gts`, so that one folder takes training and test.
    Virtual KITTI 2 gets no list: the original draws a random one.
    """
    root.mkdir(parents=True, exist_ok=True)
    for index in range(2):
        random = np.random.RandomState(10 * list(DATA_SETS).index(name) + index)
        DATA_SETS[name](random, root, index)
    return root
