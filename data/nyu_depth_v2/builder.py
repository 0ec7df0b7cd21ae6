"""The TFDS builder of `zoe_nyu_depth_v2/sync` and `zoe_nyu_depth_v2/labelled`."""

from collections.abc import Sequence

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import CopiedPair
from ..split_lists import SplitList, read_lists
from .labelled import LABELLED, SPLITS, find_labelled

MAX_DEPTH_M = 10.0
"""`maxDepth` of the owner's `camera_params.m`: the Kinect sees no farther."""

INTRINSICS = (518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465)
"""fx, fy, cx, cy of the colour camera in pixels, for images of 480x640: `camera_params.m`, too."""

LISTS = {
    "train": SplitList("nyudepthv2_train_files_with_gt.txt", 24231),
    "test": SplitList("nyudepthv2_test_files_with_gt.txt", 654),
}

FOLDERS = {"train": "sync", "test": "official_splits/test"}
"""What the paths of each list are relative to."""


class ZoeNyuDepthV2(RawBuilder, skip_registration=True):
    """NYU Depth v2: indoor images with the depth of a Kinect."""


def find(options: RawOptions) -> list[RawConfig]:
    """The configurations of what is there.

    Raises:
        PreparationError: nothing of it is there, or a list is not as it should be.
    """
    configs = []
    if any((options.raw / folder).is_dir() for folder in FOLDERS.values()):
        configs.append(_sync(options))
    if (options.raw / LABELLED).is_file():
        examples = find_labelled(options.raw, INTRINSICS)
        configs.append(
            RawConfig(
                name="labelled", metadata=DepthMetadata(0, MAX_DEPTH_M, None, "nyu"), intrinsics=True, splits=examples
            )
        )
    if not configs:
        raise PreparationError(
            f"--raw {options.raw} holds no NYU Depth v2; expected is {FOLDERS['train']} or {FOLDERS['test']} with a "
            f"folder of JPEG images a scene, or {LABELLED} beside {SPLITS}"
        )
    return configs


def _sync(options: RawOptions) -> RawConfig:
    splits: dict[str, Sequence[CopiedPair]] = {}
    for split, pairs in read_lists(LISTS, options.splits).items():
        folder, examples = options.raw / FOLDERS[split], []
        for pair in pairs:
            if pair.depth is None:
                raise PreparationError(
                    f"the list of {split} gives no depth for {pair.image}; every image of NYU has it"
                )
            id_ = str(pair.image.with_suffix(""))
            examples.append(CopiedPair(id_, folder / pair.image, folder / pair.depth, "jpeg", INTRINSICS))
        splits[split] = examples
    metadata = DepthMetadata(0, MAX_DEPTH_M, 1000, "nyu")
    return RawConfig(name="sync", metadata=metadata, image_format="jpeg", intrinsics=True, splits=splits)


PREPARATION = RawPreparation(
    "nyu_depth_v2",
    "NYU Depth v2: indoor scenes with depth of a Kinect; 24231 training images, 654 test images.",
    ZoeNyuDepthV2,
    RawOptions,
    find,
)
