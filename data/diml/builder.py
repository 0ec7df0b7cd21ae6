"""DIML/CVL RGB-D: the test images of the samples, and the builder of `zoe_diml/indoor` and `zoe_diml/outdoor`."""

from collections.abc import Sequence
from pathlib import Path

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import CopiedPair, refuse_splits, visible

UNITS_PER_M = 1000.0
MAX_DEPTH_M = 65535 / UNITS_PER_M
"""What 16 bits of millimetres can say."""


class ZoeDiml(RawBuilder, skip_registration=True):
    """DIML/CVL RGB-D, samples of low resolution: indoor of a Kinect v2, outdoor of a stereo camera."""


def find(options: RawOptions) -> Sequence[RawConfig]:
    """The configurations whose images are there.

    Raises:
        PreparationError: none is there, or `--splits` is given.
    """
    raw = options.raw
    refuse_splits(options, "diml", "every image is of the split test")
    pairs = {"indoor": _indoor(raw), "outdoor": _outdoor(raw)}
    domains = {"indoor": "nyu", "outdoor": "kitti"}
    configs = [
        RawConfig(
            name=name,
            metadata=DepthMetadata(0, MAX_DEPTH_M, depth_units_per_m=UNITS_PER_M, domain=domains[name]),
            splits={"test": found},
        )
        for name, found in pairs.items()
        if found
    ]
    if not configs:
        raise PreparationError(
            f"--raw {raw} holds no test image of DIML; expected are indoor/test/LR/*/color/*_c.png and "
            "outdoor/test/LR/outleft/*.png, those of the samples"
        )
    return configs


def _indoor(raw: Path) -> list[CopiedPair]:
    for place in _places(raw, "indoor"):
        if images := visible(place / "LR", "*/color/*_c.png"):
            return [
                CopiedPair(
                    f"{image.parents[1].name}/{image.stem.removesuffix('_c')}",
                    image,
                    image.parents[1] / "depth_filled" / f"{image.stem.removesuffix('_c')}_depth_filled.png",
                )
                for image in images
            ]
    return []


def _outdoor(raw: Path) -> list[CopiedPair]:
    for place in _places(raw, "outdoor"):
        # the owner's scenes all lie in one folder, LR, the original's loader looks into any
        for root, pattern in ((place / "LR", "outleft/*.png"), (place, "outleft/*.png"), (place, "*/outleft/*.png")):
            if images := visible(root, pattern):
                return [
                    CopiedPair(
                        (image.parents[1].relative_to(root) / image.stem).as_posix(),
                        image,
                        image.parents[1] / "depthmap" / image.name,
                    )
                    for image in images
                ]
    return []


def _places(raw: Path, scenes: str) -> list[Path]:
    """Where `LR` may lie, the surest first; training images lie in none of them."""
    folders = (f"{scenes}/test", scenes, f"diml_{scenes}_test", f"diml_{scenes}", "test", ".")
    return [raw / folder for folder in folders]


PREPARATION = RawPreparation(
    "diml",
    "DIML, test images of the samples: 503 indoors (Kinect v2), 500 outdoors (stereo).",
    ZoeDiml,
    RawOptions,
    find,
)
