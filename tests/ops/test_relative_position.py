"""The relative-position bias, against its definition entry by entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.ops.relative_position import relative_position_bias, resize_position_table

HEADS = 3


def table_of(window, seed=0):
    return jax.random.normal(jax.random.key(seed), ((2 * window - 1) ** 2 + 3, HEADS))


def half_pixel(offsets, size):
    """Bilinear with pixel centres at half-integers, borders repeated, no antialiasing."""
    heads, height, width = offsets.shape
    out = np.zeros((heads, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            y = np.clip((i + 0.5) * height / size[0] - 0.5, 0, height - 1)
            x = np.clip((j + 0.5) * width / size[1] - 0.5, 0, width - 1)
            for row, weight_y in ((int(y), 1 - y % 1), (min(int(y) + 1, height - 1), y % 1)):
                for column, weight_x in ((int(x), 1 - x % 1), (min(int(x) + 1, width - 1), x % 1)):
                    out[:, i, j] += weight_y * weight_x * offsets[:, row, column]
    return out


def test_the_grid_of_pre_training_keeps_the_table():
    table = table_of(4)
    offsets, class_token = resize_position_table(table, 4, (4, 4))
    np.testing.assert_array_equal(offsets.reshape(HEADS, -1).T, table[:-3])
    np.testing.assert_array_equal(class_token.T, table[-3:])


@pytest.mark.parametrize("grid", [(4, 6), (6, 4), (2, 3), (1, 1), (8, 8)])
def test_other_grids_interpolate(grid):
    table = table_of(4)
    offsets, class_token = resize_position_table(table, 4, grid)
    exact = half_pixel(np.asarray(table[:-3].T.reshape(HEADS, 7, 7), np.float64), (2 * grid[0] - 1, 2 * grid[1] - 1))
    np.testing.assert_allclose(offsets, exact, atol=2e-6)
    np.testing.assert_array_equal(class_token.T, table[-3:])


@pytest.mark.parametrize("grid", [(3, 3), (2, 4), (4, 2), (1, 3), (1, 1)])
def test_every_pair_of_tokens_reads_its_offset(grid):
    height, width = grid
    offsets, class_token = (
        jax.random.normal(jax.random.key(i), (HEADS, *shape))
        for i, shape in enumerate([(2 * height - 1, 2 * width - 1), (3,)])
    )
    bias = np.asarray(jax.jit(relative_position_bias)(offsets, class_token))
    patches = [(y, x) for y in range(height) for x in range(width)]
    assert bias.shape == (HEADS, len(patches) + 1, len(patches) + 1)
    for q, (yq, xq) in enumerate(patches, 1):
        for k, (yk, xk) in enumerate(patches, 1):
            np.testing.assert_array_equal(bias[:, q, k], offsets[:, yq - yk + height - 1, xq - xk + width - 1])
        # rows of the table's tail: class token to patch, patch to class token, class token to itself
        np.testing.assert_array_equal(bias[:, 0, q], class_token[:, 0])
        np.testing.assert_array_equal(bias[:, q, 0], class_token[:, 1])
    np.testing.assert_array_equal(bias[:, 0, 0], class_token[:, 2])


def test_a_bfloat16_table_is_interpolated_in_float32():
    offsets, class_token = resize_position_table(table_of(4).astype(jnp.bfloat16), 4, (4, 6))
    assert offsets.dtype == class_token.dtype == jnp.float32


def test_a_gradient_reaches_every_row_of_the_table():
    def loss(table):
        return (relative_position_bias(*resize_position_table(table, 3, (3, 4))) ** 2).sum()

    assert np.all(np.abs(jax.jit(jax.grad(loss))(table_of(3))).sum(-1) > 0)
