"""DIODE: images of the validation scans, and the builder of `zoe_diode/indoor` and `zoe_diode/outdoor`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoe_jax.input.prepare import PreparationError
from zoe_jax.input.records import DepthMetadata

from ..depth_files import mask_image, zero_where_invalid
from ..raw import RawBuilder, RawConfig, RawOptions, RawPreparation
from ..raw_files import depth_in_file, image_size, mask_in_file, refuse_splits, visible

MAX_DEPTH_M = 350.0
"""The range of the scanner, a FARO Focus S350."""

INTRINSICS = (886.81, 927.06, 512.0, 384.0)
"""fx, fy, cx, cy in pixels: `intrinsics.txt` of the owner's devkit."""

DOMAINS = {"indoor": "nyu", "outdoor": "kitti"}
"""Configuration and domain."""

IMAGES = "scene_*/scan_*/*.png"


class ZoeDiode(RawBuilder, skip_registration=True):
    """DIODE, validation: images with dense depth of a laser scanner."""


@dataclass(frozen=True)
class DiodeExample:
    """One image of a scan, without the suffix that its files differ in."""

    id: str
    stem: Path

    def _file(self, suffix: str) -> Path:
        return self.stem.with_name(self.stem.name + suffix)

    @property
    def files(self) -> tuple[Path, ...]:
        """Image, depth, mask."""
        return tuple(self._file(suffix) for suffix in (".png", "_depth.npy", "_depth_mask.npy"))

    def features(self) -> dict[str, Any]:
        """Depth also where the mask denies it; PreparationError where a file is not what it should be."""
        image, depth, mask = self.files
        size = image_size(image, "png")
        depth_m = depth_in_file(depth, size)
        return {
            "image": image,
            "depth": zero_where_invalid(depth_m),
            "valid_mask": mask_image(mask_in_file(mask, size)),
            "intrinsics": np.array(INTRINSICS, np.float32),
        }


def find(options: RawOptions) -> Sequence[RawConfig]:
    """The configurations whose images are there.

    Raises:
        PreparationError: none is there, or `--splits` is given.
    """
    raw = options.raw
    refuse_splits(options, "diode", "every image is of the split validation")
    configs = []
    for name, domain in DOMAINS.items():
        folders = [place / folder for place in (raw / "val", raw) for folder in (name, f"{name}s", f"diode_{name}")]
        # --raw may be the very folder; only the names of the images tell of what
        roots = [(folder, IMAGES) for folder in folders] + [(raw, f"scene_*/scan_*/*_{name}*.png")]
        examples = next(filter(None, (_examples(root, pattern) for root, pattern in roots)), None)
        if examples:
            metadata, splits = DepthMetadata(0, MAX_DEPTH_M, domain=domain), {"validation": examples}
            configs.append(RawConfig(name, metadata=metadata, valid_mask=True, intrinsics=True, splits=splits))
    if not configs:
        raise PreparationError(
            f"--raw {raw} holds no image of DIODE; expected are val/indoors/{IMAGES} and val/outdoor/{IMAGES}, those "
            "of val.tar.gz"
        )
    return configs


def _examples(root: Path, pattern: str) -> list[DiodeExample]:
    stems = [image.with_suffix("") for image in visible(root, pattern)]
    return [DiodeExample(stem.relative_to(root).as_posix(), stem) for stem in stems]


PREPARATION = RawPreparation(
    "diode",
    "DIODE, validation: images with dense depth of a laser scanner; 325 indoors, 446 outdoors.",
    ZoeDiode,
    RawOptions,
    find,
)
