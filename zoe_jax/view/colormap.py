"""Depth in colour, as `colorize` of the original (zoedepth/utils/misc.py) does it."""

import difflib
import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8

from zoe_jax.errors import ZoeJaxError

INVALID_DEPTH = -99.0
"""The value by which the original marks pixels without depth."""

GREY = (128, 128, 128, 255)
LOW_PERCENTILE, HIGH_PERCENTILE = 2, 85


def colorize(
    depth: Num[np.ndarray, "*ones height width"],
    *,
    vmin: int | float | None = None,
    vmax: int | float | None = None,
    colormap: str = "gray_r",
    invalid_mask: Bool[np.ndarray, "height width"] | None = None,
    background: tuple[int, int, int, int] = GREY,
    gamma_corrected: bool = False,
    value_transform: Callable[[np.ndarray], np.ndarray] | None = None,
) -> UInt8[np.ndarray, "height width 4"]:
    """Colours for a map of values; axes of length 1 before the height are dropped.

    Args:
        depth: in metres, or any other values; NaN is transparent black.
        vmin: value of the first colour; by default the 2nd percentile of the valid pixels. What is below it has the
            first colour too.
        vmax: value of the last colour; by default the 85th percentile.
        colormap: a name of matplotlib's.
        invalid_mask: pixels that get the background; by default those that are exactly -99.
        background: red, green, blue, alpha.
        gamma_corrected: raise colours and alpha to the power of 2.2.
        value_transform: applied to the values after vmin..vmax has become 0..1.

    Raises:
        ZoeJaxError: unknown colour map.
    """
    values = depth.reshape(depth.shape[-2:])
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float32)
    invalid = values == INVALID_DEPTH if invalid_mask is None else invalid_mask
    vmin, vmax = color_range(values, invalid, vmin, vmax)
    # Python floats keep the type of the values; NumPy's own would turn float32 into float64, unlike the original.
    unit = (values - vmin) / (vmax - vmin) if vmin != vmax else values * 0
    if value_transform:
        unit = value_transform(np.where(invalid, np.nan, unit))
    colors = np.zeros((*values.shape, 4), np.uint8)
    visible = ~(np.isnan(unit) | invalid)
    table = _lookup_table(colormap)
    colors[visible] = table[np.clip(unit[visible] * len(table), 0, len(table) - 1).astype(np.int64)]
    colors[invalid] = background
    if gamma_corrected:
        return ((colors / 255) ** 2.2 * 255).astype(np.uint8)
    return colors


def color_range(
    values: Float[np.ndarray, "height width"],
    invalid: Bool[np.ndarray, "height width"],
    vmin: int | float | None = None,
    vmax: int | float | None = None,
) -> tuple[int | float, int | float]:
    """The values of the first and of the last colour: as given, else percentiles 2 and 85 of the valid values."""
    if vmin is not None and vmax is not None:
        return vmin, vmax
    valid = values[~invalid]
    if not valid.size:
        return 0.0 if vmin is None else vmin, 0.0 if vmax is None else vmax
    # one after the other, as the original: both at once come out in another precision
    low = float(np.percentile(valid, LOW_PERCENTILE, overwrite_input=True)) if vmin is None else vmin
    high = float(np.percentile(valid, HIGH_PERCENTILE, overwrite_input=True)) if vmax is None else vmax
    return low, high


def check_colormap(name: str) -> None:
    """Raises ZoeJaxError where `colorize` would for this name."""
    _lookup_table(name)


@functools.cache
def _lookup_table(name: str) -> UInt8[np.ndarray, "n_colors 4"]:
    import matplotlib  # takes a quarter of a second

    if name not in matplotlib.colormaps:
        near = difflib.get_close_matches(name, list(matplotlib.colormaps), n=3) or ["gray_r", "magma_r", "viridis"]
        raise ZoeJaxError(f"there is no colour map {name!r} in matplotlib; did you mean {', '.join(near)}?")
    colors = matplotlib.colormaps[name]
    return np.asarray(colors(np.arange(colors.N), bytes=True))
