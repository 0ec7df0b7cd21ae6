"""Seed bins, attractors and depth: the formulas, the original's arrays, and what holds for every input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.synthetic import golden
from zoe_jax.ops.bins import (
    attract,
    attractor_shift,
    bounded_bin_centers,
    expected_depth,
    seed_bin_centers_normed,
)

N_BINS, N_ATTRACTORS = 8, 5
RELEASED = {"attractor_type": "inverse", "attractor_kind": "mean", "alpha": 300.0, "gamma": 2}
TYPES = ("inverse", "exponential")


def floats(shape, low, high):
    return arrays(np.float32, shape, elements=st.floats(low, high, width=32))


@pytest.mark.parametrize("size", ["window64x64", "rect64x96"])
def test_normed_seeds_equal_the_originals(size):
    stored = golden(f"tiny/K_{size}")
    widths = stored["seed_bins_normed_widths"].transpose(0, 2, 3, 1)
    # any logits in these proportions, large enough that no ReLU acts
    logits = jnp.asarray(widths / widths.min() - np.float32(1e-3))
    for key, max_depth_m in ((f"tiny/K_{size}", 10.0), (f"tiny/K80_{size}", 80.0)):
        centers = seed_bin_centers_normed(logits, 1e-3, max_depth_m)
        # 64 float32 additions
        np.testing.assert_allclose(centers.transpose(0, 3, 1, 2), golden(key)["seed_bins_centers"], rtol=3e-6)


def test_normed_seeds_by_hand():
    # widths 1.001, 3.001 and, of the negative logit, 0.001, in a range of 8 m above 2 m
    widths = 8 * np.array([1.001, 3.001, 0.001]) / 4.003
    expected = 2 + np.array([widths[0] / 2, widths[0] + widths[1] / 2, widths[0] + widths[1] + widths[2] / 2])
    np.testing.assert_allclose(seed_bin_centers_normed(jnp.array([1.0, 3.0, -5.0]), 2.0, 10.0), expected, rtol=1e-6)


@given(floats((3, N_BINS), -1e3, 1e3), st.sampled_from([(1e-3, 10.0), (1e-3, 80.0), (0.0, 1.0), (5.0, 5.5)]))
def test_normed_seeds_lie_in_the_range_and_rise(logits, depth_range):
    low, high = depth_range
    centers = np.asarray(seed_bin_centers_normed(jnp.asarray(logits), low, high))
    # the sum of all widths is the range up to rounding
    rounding = 1e-6 * high
    assert centers.min() >= low - rounding
    assert centers.max() <= high + rounding
    assert np.all(np.diff(centers, axis=-1) >= -rounding)


def test_normed_seeds_take_a_range_an_image():
    logits = jax.random.normal(jax.random.key(0), (2, 4, N_BINS))
    low, high = jnp.array([[[0.1]], [[1.0]]]), jnp.array([[[10.0]], [[80.0]]])
    both = seed_bin_centers_normed(logits, low, high)
    for i in range(2):
        alone = seed_bin_centers_normed(logits[i], float(low[i, 0, 0]), float(high[i, 0, 0]))
        np.testing.assert_allclose(both[i], alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "alpha", "gamma", "expected"),
    [
        ("inverse", 300.0, 2, 0.5 / (1 + 300 * 0.25)),
        ("inverse", 2.0, 1, 0.5 / 2.0),
        ("exponential", 3.0, 2, 0.5 * np.exp(-0.75)),
        ("exponential", 1.0, 3, 0.5 * np.exp(-0.125)),
    ],
)
def test_attractor_shift(kind, alpha, gamma, expected):
    shift = attractor_shift(jnp.array([0.5, 0.0]), kind, alpha, gamma)
    np.testing.assert_allclose(shift, [expected, 0.0], rtol=1e-6)
    if gamma == 2:
        np.testing.assert_allclose(attractor_shift(jnp.array([-0.5]), kind, alpha, gamma), [-expected], rtol=1e-6)


@pytest.mark.parametrize("attractor_type", TYPES)
def test_sum_is_the_mean_times_the_number(attractor_type):
    centers = jax.random.uniform(jax.random.key(1), (2, N_BINS))
    points = jax.random.uniform(jax.random.key(2), (2, N_ATTRACTORS))
    options = RELEASED | {"attractor_type": attractor_type}
    mean = attract(centers, points, **options) - centers
    total = attract(centers, points, **(options | {"attractor_kind": "sum"})) - centers
    np.testing.assert_allclose(total, N_ATTRACTORS * mean, atol=1e-6)


@pytest.mark.parametrize("n", range(4))
@pytest.mark.parametrize("case", ["tiny/NK_rect64x96_nyu", "tiny/NK_rect64x96_kitti"])
def test_attracted_centers_equal_the_originals(case, n):
    stored = golden(case)
    stride = 2 if n == 3 else 1
    suffix = "__s2" if n == 3 else ""
    before = stored["seed_bins_centers"] if n == 0 else stored[f"attractor_{n - 1}_b_new"]
    size = stored[f"attractor_{n}_A_raw"].shape[2:]
    rows, columns = (np.linspace(0, old - 1, new) for old, new in zip(before.shape[2:], size, strict=True))
    centers = jnp.asarray(_bilinear(before, rows, columns).transpose(0, 2, 3, 1), jnp.float32)
    points = jnp.asarray(stored[f"attractor_{n}_A_raw"].transpose(0, 2, 3, 1))
    after = attract(centers, points, **RELEASED).transpose(0, 3, 1, 2)[..., ::stride, ::stride]
    # one float32 sum over 16 attractors
    np.testing.assert_allclose(after, stored[f"attractor_{n}_b_new{suffix}"], rtol=2e-6)


def _bilinear(maps, rows, columns):
    for axis, position in ((2, rows), (3, columns)):
        lower = np.minimum(position.astype(int), maps.shape[axis] - 2)
        weight = (position - lower).reshape([-1 if i == axis else 1 for i in range(4)])
        maps = (1 - weight) * maps.take(lower, axis) + weight * maps.take(lower + 1, axis)
    return maps


@pytest.mark.parametrize("attractor_type", TYPES)
@given(
    centers=floats((2, N_BINS), -10, 100),
    points=floats((2, N_ATTRACTORS), 0, 100),
    alpha=st.floats(0, 1e4),
    gamma=st.sampled_from([2, 4]),
)
def test_new_centers_stay_between_the_old_one_and_the_attractors(attractor_type, centers, points, alpha, gamma):
    new = attract(
        jnp.asarray(centers),
        jnp.asarray(points),
        attractor_type=attractor_type,
        attractor_kind="mean",
        alpha=alpha,
        gamma=gamma,
    )
    low = np.minimum(centers, points.min(-1, keepdims=True))
    high = np.maximum(centers, points.max(-1, keepdims=True))
    # the mean of shifts of at most 110 is added in float32
    assert np.all(new >= low - 5e-5)
    assert np.all(new <= high + 5e-5)


@given(floats((3, N_BINS), -5, 5), st.sampled_from([(1e-3, 10.0), (1e-3, 80.0)]))
def test_bounded_centers_are_sorted_and_in_the_range(normed_centers, depth_range):
    low, high = depth_range
    centers = np.asarray(bounded_bin_centers(jnp.asarray(normed_centers), low, high))
    assert np.all(np.diff(centers, axis=-1) >= 0)
    assert centers.min() >= np.float32(low)
    assert centers.max() <= np.float32(high)
    inside = np.sort(np.clip((high - low) * normed_centers.astype(np.float64) + low, low, high), axis=-1)
    np.testing.assert_allclose(centers, inside, rtol=1e-5, atol=1e-5)


def test_expected_depth():
    probabilities = jnp.array([[0.25, 0.75], [1.0, 0.0]])
    centers = jnp.array([[1.0, 3.0], [5.0, 70.0]])
    np.testing.assert_array_equal(expected_depth(probabilities, centers), [2.5, 5.0])


@pytest.mark.parametrize("attractor_kind", ["mean", "sum"])
@pytest.mark.parametrize("attractor_type", TYPES)
def test_gradients_are_finite_on_an_attractor_and_far_from_it(attractor_type, attractor_kind):
    centers = jnp.array([0.0, 1.0, 1.0, 1e4])
    points = jnp.array([1.0, 1.0, 0.0])

    def loss(centers, points):
        options = {"attractor_type": attractor_type, "attractor_kind": attractor_kind}
        return attract(centers, points, **(RELEASED | options)).sum()

    for gradient in jax.grad(loss, (0, 1))(centers, points):
        assert np.all(np.isfinite(gradient))


def test_gradients_are_finite_where_every_width_is_zero_and_centers_tie():
    gradient = jax.grad(lambda x: seed_bin_centers_normed(x, 1e-3, 10.0)[0])(-jnp.ones(N_BINS))
    assert np.all(np.isfinite(gradient))
    gradient = jax.grad(lambda x: bounded_bin_centers(x, 1e-3, 10.0)[0])(jnp.array([0.5, 0.5, -1.0, 2.0]))
    assert np.all(np.isfinite(gradient))
