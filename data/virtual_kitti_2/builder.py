"""Virtual KITTI 2: frames of the download, their splits, and the builder of `zoe_virtual_kitti_2/depth`."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoe_jax.input.prepare import PreparationError

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import CopiedPair, visible
from ..split_lists import read_lines
from ..virtual_kitti.builder import METADATA

LAYOUTS = (
    ("vkitti_2.0.3_rgb", "vkitti_2.0.3_depth"),
    ("rgb", "depth"),
    (".", "."),
)
"""Folder of images and folder of depth, from which on both archives have the same folders."""

FRAMES = "Scene*/*/frames/rgb/Camera_0/rgb_*.jpg"
FRAME = re.compile(r"(?P<drive>Scene[^/]+/[^/]+)/frames/rgb/Camera_0/rgb_(?P<number>\d+)\.jpg$")

INTRINSICS = (725.0087, 725.0087, 620.5, 187.0)
"""fx, fy, cx, cy in pixels, of all frames."""

TRAINING_SHARE = 0.92
SEED = 0
SPLITS = ("train", "test")


class ZoeVirtualKitti2(RawBuilder, skip_registration=True):
    """Virtual KITTI 2: rendered drives of KITTI under ten conditions, with dense depth."""

    name = "zoe_virtual_kitti_2"  # TFDS would write the class's name without the last underscore


def find(options: RawOptions) -> list[RawConfig]:
    """The frames of Camera_0, in the splits of the lists where there are some, else in splits drawn by name.

    Raises:
        PreparationError: no layout is there, a list is missing or names a frame that is not in the download.
    """
    frames = {frame.id: frame for frame in _frames(options.raw)}
    lists = options.splits or options.raw
    if options.splits is not None or all((lists / f"{split}.txt").is_file() for split in SPLITS):
        splits = {split: _listed(lists / f"{split}.txt", frames) for split in SPLITS}
        if twice := set(splits["train"]) & set(splits["test"]):
            raise PreparationError(f"{lists}: {min(twice)} and {len(twice) - 1} more are in train.txt and in test.txt")
        unlisted = len(frames) - sum(map(len, splits.values()))
        notes = [f"Splits: as train.txt and test.txt in {lists} have them; frames in neither: {unlisted}."]
    else:
        splits = drawn_splits(list(frames))
        notes = [f"Splits: {100 * TRAINING_SHARE:g} % for training, drawn by the frames' names with seed {SEED}."]
    return [
        RawConfig(
            name="depth",
            metadata=METADATA,
            image_format="jpeg",
            intrinsics=True,
            splits={split: [frames[id_] for id_ in sorted(ids)] for split, ids in splits.items() if ids},
            notes=notes,
        )
    ]


def drawn_splits(ids: Sequence[str], seed: int = SEED) -> dict[str, list[str]]:
    """Train and test, drawn by name: the same on every machine and with every version of NumPy."""
    drawn = sorted(ids, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())
    n_train = int(TRAINING_SHARE * len(drawn))
    return {"train": drawn[:n_train], "test": drawn[n_train:]}


def _frames(raw: Path) -> list[CopiedPair]:
    for image_folder, depth_folder in LAYOUTS:
        images = visible(raw / image_folder, FRAMES)
        if images:
            return [_frame(image, raw / image_folder, raw / depth_folder) for image in images]
    expected = ", ".join(str(Path(folder) / FRAMES) for folder, _ in LAYOUTS)
    raise PreparationError(
        f"--raw {raw} holds no image of Virtual KITTI 2; expected are files such as one of {expected}"
    )


def _frame(image: Path, image_folder: Path, depth_folder: Path) -> CopiedPair:
    relative = image.relative_to(image_folder)
    scene, condition = relative.parts[:2]
    number = image.stem.removeprefix("rgb_")
    depth = depth_folder / scene / condition / "frames/depth/Camera_0" / f"depth_{number}.png"
    return CopiedPair(f"{scene}/{condition}/{number}", image, depth, "jpeg", INTRINSICS)


def _listed(path: Path, frames: Mapping[str, CopiedPair]) -> list[str]:
    """The ids that a list names, each line an image's path on whatever machine the list was made."""
    ids = []
    for place, line in read_lines(path):
        match = FRAME.search(line.strip().replace("\\", "/"))
        if match is None:
            raise PreparationError(f"{place} is {line!r}; expected is a path that ends as {FRAMES}")
        id_ = f"{match['drive']}/{match['number']}"
        if id_ not in frames:
            raise PreparationError(f"{place} names frame {id_}, which is not in the download")
        ids.append(id_)
    if len(set(ids)) < len(ids):
        raise PreparationError(f"{path} names {len(ids) - len(set(ids))} frames more than once")
    return ids


PREPARATION = RawPreparation(
    "virtual_kitti_2",
    "Virtual KITTI 2: rendered drives under ten conditions, dense depth; 21260 images, 8 % for testing.",
    ZoeVirtualKitti2,
    RawOptions,
    find,
)
