"""The TFDS builder of `zoe_nyu_depth_v2/sync` and `zoe_nyu_depth_v2/labelled`."""

from collections.abc import Sequence

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import CopiedPair
from ..split_lists import SplitList, read_lists
from .labelled import LABELLED, SPLITS, find_labelled, what_is_missing

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
        PreparationError: nothing of it is there, a list or the labelled file is not as it should be, or that file is
            all there is and something to read it is missing.
    """
    has_sync = any((options.raw / folder).is_dir() for folder in FOLDERS.values())
    has_labelled = (options.raw / LABELLED).is_file()
    if not has_sync and not has_labelled:
        raise PreparationError(
            f"--raw {options.raw} holds no NYU Depth v2; expected is {FOLDERS['train']} or {FOLDERS['test']} with a "
            f"folder of JPEG images a scene, or {LABELLED} beside {SPLITS}"
        )
    if not has_sync:
        return [_labelled(options)]
    if not has_labelled:
        return [_sync(options)]
    # it may lie there for nothing but the test images of `sync`, which are taken out of it
    if obstacle := what_is_missing(options.raw):
        return [_sync(options, f"No data set of {LABELLED}: {obstacle}.")]
    return [_sync(options), _labelled(options)]


def _labelled(options: RawOptions) -> RawConfig:
    examples = find_labelled(options.raw, INTRINSICS)
    metadata = DepthMetadata(0, MAX_DEPTH_M, None, "nyu")
    return RawConfig(name="labelled", metadata=metadata, intrinsics=True, splits=examples)


def _sync(options: RawOptions, *notes: str) -> RawConfig:
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
    return RawConfig(name="sync", metadata=metadata, image_format="jpeg", intrinsics=True, splits=splits, notes=notes)


PREPARATION = RawPreparation(
    "nyu_depth_v2",
    "NYU Depth v2: indoor scenes with depth of a Kinect; 24231 training images, 654 test images.",
    ZoeNyuDepthV2,
    RawOptions,
    find,
)
