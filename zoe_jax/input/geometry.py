"""Moving image, depth and mask alike: windows, shifts, mirror images, rotations. Every random number is an argument.

Source: zoedepth/data/data_mono.py (DataLoadPreprocess and its helper functions), which moves images with Pillow.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from PIL import Image

from zoe_jax.input.source import DataError

KB_CROP = (352, 1216)
"""Height and width of the window of KITTI that the benchmark of the Karlsruhe group fixed."""

STRIP_PX = 64
"""Rows that are rotated at a time, as floats: few enough for the processor's cache, a quarter of the time of all."""


class Sample(NamedTuple):
    """One example between its record and its batch; depth and mask have one size, and the image that or another."""

    image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"]
    """RGB: bytes, or floats in [0, 1]."""
    depth_m: Float32[np.ndarray, "H W"]
    """0 is invalid."""
    valid_mask: Bool[np.ndarray, "H W"]
    """The pixels whose depth counts."""


def check_sizes(sample: Sample) -> None:
    """Raises DataError where image, depth and mask cannot be moved alike."""
    sizes = [array.shape[:2] for array in sample]
    if len(set(sizes)) > 1:
        image, depth, mask = ("x".join(map(str, size)) for size in sizes)
        raise DataError(
            f"image, depth and mask are of {image}, {depth} and {mask} pixels; to be rotated, shifted or cut they "
            "should be of one size"
        )


def window(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The rectangle of `height` x `width` pixels at (`top`, `left`); zero and invalid outside the sample."""
    return Sample(*(_window(array, top, left, height, width) for array in sample))


def _window(array: Shaped[np.ndarray, "..."], top: int, left: int, height: int, width: int) -> np.ndarray:
    bottom, right = top + height, left + width
    rows, columns = array.shape[:2]
    if top >= 0 and left >= 0 and bottom <= rows and right <= columns:
        return array[top:bottom, left:right]
    cut = np.zeros((height, width, *array.shape[2:]), array.dtype)
    inner = array[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    at_row, at_column = max(-top, 0), max(-left, 0)
    cut[at_row : at_row + inner.shape[0], at_column : at_column + inner.shape[1]] = inner
    return cut


def kb_crop(sample: Sample) -> Sample:
    """The lower middle of an image of KITTI, 352x1216; a smaller image is filled up with zeros above and beside."""
    rows, columns = sample.depth_m.shape
    height, width = KB_CROP
    # int() truncates towards zero, as the original does: 1215 columns give 0, not -1
    return window(sample, rows - height, int((columns - width) / 2), height, width)


def translate(sample: Sample, right_px: int, down_px: int) -> Sample:
    """Shifts the content by whole pixels; what comes in is zero and invalid."""
    return window(sample, -down_px, -right_px, *sample.depth_m.shape)


def flip(sample: Sample) -> Sample:
    """Left and right exchanged."""
    return Sample(*(_flip(array) for array in sample))


def _flip(array: np.ndarray) -> np.ndarray:
    # cv2 copies a mirrored image forty times as fast as NumPy copies array[:, ::-1]
    return cv2.flip(array.view(np.uint8), 1).view(bool) if array.dtype == bool else cv2.flip(array, 1)


def rotate(sample: Sample, degrees: float) -> Sample:
    """Rotates anticlockwise about the centre; the size stays, and what comes in is zero and invalid.

    Depth and mask take the nearest pixel and are those of Pillow, bit by bit. A byte of the image is the interpolated
    value without its fraction, as in Pillow, but interpolated in float32 instead of float64 at about a fifth of the
    time: of a photograph's values one in 20 000 then is the grey level above or below. (A JPEG decoder differs from
    another by as much.)
    """
    if degrees == 0:
        return sample
    depth, mask = Image.fromarray(sample.depth_m), Image.fromarray(sample.valid_mask.view(np.uint8))
    return Sample(
        rotate_image(sample.image, degrees),
        np.asarray(depth.rotate(degrees, Image.Resampling.NEAREST)),
        np.asarray(mask.rotate(degrees, Image.Resampling.NEAREST)).view(bool),
    )


def rotate_image(
    image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"], degrees: float
) -> UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"]:
    """The image of `rotate`; floats keep their fractions."""
    height, width = image.shape[:2]
    to_source = _rotation_about_centre(height, width, degrees)
    rotated = np.empty_like(image)
    for top in range(0, height, STRIP_PX):
        strip = slice(top, min(top + STRIP_PX, height))
        rotated[strip] = _interpolate(image, to_source, strip.start, strip.stop)
    for rows, columns in _margins(to_source, height, width):
        rotated[rows, columns] *= _comes_from_inside(to_source, height, width, rows, columns)[..., None]
    return rotated


def _interpolate(image: np.ndarray, to_source: Float[np.ndarray, "2 3"], top: int, bottom: int) -> np.ndarray:
    """Rows of the rotated image; beyond its sides the image is taken to go on as it ends."""
    height, width = image.shape[:2]
    # Pillow's coordinates are of pixel corners, those of cv2 of pixel centres
    of_centres = to_source.copy()
    of_centres[:, 2] += 0.5 * (to_source[:, 0] + to_source[:, 1]) - 0.5
    corners = np.array([[0, top, 1], [width - 1, top, 1], [0, bottom - 1, 1], [width - 1, bottom - 1, 1]]).T
    source_y = (of_centres @ corners)[1]
    first = min(max(math.floor(source_y.min()) - 1, 0), height - 1)
    last = max(min(math.ceil(source_y.max()) + 1, height - 1), first)
    of_strip = of_centres.copy()
    of_strip[:, 2] += top * of_centres[:, 1] - (0, first)
    # four channels take half the time of three
    four_channels = cv2.cvtColor(image[first : last + 1], cv2.COLOR_RGB2RGBA).astype(np.float32, copy=False)
    strip = cv2.warpAffine(
        four_channels,
        of_strip,
        (width, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.cvtColor(strip.astype(image.dtype, copy=False), cv2.COLOR_RGBA2RGB)


def _rotation_about_centre(height: int, width: int, degrees: float) -> Float[np.ndarray, "2 3"]:
    """Where in the image (x, y, in pixels from its upper left corner) each point of the rotated image comes from."""
    # in Pillow's order and with its roundings, so that the same pixels come from outside
    angle = -math.radians(degrees % 360)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return np.array([[cosine, sine, cosine * -x + sine * -y + x], [-sine, cosine, -sine * -x + cosine * -y + y]])


def _margins(to_source: Float[np.ndarray, "2 3"], height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Four strips along the sides, which hold every pixel that can come from outside."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).T
    # no point of an affine map moves further than a corner does
    furthest = np.abs(to_source @ corners - corners[:2]).max(axis=1)
    columns, rows = (
        min(math.ceil(distance) + 1, side) for distance, side in zip(furthest, (width, height), strict=True)
    )
    everything = slice(None)
    yield slice(rows), everything
    yield slice(height - rows, None), everything
    yield everything, slice(columns)
    yield everything, slice(width - columns, None)


def _comes_from_inside(
    to_source: Float[np.ndarray, "2 3"], height: int, width: int, rows: slice, columns: slice
) -> Bool[np.ndarray, "rows columns"]:
    x = np.arange(width)[columns] + 0.5
    y = (np.arange(height)[rows] + 0.5)[:, None]
    (a, b, c), (d, e, f) = to_source
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    return (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
