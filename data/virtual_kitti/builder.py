"""Virtual KITTI 1.3.1: frames of the download, and the builder of `zoe_virtual_kitti/depth`."""

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import CopiedPair, refuse_splits, visible

METADATA = DepthMetadata(0, 655, 100, "kitti")
"""Of centimetres; 65535, the sky, is beyond."""

LAYOUTS = (
    ("vkitti_1.3.1_rgb", "vkitti_1.3.1_depthgt", "*/*/*.png"),
    ("test_color", "test_depth", "*.png"),
)
"""Folder of images, folder of depth, and how images lie in theirs."""

INTRINSICS = (725.0, 725.0, 620.5, 187.0)
"""fx, fy, cx, cy in pixels, of all frames."""


class ZoeVirtualKitti(RawBuilder, skip_registration=True):
    """Virtual KITTI 1.3.1: rendered drives of KITTI under ten conditions, with dense depth."""


def find(options: RawOptions) -> list[RawConfig]:
    """All frames of the download, for evaluation.

    Raises:
        PreparationError: neither layout is there, or `--splits` is given.
    """
    refuse_splits(options, "virtual_kitti", "every frame is of the split test")
    for image_folder, depth_folder, pattern in LAYOUTS:
        images = visible(options.raw / image_folder, pattern)
        if images:
            frames = [
                CopiedPair(str(name.with_suffix("")), image, options.raw / depth_folder / name, "png", INTRINSICS)
                for image in images
                for name in (image.relative_to(options.raw / image_folder),)
            ]
            return [RawConfig(name="depth", metadata=METADATA, intrinsics=True, splits={"test": frames})]
    expected = " or ".join(f"{images}/{pattern} beside {depth}" for images, depth, pattern in LAYOUTS)
    raise PreparationError(f"--raw {options.raw} holds no image of Virtual KITTI 1.3.1; expected are {expected}")


PREPARATION = RawPreparation(
    "virtual_kitti",
    "Virtual KITTI 1.3.1: rendered drives under ten conditions, dense depth; 21260 test images.",
    ZoeVirtualKitti,
    RawOptions,
    find,
)
