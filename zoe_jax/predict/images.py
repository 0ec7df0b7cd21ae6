"""Reading what people call an image: files of any kind that Pillow knows, PIL images, arrays."""

import os

import jax
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from zoe_jax.errors import ZoeJaxError

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array
"""A path, a PIL image, or an array [H, W, 3]: uint8, or float in [0, 1]."""

ImageArray = UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width 3"]
"""Pixels as they are handled inside: uint8 in 0..255, or float32 in [0, 1]."""

RANGE_TOLERANCE = 1e-3
"""How far float pixels may leave [0, 1]: earlier resizes may have overshot a little, 0..255 is a mistake."""


class ImageError(ZoeJaxError):
    """An image cannot be read, or no prediction can be made from it."""


def read_image(source: ImageSource) -> ImageArray:
    """The pixels of an image, upright (its EXIF orientation is applied) and in RGB.

    Transparency is dropped, not blended, as the original does (`Image.convert("RGB")`); of several frames the first
    is taken; 16-bit grey is scaled by 1/65535, and grey becomes three equal channels.

    Raises:
        ImageError: missing, truncated, not an image, larger than Pillow's limit against decompression bombs; an array
            of another shape, type or range.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source, "this PIL image")
    if isinstance(source, str | os.PathLike):
        return _from_file(os.fspath(source))
    return _from_array(np.asarray(source), "an image array")


def eight_bits(pixels: ImageArray) -> UInt8[np.ndarray, "height width 3"]:
    """The image as bytes: floats in [0, 1] are rounded to the nearest of 256 levels."""
    return pixels if pixels.dtype == np.uint8 else np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _from_file(path: str) -> ImageArray:
    try:
        with Image.open(path) as image:
            return _from_pil(image, path)
    except FileNotFoundError:
        raise ImageError(f"there is no image file {path}") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not an image file") from None
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} would decompress to too many pixels: {error}; raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image of a kind that Pillow can read") from None
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Decoders raise anything on a damaged file: OSError, SyntaxError, struct.error, ...
        raise ImageError(f"cannot read {path}: {error}") from error


def _from_pil(image: Image.Image, name: str) -> ImageArray:
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        return _from_array(_three_channels(np.asarray(image)), name)
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min(initial=0) < 0 or grey.max(initial=0) > 65535:
            raise ImageError(f"{name} has grey values {grey.min()}..{grey.max()}; only 8 and 16 bits are understood")
        return _three_channels(grey.astype(np.float32) / np.float32(65535))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return _from_array(np.asarray(image.convert("RGB")), name)


def _from_array(pixels: np.ndarray, name: str) -> ImageArray:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"{name} has shape {pixels.shape}; an image is [height, width, 3]")
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ImageError(f"{name} has type {pixels.dtype}; pixels are uint8 in 0..255, or float in [0, 1]")
    pixels = pixels.astype(np.float32)
    low, high = pixels.min(), pixels.max()
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise ImageError(f"{name} has float pixels in {low:g}..{high:g}; they must be finite and in [0, 1]")
    return pixels


def _three_channels(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)
