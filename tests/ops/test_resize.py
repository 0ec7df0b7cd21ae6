"""Bilinear resize with aligned corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoe_jax.ops.resize import align_corners_taps, resize_bilinear_align_corners


def slowly(maps, size):
    """The definition: output (i, j) reads the source at (i (h - 1) / (H - 1), j (w - 1) / (W - 1))."""
    h, w, channels = maps.shape
    out = np.zeros((*size, channels))
    for i in range(size[0]):
        for j in range(size[1]):
            y = i * (h - 1) / (size[0] - 1) if size[0] > 1 else 0.0
            x = j * (w - 1) / (size[1] - 1) if size[1] > 1 else 0.0
            for row, weight_y in ((int(y), 1 - y % 1), (min(int(y) + 1, h - 1), y % 1)):
                for column, weight_x in ((int(x), 1 - x % 1), (min(int(x) + 1, w - 1), x % 1)):
                    out[i, j] += weight_y * weight_x * maps[row, column]
    return out


resize = jax.jit(resize_bilinear_align_corners, static_argnums=1)


@pytest.mark.parametrize(
    ("size", "new_size"),
    [((3, 5), (6, 10)), ((4, 6), (7, 3)), ((1, 3), (2, 6)), ((5, 4), (1, 1)), ((2, 7), (2, 5)), ((6, 1), (3, 4))],
)
def test_equals_the_definition(size, new_size):
    maps = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    resized = resize(jnp.asarray(maps), new_size)
    assert resized.shape == (*new_size, 2)
    # two products and sums of float32 numbers up to 3
    np.testing.assert_allclose(resized, slowly(maps, new_size), atol=1e-6)


@given(st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None, max_examples=25)
def test_doubling_equals_the_definition(height, width):
    maps = np.random.default_rng(0).normal(size=(height, width, 2)).astype(np.float32)
    size = (2 * height, 2 * width)
    np.testing.assert_allclose(resize(jnp.asarray(maps), size), slowly(maps, size), atol=1e-6)


@given(st.integers(1, 500), st.integers(1, 500))
def test_taps_lie_in_the_source(size, new_size):
    lower, upper, weight = align_corners_taps(size, new_size)
    assert lower.shape == upper.shape == weight.shape == (new_size,)
    assert lower.min() >= 0
    assert upper.max() <= size - 1
    assert weight.min() >= 0
    assert weight.max() <= 1 + 1e-12
    # the outermost samples coincide
    assert lower[0] + weight[0] == 0
    if new_size > 1:
        assert lower[-1] + weight[-1] == pytest.approx(size - 1)


def test_the_same_size_is_the_same_array():
    maps = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    np.testing.assert_array_equal(resize(maps, (3, 4)), maps)


def test_any_number_of_leading_axes():
    maps = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 6))
    resized = resize(maps, (8, 9))
    assert resized.shape == (2, 3, 8, 9, 6)
    np.testing.assert_array_equal(resized[1, 2], resize(maps[1, 2], (8, 9)))


def test_bfloat16_is_interpolated_in_float32():
    maps = jax.random.normal(jax.random.key(0), (3, 4, 1))
    resized = resize(maps.astype(jnp.bfloat16), (6, 8))
    assert resized.dtype == jnp.bfloat16
    exact = resize(maps.astype(jnp.bfloat16).astype(jnp.float32), (6, 8))
    np.testing.assert_array_equal(resized, exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("new_size", [(3, 5), (4, 6)])
def test_a_gradient_is_the_transposed_map(new_size):
    keys = jax.random.split(jax.random.key(0))
    maps, cotangent = jax.random.normal(keys[0], (2, 3, 1)), jax.random.normal(keys[1], (*new_size, 1))
    pulled_back = jax.grad(lambda x: jnp.vdot(resize(x, new_size), cotangent))(maps)
    matrix = np.stack([slowly(unit.reshape(2, 3, 1), new_size).ravel() for unit in np.eye(6)])
    np.testing.assert_allclose(pulled_back.ravel(), matrix @ np.asarray(cotangent).ravel(), atol=1e-6)
    _, tangent = jax.jvp(lambda x: resize(x, new_size), (maps,), (maps,))
    np.testing.assert_allclose(tangent, resize(maps, new_size), atol=1e-6)


def test_the_gradient_of_a_doubling_scatters_nothing():
    gradient = jax.jit(jax.grad(lambda x: (resize(x, (6, 8)) ** 2).sum()))
    assert "scatter" not in gradient.lower(jnp.ones((3, 4, 1))).as_text()


def test_what_has_no_weight_spreads_nan_as_in_torch():
    maps = jnp.array([1.0, jnp.inf, 2.0, 3.0]).reshape(1, 4, 1)
    # 0 * inf at the first sample; the fifth, of 8, is the last that reads the second of 4
    np.testing.assert_array_equal(resize(maps, (1, 8)).ravel()[:5], [jnp.nan] + [jnp.inf] * 4)
    assert jnp.isfinite(resize(maps, (1, 8)).ravel()[5:]).all()
