"""The resize that `jax.image` lacks: bilinear with aligned corners."""

import jax.numpy as jnp
import numpy as np
from jax import lax
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
        old_size = resized.shape[axis]
        if new_size == 2 * old_size:
            resized = _doubled(resized.astype(dtype), axis)
        elif new_size != old_size:
            lower, upper, weight = align_corners_taps(old_size, new_size)
            below = jnp.take(resized, lower, axis=axis).astype(dtype)
            above = jnp.take(resized, upper, axis=axis).astype(dtype)
            resized = _between(below, above, weight, axis)
    return resized.astype(x.dtype)


def _doubled(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """Twice as many samples along an axis (counted from the last), by shifts alone.

    The gradient of a gather is a scatter, which runs element by element on a CPU and in no fixed order on a GPU; that
    of a shift is a shift. Of the new samples 2i and 2i + 1 the first lies between i - 1 and i, the second between i
    and i + 1. At the ends the one that is missing is the one on the other side: with weight 0, from where nan spreads
    as it does in torch.
    """
    size = x.shape[axis]
    _, _, weight = align_corners_taps(size, 2 * size)
    to_even, to_odd = weight.reshape(size, 2).T
    to_even[0], to_odd[-1] = 1, 0

    def samples(start: int, stop: int) -> Array:
        return lax.slice_in_dim(x, start, stop, axis=axis)

    second, last_but_one = min(1, size - 1), max(size - 2, 0)
    before = jnp.concatenate([samples(second, second + 1), samples(0, size - 1)], axis)
    after = jnp.concatenate([samples(1, size), samples(last_but_one, last_but_one + 1)], axis)
    even = _between(before, x, to_even, axis)
    odd = _between(x, after, to_odd, axis)
    return jnp.stack([even, odd], axis).reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _between(
    below: Float[Array, "..."], above: Float[Array, "..."], weight: Float[np.ndarray, "n"], axis: int
) -> Float[Array, "..."]:
    """`weight` is that of `above`, along an axis counted from the last."""
    to_above = jnp.asarray(weight, below.dtype).reshape((-1,) + (1,) * (-axis - 1))
    # not below + to_above * (above - below), which makes nan of an infinite neighbour where torch keeps infinity
    return (1 - to_above) * below + to_above * above
