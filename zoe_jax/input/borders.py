"""The white frame around NYU's training images, left by the registration of colour and depth (black around its tests).

Source: zoedepth/data/preprocess.py (get_border_params) and zoedepth/data/data_mono.py (avoid_boundary).
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from zoe_jax.input.geometry import Sample
from zoe_jax.input.source import DataError

WHITE = 255
NEVER_KEPT_PX = 5
"""So many pixels at each side are taken for border without looking."""
WIDEST_PX = 20
"""The search goes on until more than so many pixels are cut off."""
LARGEST_DIFFERENCE = 5
"""Grey levels from the border's, at and above which a pixel is none of it."""
LARGEST_SHARE = 0.1
"""A row or column with a larger share of border pixels is border."""
SMALLEST_SIDE_PX = 64
"""22 pixels at most are mirrored into each side; they must be there, beside one that stays."""


class Box(NamedTuple):
    """A rectangle of pixels; `bottom` and `right` are the first row and column outside."""

    top: int
    bottom: int
    left: int
    right: int


def find_border(image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"], value: int = WHITE) -> Box:
    """What a border of grey level `value` leaves of an image.

    Each side is searched inwards, row by row over the full width (so that wide borders at the sides make every row one
    of border) and column by column. As in the original the first good row from below, or column from the right, is cut
    off as well: it is taken for the end of the box, which is exclusive.

    Raises:
        DataError: a side is shorter than 64 pixels.
    """
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST_SIDE_PX:
        raise DataError(
            f"an image of {height}x{width} pixels is too small to look for its border (avoid_boundary); each side "
            f"should have {SMALLEST_SIDE_PX} pixels or more"
        )
    bytes_per_level = 1 if image.dtype == np.uint8 else 1 / 255

    def is_border(pixels: np.ndarray) -> bool:
        grey = pixels.mean(axis=1, dtype=np.float64) / bytes_per_level
        return bool(np.mean(np.abs(grey - value) < LARGEST_DIFFERENCE) > LARGEST_SHARE)

    def search(start: int, step: int, side: int, columns: bool) -> int:
        line = start
        while is_border(image[:, line] if columns else image[line]):
            line += step
            if (line if step > 0 else side - line) > WIDEST_PX:
                break
        return line

    return Box(
        top=search(NEVER_KEPT_PX, 1, height, columns=False),
        bottom=search(height - NEVER_KEPT_PX, -1, height, columns=False),
        left=search(NEVER_KEPT_PX, 1, width, columns=True),
        right=search(width - NEVER_KEPT_PX, -1, width, columns=True),
    )


def replace_border(sample: Sample, box: Box) -> Sample:
    """Keeps what lies in `box`; around it the image is its own reflection, and there is no depth.

    The size stays. The reflection does not repeat the outermost pixels.
    """
    height, width = sample.depth_m.shape
    inner = slice(box.top, box.bottom), slice(box.left, box.right)
    margins = box.top, height - box.bottom, box.left, width - box.right
    image = cv2.copyMakeBorder(sample.image[inner], *margins, cv2.BORDER_REFLECT_101)
    inside = np.zeros((height, width), bool)
    inside[inner] = True
    return Sample(image, np.where(inside, sample.depth_m, np.float32(0)), sample.valid_mask & inside)
