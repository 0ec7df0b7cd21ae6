"""Depth as files: npy, 16-bit PNG, colour, panel, JSON; each is written whole or not at all."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict.images import eight_bits, read_image
from zoe_jax.predict.predictor import Prediction
from zoe_jax.view.colormap import INVALID_DEPTH, check_colormap, color_range, colorize
from zoe_jax.view.panel import panel
from zoe_jax.whole_file import replaced, write_whole

SUFFIXES = {
    "npy": "_depth.npy",
    "png16": "_depth16.png",
    "color": "_color.png",
    "panel": "_panel.png",
    "json": "_depth.json",
}
"""What is added to the name of an image, for each format."""

PNG_COMPRESSION = 3
"""zlib level: measured at 480x640, a third of the time of Pillow's level 6, for files 6 to 18 % larger."""


@dataclass(frozen=True)
class OutputOptions:
    """Which files are written for one image, and how."""

    formats: tuple[str, ...] = ("npy",)
    png16_scale: int = 256
    colormap: str = "gray_r"

    def __post_init__(self) -> None:
        """Raises ZoeJaxError for an unknown format or colour map."""
        for name in self.formats or ("",):
            if name not in SUFFIXES:
                raise ZoeJaxError(f"there is no output format {name!r}; there are {', '.join(SUFFIXES)}")
        if {"color", "panel"} & set(self.formats):
            check_colormap(self.colormap)

    def paths(self, stem: Path) -> dict[str, Path]:
        """The files that are written for an image whose outputs begin with `stem`."""
        return {name: stem.parent / (stem.name + SUFFIXES[name]) for name in self.formats}


def encode_png16(
    depth_m: Float[np.ndarray, "height width"], scale: int = 256
) -> tuple[UInt16[np.ndarray, "height width"], int]:
    """Depth as 16-bit integers: depth times scale, truncated, as the original's `save_raw_16bit`; 0 is invalid.

    The original lets what does not fit wrap around; here it is clipped to 65535 (256 m at scale 256). Depths that are
    not finite or not positive become 0.

    Returns:
        The integers, and how many pixels were clipped.
    """
    scaled = np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m * np.float32(scale), 0)
    saturated = scaled >= 65536
    return np.minimum(scaled, 65535).astype(np.uint16), int(saturated.sum())


def write_outputs(
    stem: Path, source: str | os.PathLike[str], prediction: Prediction, options: OutputOptions, facts: Mapping[str, Any]
) -> int:
    """Writes the files of one image.

    Args:
        stem: folder and beginning of the names of the files; folders are made.
        source: the image file.
        prediction: what to write.
        options: which files.
        facts: how the prediction was made; goes to the JSON file and to the text fields of the PNG files.

    Returns:
        How many pixels of the 16-bit PNG were clipped.

    Raises:
        OSError, ZoeJaxError: the disk is full, or the folder cannot be written.
    """
    depth_m = prediction.depth_m
    stem.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsencode(Path(source).name).decode(errors="replace")
    facts = {"source": name, "unit": "metre", **facts, "domain": prediction.domain}
    colors: dict[str, Any] = {"colormap": options.colormap}
    color_facts: dict[str, Any] = {}
    if {"color", "panel"} & set(options.formats):
        low, high = color_range(depth_m, depth_m == INVALID_DEPTH)
        colors |= {"vmin": low, "vmax": high}
        color_facts = {"colormap": options.colormap, "first_color_m": round(low, 4), "last_color_m": round(high, 4)}
    files: dict[str, Any] = {}
    n_saturated = 0
    # The report comes last: it stands for a finished image.
    for kind, path in sorted(options.paths(stem).items(), key=lambda item: item[0] == "json"):
        details: dict[str, Any] = {}
        if kind == "npy":
            with replaced(path) as file:
                np.save(file, depth_m)
        elif kind == "png16":
            pixels, n_saturated = encode_png16(depth_m, options.png16_scale)
            details = {"scale": options.png16_scale, "invalid": 0, "saturated_pixels": n_saturated}
            formula = f"depth in metres = value / {options.png16_scale}"
            write_png(path, pixels, {**facts, **details, "formula": formula})
        elif kind == "color":
            details = color_facts
            write_png(path, colorize(depth_m, **colors), {**facts, **details})
        elif kind == "panel":
            details = color_facts
            write_png(path, panel(eight_bits(read_image(source)), depth_m, **colors), {**facts, **details})
        else:
            height, width = depth_m.shape
            statistics = {stat: float(getattr(np, stat)(depth_m)) for stat in ("min", "median", "max")}
            report = {**facts, "height": height, "width": width, "depth_m": statistics, "files": files}
            write_whole(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        files[kind] = {"name": os.fsencode(path.name).decode(errors="replace"), **details}
    return n_saturated


def write_png(path: Path, pixels: np.ndarray, facts: Mapping[str, Any]) -> None:
    """A PNG file with text fields, one a fact that is not None."""
    text = PngInfo()
    for key, value in facts.items():
        if value is not None:
            text.add_text(key, str(value))
    with replaced(path) as file:
        Image.fromarray(pixels).save(file, "PNG", pnginfo=text, compress_level=PNG_COMPRESSION)
