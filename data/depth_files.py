"""Reading depth and masks from the files that sensors and renderers write: 16-bit PNG, npy, exr, h5."""

import importlib
import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from PIL import Image

from zoe_jax.errors import ZoeJaxError
from zoe_jax.input.prepare import PreparationError
from zoe_jax.predict.images import ImageError

PNG = ".png"
DEPTH_SUFFIXES = (PNG, ".npy", ".exr", ".h5", ".hdf5")

EXR_CHANNELS = ("Z", "depth", "Y", "R")
"""Where renderers put depth, the surest first; a name may have a layer before it, as in `ViewLayer.Depth.Z`."""

_PNG_BIT_DEPTH = slice(24, 26)
"""Of a PNG file: bits a channel, and the kind of colour, 0 for grey."""


class DepthFileError(ZoeJaxError):
    """A depth file cannot be read, or is not depth."""


def read_depth(path: Path, units_per_m: float, key: str | None = None) -> Float32[np.ndarray, "h w"]:
    """Depth in metres as the file has it: 0, NaN, infinite and negative values included.

    Args:
        path: a file of one of DEPTH_SUFFIXES.
        units_per_m: the value that stands for a metre.
        key: data set within an .h5 file, channel of an .exr; by default the only one.

    Raises:
        DepthFileError: missing or damaged, of another type or with more than two axes, no such key.
        PreparationError: the library that reads such files is not installed.
    """
    readers = {PNG: _read_png, ".npy": _read_npy, ".exr": _read_exr, ".h5": _read_h5, ".hdf5": _read_h5}
    try:
        depth = readers[path.suffix.lower()](path, key)
    except (ZoeJaxError, MemoryError):
        raise
    # decoders raise anything on what they cannot read
    except Exception as error:
        raise DepthFileError(f"cannot be read: {error}") from error
    if depth.dtype.kind not in "uif":
        raise DepthFileError(f"values are of type {depth.dtype}; depth is made of numbers")
    shape = depth.shape
    if depth.ndim == 3 and 1 in (shape[0], shape[2]):
        depth = depth[0] if shape[0] == 1 else depth[..., 0]
    if depth.ndim != 2 or not depth.size:
        raise DepthFileError(f"the array has shape {shape}; depth is [height, width]")
    # float32 holds 16 bits exactly; wider types are rounded once, at the end
    depth = depth.astype(np.result_type(depth.dtype, np.float32), copy=False)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray((depth / depth.dtype.type(units_per_m)).astype(np.float32))


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """A mask from an image of one channel, or an array; what is not 0 is valid.

    Raises:
        ImageError: it cannot be read, or is no mask.
    """
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                mask = np.load(file, allow_pickle=False)
        else:
            with Image.open(path) as image:
                mask = np.asarray(image.convert("L") if image.mode == "P" else image)
    # decoders raise anything on what they cannot read
    except Exception as error:
        raise ImageError(f"cannot be read: {error}") from error
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype.kind not in "buif":
        raise ImageError(f"it has shape {mask.shape} and type {mask.dtype}; a mask is [height, width], of numbers")
    return mask != 0


def zero_where_invalid(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Depth as a record takes it: 0 where it is NaN, infinite or negative; of the same type."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, depth.dtype.type(0))


def mask_image(mask: Bool[np.ndarray, "h w"]) -> Image.Image:
    """A mask as a record takes it."""
    return Image.fromarray(mask.astype(np.uint8) * np.uint8(255))


def png_bits(path: Path) -> int:
    """Bits a channel of a PNG file, which pillow does not tell: it makes 8 of 16."""
    with path.open("rb") as file:
        return file.read(_PNG_BIT_DEPTH.stop)[_PNG_BIT_DEPTH.start]


def _read_png(path: Path, _: str | None) -> np.ndarray:
    content = path.read_bytes()
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        raise DepthFileError("it is not a PNG file")
    bits, colour = struct.unpack("BB", content[_PNG_BIT_DEPTH])
    if (bits, colour) != (16, 0):
        kind = "grey" if colour == 0 else "colour"
        raise DepthFileError(f"it is a {bits}-bit {kind} PNG; depth is 16-bit grey")
    # OpenCV fills what a truncated file lacks with zeros and only warns; every PNG ends so
    if not content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82"):
        raise DepthFileError("it is truncated")
    depth = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if depth is None:
        raise DepthFileError("its pixels cannot be decoded")
    return depth


def _read_npy(path: Path, _: str | None) -> np.ndarray:
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)


def _read_exr(path: Path, key: str | None) -> np.ndarray:
    OpenEXR = optional_library("OpenEXR", "exr", ".exr files are")
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
        if key is not None:
            names = [key]
        else:
            names = (
                list(channels)
                if len(channels) == 1
                else [
                    name
                    for wanted in EXR_CHANNELS
                    for name in channels
                    if name.lower().split(".")[-1] == wanted.lower()
                ]
            )
        if not names or names[0] not in channels:
            raise DepthFileError(f"it has the channels {', '.join(channels)}; name one of them by --depth-key")
        return np.array(channels[names[0]])


def _read_h5(path: Path, key: str | None) -> np.ndarray:
    h5py = optional_library("h5py", "h5", ".h5 files are")
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        wanted = key.strip("/") if key is not None else names[0] if len(names) == 1 else None
        if wanted not in names:
            raise DepthFileError(f"it has the data sets {', '.join(names) or 'none'}; name one of them by --depth-key")
        return np.asarray(file[wanted])


def optional_library(name: str, extra: str, what: str) -> Any:
    """A library that only an extra installs; `what`, such as `.h5 files are`, begins the error where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PreparationError(f"{what} read by {name}: pip install 'zoe_jax[{extra}]'") from error
