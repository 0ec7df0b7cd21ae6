"""Relative-position bias of BEiT, for any patch grid, from a table of a square pre-training window."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

N_CLASS_TOKEN_ROWS = 3
"""The table ends with three rows: class token to patch, patch to class token, class token to itself."""


def resize_position_table(
    table: Float[Array, "rows heads"], window: int, grid: tuple[int, int]
) -> tuple[Float[Array, "heads dy dx"], Float[Array, "heads 3"]]:
    """Interpolates the table of a `window` x `window` grid to the offsets of another grid.

    Bilinear with half-pixel centres and without antialiasing, also when shrinking, in the table's own type but at
    least float32 (`_get_rel_pos_bias` in midas/backbones/beit.py of MiDaS 3.1).

    Returns:
        Offsets [heads, 2 grid_h - 1, 2 grid_w - 1], where the entry at (dy, dx) belongs to a query dy - grid_h + 1
        rows below and dx - grid_w + 1 columns right of the key; and the three rows of the class token [heads, 3].
    """
    side = 2 * window - 1
    heads = table.shape[1]
    rows = table.astype(jnp.promote_types(table.dtype, jnp.float32)).T
    offsets = rows[:, :-N_CLASS_TOKEN_ROWS].reshape(heads, side, side)
    size = (2 * grid[0] - 1, 2 * grid[1] - 1)
    if size != (side, side):
        offsets = jax.image.resize(offsets, (heads, *size), "linear", antialias=False)
    return offsets, rows[:, -N_CLASS_TOKEN_ROWS:]


def relative_position_bias(
    offsets: Float[Array, "heads dy dx"], class_token: Float[Array, "heads 3"]
) -> Float[Array, "heads tokens tokens"]:
    """Spreads the offsets over all pairs of tokens (query, key), the class token first.

    The bias of patches is a Toeplitz matrix of Toeplitz matrices, so slices build it: a gather of the same entries
    takes three times as long on a CPU.
    """
    heads = offsets.shape[0]
    height, width = (offsets.shape[1] + 1) // 2, (offsets.shape[2] + 1) // 2
    by_key = jnp.flip(offsets, (1, 2))
    # [heads, query column, row offset, key column]: key columns of one query column are a slice of the offsets
    columns = jnp.stack([by_key[:, :, width - 1 - x : 2 * width - 1 - x] for x in range(width)], axis=1)
    to_class = jnp.broadcast_to(class_token[:, 1, None, None], (heads, width, 1))
    rows = [
        jnp.concatenate(
            [to_class, columns[:, :, height - 1 - y : 2 * height - 1 - y].reshape(heads, width, height * width)], axis=2
        )
        for y in range(height)
    ]
    from_class = jnp.concatenate(
        [class_token[:, 2:, None], jnp.broadcast_to(class_token[:, :1, None], (heads, 1, height * width))], axis=2
    )
    return jnp.concatenate([from_class, *rows], axis=1)
