"""A picture to look at: the image, its depth in colour, and a scale in metres."""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from zoe_jax.view.colormap import INVALID_DEPTH, color_range, colorize

MIN_HEIGHT = 160
"""Lowest panel in pixels: smaller ones have no room for the scale's numbers."""


def panel(
    image: UInt8[np.ndarray, "height width 3"],
    depth_m: Float[np.ndarray, "height width"],
    *,
    colormap: str = "gray_r",
    vmin: int | float | None = None,
    vmax: int | float | None = None,
) -> UInt8[np.ndarray, "panel_height panel_width 3"]:
    """Image | depth | scale, side by side on white, enlarged to at least 160 rows.

    The colours are those of `colorize`; the scale runs from vmin at the bottom to vmax at the top, and depths outside
    of it have the colours of its ends.
    """
    vmin, vmax = color_range(depth_m, depth_m == INVALID_DEPTH, vmin, vmax)
    depth_colors = colorize(depth_m, vmin=vmin, vmax=vmax, colormap=colormap)[:, :, :3]
    enlargement = math.ceil(MIN_HEIGHT / image.shape[0])
    pictures = [p.repeat(enlargement, 0).repeat(enlargement, 1) for p in (image, depth_colors)]
    height = pictures[0].shape[0]
    gap = np.full((height, max(4, height // 60), 3), 255, np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1], gap, _scale(height, vmin, vmax, colormap)], axis=1)


def ticks(low: int | float, high: int | float, most: int) -> list[int | float]:
    """Round values in [low, high], at most `most` of them: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    magnitude = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * magnitude
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < most:
            break
    return [i * step for i in range(first, last + 1)] or [low]


def _scale(height: int, vmin: int | float, vmax: int | float, colormap: str) -> np.ndarray:
    font_size = max(11, height // 28)
    font = ImageFont.load_default(font_size)
    bar_width, margin = font_size + 4, font_size
    length = height - 2 * margin
    column = np.linspace(vmax, vmin, length)[:, None]
    bar = colorize(column.repeat(bar_width, 1), vmin=vmin, vmax=vmax, colormap=colormap)[:, :, :3]
    values = ticks(vmin, vmax, most=min(8, length // (2 * font_size)))
    decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 2
    labels = [f"{value:.{decimals}f} m" for value in values]
    width = bar_width + 10 + math.ceil(max(font.getlength(label) for label in labels))
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(Image.fromarray(bar), (0, margin))
    draw = ImageDraw.Draw(picture)
    for value, label in zip(values, labels, strict=True):
        y = margin + ((length - 1) * (vmax - value) / (vmax - vmin) if vmax > vmin else length / 2)
        draw.line([(bar_width, y), (bar_width + 3, y)], "black")
        draw.text((bar_width + 6, y), label, "black", font, anchor="lm")
    return np.asarray(picture)
