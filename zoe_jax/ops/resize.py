"""The resize that `jax.image` lacks: bilinear with aligned corners."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def align_corners_taps(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each output sample reads along one axis when the outermost samples coincide.

    Returns:
        Index of the lower neighbour, index of the upper one (both int32 [new_size]) and the weight of the upper one
        (float64 [new_size]): position i * (size - 1) / (new_size - 1), or 0 where new_size is 1.
    """
    position = np.arange(new_size) * ((size - 1) / max(new_size - 1, 1))
    lower = np.minimum(np.floor(position).astype(np.int32), max(size - 2, 0))
    upper = np.minimum(lower + 1, size - 1)
    return lower, upper, position - lower


def resize_bilinear_align_corners(x: Float[Array, "*b h w c"], size: tuple[int, int]) -> Float[Array, "*b H W c"]:
    """Bilinear resize as `torch.nn.functional.interpolate(mode="bilinear", align_corners=True)`.

    `jax.image.resize` has pixel centres at half-integers only. Interpolates in at least float32 and returns the
    type of `x`.
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    resized = x
    for axis, new_size in zip((-3, -2), size, strict=True):
        if resized.shape[axis] == new_size:
            continue
        lower, upper, weight = align_corners_taps(resized.shape[axis], new_size)
        weight = jnp.asarray(weight, dtype).reshape((-1,) + (1,) * (-axis - 1))
        below = jnp.take(resized, lower, axis=axis).astype(dtype)
        above = jnp.take(resized, upper, axis=axis).astype(dtype)
        # not below + weight * (above - below), which makes nan of an infinite neighbour where torch keeps infinity
        resized = (1 - weight) * below + weight * above
    return resized.astype(x.dtype)
