"""Resizes on the host, as tables of taps: which source samples make an output sample, and with what weights.

A resize is separable, so a table for the rows and one for the columns describe it whole. Padding by reflection only
changes the indices of a table and cropping only drops rows of it, so that neither ever makes an array of its own.

Every table is mirror-symmetric to the last bit, and `resample` adds symmetric taps pairwise: flipping an image and
resizing it gives exactly the flipped resized image. OpenCV is not used: its cubic resize is faster, but keeps its
coordinates in float32 (4e-6 off on data of unit range), and it has no bilinear resize with aligned corners.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Num

from zoe_jax.ops.resize import align_corners_taps

CUBIC_A = -0.75
"""Coefficient of the cubic kernel in PyTorch; `jax.image` has -0.5."""


@dataclass(frozen=True)
class Taps:
    """A linear map along one axis: output i is the sum over k of weights[i, k] * source[indices[i, k]]."""

    indices: Int[np.ndarray, "new k"]
    weights: Float64[np.ndarray, "new k"]

    def after_reflection(self, size: int, pad: int) -> "Taps":
        """The same map, for a source of `size` samples that it sees padded by `pad` reflected ones at each end.

        The end sample itself is not repeated (`torch.nn.functional.pad(mode="reflect")`); needs pad < size.
        """
        position = np.abs(self.indices - pad)
        return Taps(np.where(position >= size, 2 * (size - 1) - position, position), self.weights)

    def cropped(self, start: int, size: int) -> "Taps":
        """The map to outputs start, ..., start + size - 1 only."""
        return Taps(self.indices[start : start + size], self.weights[start : start + size])


def bilinear_taps(size: int, new_size: int) -> Taps:
    """Bilinear with aligned corners: output i reads position i (size - 1) / (new_size - 1), or 0 if new_size is 1."""
    lower, upper, weight = align_corners_taps(size, new_size)
    return _mirrored(np.stack([lower, upper], axis=1), np.stack([1 - weight, weight], axis=1), size)


def bicubic_taps(size: int, new_size: int) -> Taps:
    """Bicubic (a = -0.75) with pixel centres at half-integers, no antialiasing, indices clamped to the border.

    Source: `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.
    """
    position = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    lower = np.floor(position)
    offsets = np.arange(-1, 3)
    distance = np.abs((position - lower)[:, None] - offsets)
    near = ((CUBIC_A + 2) * distance - (CUBIC_A + 3)) * distance**2 + 1
    far = CUBIC_A * (((distance - 5) * distance + 8) * distance - 4)
    indices = np.clip(lower.astype(np.int64)[:, None] + offsets, 0, size - 1)
    return _mirrored(indices, np.where(distance <= 1, near, far), size)


def resample(source: Num[np.ndarray, "h w *c"], rows: Taps, columns: Taps) -> Float[np.ndarray, "H W *c"]:
    """Applies a table to the rows and one to the columns, in float32 (float64 where the source is float64)."""
    dtype = np.float64 if source.dtype == np.float64 else np.float32
    height, width = source.shape[:2]
    # The axis that shrinks more goes first: the second pass then has less to do.
    if len(rows.indices) * width <= height * len(columns.indices):
        return _along(_along(source, rows, 0, dtype), columns, 1, dtype)
    return _along(_along(source, columns, 1, dtype), rows, 0, dtype)


def _mirrored(indices: np.ndarray, weights: np.ndarray, size: int) -> Taps:
    """Replaces the second half of a table by the mirror image of the first; only rounding changes."""
    half = len(indices) // 2
    if half:
        indices[-half:] = size - 1 - indices[:half][::-1, ::-1]
        weights[-half:] = weights[:half][::-1, ::-1]
    return Taps(indices, weights)


def _along(source: np.ndarray, taps: Taps, axis: int, dtype: type) -> np.ndarray:
    shape = [1] * source.ndim
    shape[axis] = -1
    weights = taps.weights.astype(dtype)

    def term(k: int) -> np.ndarray:
        return np.multiply(np.take(source, taps.indices[:, k], axis), weights[:, k].reshape(shape), dtype=dtype)

    total = None
    for k in range(taps.indices.shape[1] // 2):
        pair = term(k)
        pair += term(taps.indices.shape[1] - 1 - k)
        total = pair if total is None else np.add(total, pair, out=total)
    assert total is not None
    return total
