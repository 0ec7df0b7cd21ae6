"""A prediction beside its image, the truth and the relative error, small enough for pages of hundreds of them."""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from zoe_jax.view.colormap import colorize
from zoe_jax.view.report import ColorScale, Strip, color_scale, picture_of

WIDTH_PX = 320
"""Of each picture, at most."""
JPEG_QUALITY = 72
"""A picture takes some 10 kB then."""
DEPTH_COLORMAP, ERROR_COLORMAP = "magma_r", "inferno"
GREATEST_ERROR = 0.5
"""Relative error of the last colour."""
LOW_PERCENTILE, HIGH_PERCENTILE = 1, 99
"""Of the truth: the depths of the first and the last colour."""


def comparison(
    image: UInt8[np.ndarray, "h w 3"],
    truth_m: Float[np.ndarray, "height width"],
    valid_mask: Bool[np.ndarray, "height width"],
    depth_m: Float[np.ndarray, "height width"],
    caption: str = "",
) -> Strip:
    """Image, truth, prediction and |prediction - truth| / truth.

    Truth and prediction share their colours. Grey has no valid truth, or a prediction that is not finite. Larger maps
    become means over blocks of pixels, in which only valid ones count: sparse truth becomes denser that way.

    Args:
        image: of any size; it is stretched to the truth's.
        truth_m: metres; anything where it is invalid.
        valid_mask: the pixels that are evaluated.
        depth_m: the prediction in metres, at the truth's size.
        caption: under the strip.
    """
    finite = np.isfinite(depth_m)
    error = np.abs(depth_m - truth_m) / np.where(valid_mask, truth_m, 1)
    error = np.where(finite, error, np.inf)  # a prediction that is no number is as wrong as can be
    truth, truth_known = _shrunk(truth_m, valid_mask)
    depth, depth_known = _shrunk(depth_m, finite)
    error, error_known = _shrunk(error, valid_mask)

    known = truth[truth_known] if truth_known.any() else depth[depth_known]
    low, high = np.percentile(known, (LOW_PERCENTILE, HIGH_PERCENTILE)).tolist() if known.size else (0.0, 1.0)
    maps = {
        "truth": _colors(truth, truth_known, low, high, DEPTH_COLORMAP),
        "prediction": _colors(depth, depth_known, low, high, DEPTH_COLORMAP),
        "relative error": _colors(error, error_known, 0, GREATEST_ERROR, ERROR_COLORMAP),
    }
    height, width = truth.shape
    stretched = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    pictures = {"image": np.asarray(stretched), **maps}
    return Strip(
        [picture_of(_enlarged(p), name, format="jpeg", quality=JPEG_QUALITY) for name, p in pictures.items()],
        caption,
        color_scale(DEPTH_COLORMAP, f"{low:.3g} m", f"{high:.3g} m"),
    )


def error_scale() -> ColorScale:
    """What the colours of the relative error mean."""
    return color_scale(ERROR_COLORMAP, "relative error 0 %", f"{100 * GREATEST_ERROR:g} % and more")


def _shrunk(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the known values in square blocks, so that the map is at most WIDTH_PX wide, and where there are any."""
    block = -(-values.shape[1] // WIDTH_PX)
    margins = [(0, -side % block) for side in values.shape]
    rows, columns = ((side + margin) // block for side, (_, margin) in zip(values.shape, margins, strict=True))

    def sums(array: np.ndarray) -> np.ndarray:
        return np.pad(array, margins).reshape(rows, block, columns, block).sum((1, 3))

    counts = sums(known.astype(np.float32))
    totals = sums(np.where(known, values, 0).astype(np.float32))
    return totals / np.maximum(counts, 1), counts > 0


def _colors(values: np.ndarray, known: np.ndarray, low: float, high: float, colormap: str) -> np.ndarray:
    return colorize(values, vmin=low, vmax=high, colormap=colormap, invalid_mask=~known)[..., :3]


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Small pictures with square pixels instead of the browser's blur."""
    factor = max(1, WIDTH_PX // pixels.shape[1])
    return pixels.repeat(factor, 0).repeat(factor, 1)
