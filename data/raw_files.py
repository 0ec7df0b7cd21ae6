"""Reading the files of a download: whatever cannot be used is an error that names the file and says what is right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from zoe_jax.errors import ZoeJaxError
from zoe_jax.input.prepare import PreparationError

from .depth_files import png_bits, read_depth, read_mask
from .raw import RawOptions

Size = tuple[int, int]
"""Height and width."""

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy, in pixels."""

IMAGE_FORMATS = {"png": ("PNG",), "jpeg": ("JPEG", "MPO")}
"""As records call them, and as pillow does; MPO is a JPEG with a second picture behind it."""


def image_size(path: Path, image_format: str) -> Size:
    """Height and width of an image whose bytes go into a record, decoded once to see that all of it is there.

    Args:
        path: an image of three channels with 8 bits.
        image_format: `png` or `jpeg`.

    Raises:
        PreparationError: it cannot be decoded, or is another kind of image.
    """
    right = f"it should be an RGB {image_format.upper()} of 8 bits a channel"
    try:
        with Image.open(path) as image:
            found = f"{image.format} of mode {image.mode}"
            usable = image.format in IMAGE_FORMATS[image_format] and image.mode == "RGB"
            if usable and image.format == "PNG":
                bits = png_bits(path)
                found, usable = f"PNG of {bits} bits a channel", bits == 8
            image.load()
            width, height = image.size
    # decoders raise anything on what they cannot read
    except Exception as error:
        raise PreparationError(f"{path} cannot be read: {error}; {right}") from error
    if not usable:
        raise PreparationError(f"{path} is a {found}; {right}")
    return height, width


def depth_in_file(path: Path, size: Size) -> Float32[np.ndarray, "h w"]:
    """Depth as a 16-bit PNG or an .npy file has it, in the file's own units; float32 holds 16 bits exactly.

    Raises:
        PreparationError: it cannot be read, is no depth, or not of the size of its image.
    """
    try:
        depth = read_depth(path, 1.0)
    except ZoeJaxError as error:
        raise PreparationError(f"{path}, which should be depth: {error}") from error
    check_size(path, depth.shape, size)
    return depth


def mask_in_file(path: Path, size: Size) -> Bool[np.ndarray, "h w"]:
    """A mask of an image of one channel or an .npy file; what is not 0 is valid.

    Raises:
        PreparationError: it cannot be read, is no mask, or not of the size of its image.
    """
    try:
        mask = read_mask(path)
    except ZoeJaxError as error:
        raise PreparationError(f"{path}, which should be a mask: {error}") from error
    check_size(path, mask.shape, size)
    return mask


def check_size(path: Path, shape: tuple[int, ...], size: Size) -> None:
    """Raises PreparationError where what is in `path` is not of its image's size."""
    if shape != size:
        raise PreparationError(
            f"{path} is {shape[1]}x{shape[0]}, its image {size[1]}x{size[0]} (width x height); they should be of one "
            "size"
        )


def numbers_in_file(path: Path, count: int, what: str) -> list[float]:
    """The numbers of a small text file, between spaces, commas and line ends.

    Raises:
        PreparationError: there are not so many, or they are no numbers.
    """
    try:
        words = path.read_text(encoding="utf-8").replace(",", " ").split()
        numbers = [float(word) for word in words]
    except (OSError, ValueError) as error:
        raise PreparationError(f"{path} cannot be read: {error}; it should hold {count} numbers, {what}") from error
    if len(numbers) != count:
        raise PreparationError(f"{path} holds {len(numbers)} numbers; it should hold {count}, {what}")
    return numbers


def visible(folder: Path, pattern: str) -> list[Path]:
    """What a folder has of a pattern, sorted, but for hidden files, such as the `._x.png` that macOS puts beside x."""
    return sorted(_visible(folder, pattern))


def first_with(places: Sequence[Path], *parts: str) -> Path | None:
    """The first of the folders in which all `parts` (patterns) are found."""
    return next((place for place in places if all(any(_visible(place, part)) for part in parts)), None)


def _visible(folder: Path, pattern: str) -> Iterator[Path]:
    for path in folder.glob(pattern):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def refuse_splits(options: RawOptions, name: str, instead: str) -> None:
    """Raises PreparationError where split lists are given to a data set that has none."""
    if options.splits is not None:
        raise PreparationError(f"{name} has no split lists: {instead}; leave --splits out")


@dataclass(frozen=True)
class CopiedPair:
    """An image and its depth in a 16-bit PNG; a record takes the bytes of both as they are, and the intrinsics."""

    id: str
    image: Path
    depth: Path
    image_format: str = "png"
    intrinsics: Intrinsics | None = None

    @property
    def files(self) -> tuple[Path, Path]:
        """Image and depth."""
        return self.image, self.depth

    def features(self) -> dict[str, Any]:
        """The paths, after a look at what is in the files."""
        depth_in_file(self.depth, image_size(self.image, self.image_format))
        features: dict[str, Any] = {"image": self.image, "depth": self.depth}
        if self.intrinsics is not None:
            features["intrinsics"] = np.array(self.intrinsics, np.float32)
        return features
