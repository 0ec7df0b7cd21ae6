"""The log-binomial: the original's numbers, and what makes it a distribution over ordered bins."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.synthetic import golden
from zoe_jax.ops.bins import expected_depth
from zoe_jax.ops.log_binomial import (
    log_binomial,
    log_binomial_coefficients,
    log_binomial_mean,
    mode_and_temperature,
)

N_BINS = 64
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.0212, 50.0


@pytest.mark.parametrize("case", ["N_window64x64", "N_rect64x96", "K_rect64x96", "NK_rect64x96_nyu"])
def test_probabilities_equal_the_originals(case):
    stored = golden(f"tiny/{case}")
    mode, temperature = stored["p"][:, ::4, ::4], stored["t"][:, 0, ::4, ::4]
    probabilities = log_binomial(jnp.asarray(mode), jnp.asarray(temperature), N_BINS).transpose(0, 3, 1, 2)
    # logits of up to 300 have float32 steps of 3e-5, and torch's logarithm is another
    np.testing.assert_allclose(probabilities, stored["probs__s4"], rtol=1e-4, atol=1e-9)
    assert np.abs(probabilities - stored["probs__s4"]).max() <= 1e-6


@pytest.mark.parametrize("case", ["N_rect64x96", "K_rect64x96", "NK_rect64x96_kitti"])
def test_mode_and_temperature_equal_the_originals(case):
    stored = golden(f"tiny/{case}")
    activations = jnp.asarray(stored["pt"].transpose(0, 2, 3, 1))
    mode, temperature = mode_and_temperature(activations, MIN_TEMPERATURE, MAX_TEMPERATURE)
    np.testing.assert_allclose(mode, stored["p"], rtol=1e-6)
    np.testing.assert_allclose(temperature, stored["t"][:, 0], rtol=1e-6)


@pytest.mark.parametrize("n_bins", [2, 8, 64, 256])
def test_coefficients_are_stirlings(n_bins):
    n = n_bins - 1
    stirling = [sum(sign * m * math.log(m) for sign, m in ((1, n), (-1, k), (-1, n - k)) if m) for k in range(n_bins)]
    # the original adds 1e-7 before it takes a logarithm (1e-7 ln 1e-7 is -2e-6), and rounds k ln k to float32
    tolerance = 3e-6 + 1e-7 * n * math.log(n_bins)
    np.testing.assert_allclose(log_binomial_coefficients(n_bins, "float64"), stirling, atol=tolerance)
    assert log_binomial_coefficients(n_bins, "float32").dtype == np.float32


@given(st.floats(0, 1, width=32), st.floats(MIN_TEMPERATURE, MAX_TEMPERATURE))
def test_probabilities_sum_to_one_and_have_one_peak(mode, temperature):
    p = np.asarray(log_binomial(jnp.float32(mode), jnp.float32(temperature), N_BINS), np.float64)
    # 64 float32 numbers
    assert abs(p.sum() - 1) <= 1e-5
    assert p.min() >= 0
    peak = int(p.argmax())
    # a flat peak may show rounding
    assert np.all(np.diff(p[: peak + 1]) >= -1e-6)
    assert np.all(np.diff(p[peak:]) <= 1e-6)


def test_the_mode_is_where_the_probability_peaks():
    modes = jnp.linspace(0, 1, N_BINS)
    peaks = log_binomial(modes, jnp.full(N_BINS, 0.1), N_BINS).argmax(-1)
    # Stirling's formula without roots peaks at mode (n_bins - 1)
    np.testing.assert_array_equal(peaks, np.arange(N_BINS))


def test_the_mean_and_its_derivatives_are_those_of_the_distribution():
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        mode = jnp.concatenate([jax.random.uniform(keys[0], (30,)), jnp.array([0.0, 1e-6, 0.5, 1 - 1e-6, 1.0])])
        temperature = jax.random.uniform(keys[1], mode.shape, minval=MIN_TEMPERATURE, maxval=5.0)
        centers = jax.random.uniform(keys[2], (*mode.shape, N_BINS), maxval=10.0)

        def plainly(mode, temperature, centers):
            return expected_depth(log_binomial(mode, temperature, N_BINS), centers)

        np.testing.assert_array_equal(
            log_binomial_mean(mode, temperature, centers), plainly(mode, temperature, centers)
        )
        for differentiate in (jax.jacrev, jax.jacfwd):
            ours = differentiate(log_binomial_mean, (0, 1, 2))(mode, temperature, centers)
            plain = differentiate(plainly, (0, 1, 2))(mode, temperature, centers)
            for derivative, expected in zip(ours, plain, strict=True):
                np.testing.assert_allclose(derivative, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_the_gradient_of_the_mean_keeps_one_array_of_probabilities():
    shape = (8, 8)
    arguments = jnp.full(shape, 0.3), jnp.ones(shape), jnp.ones((*shape, N_BINS))
    _, pull_back = jax.vjp(log_binomial_mean, *arguments)
    kept = [leaf for leaf in jax.tree.leaves(pull_back) if leaf.shape == (*shape, N_BINS)]
    assert len(kept) == 1


def test_temperature_widens():
    spread = [float(log_binomial(jnp.float32(0.4), jnp.float32(t), N_BINS).max()) for t in (0.0212, 0.5, 5.0, 50.0)]
    assert spread == sorted(spread, reverse=True)


def test_ratios_end_at_the_bounds():
    mode, temperature = mode_and_temperature(
        jnp.array([[1e8, 0.0, 0.0, 1e8], [0.0, 1e8, 1e8, 0.0]]), MIN_TEMPERATURE, MAX_TEMPERATURE
    )
    np.testing.assert_allclose(mode, [1, 0], atol=1e-6)
    np.testing.assert_allclose(temperature, [MIN_TEMPERATURE, MAX_TEMPERATURE], rtol=1e-5)


@pytest.mark.parametrize("activations", [[0.0] * 4, [1e4, 0.0, 0.0, 1e4], [0.0, 1e4, 1e4, 0.0], [1e-30] * 4])
def test_gradients_are_finite_at_the_extremes(activations):
    def loss(x):
        probabilities = log_binomial(*mode_and_temperature(x, MIN_TEMPERATURE, MAX_TEMPERATURE), N_BINS)
        return jnp.sum(probabilities * jnp.arange(N_BINS))

    assert np.all(np.isfinite(jax.jit(jax.grad(loss))(jnp.array(activations))))


def test_the_type_is_that_of_the_mode():
    assert log_binomial(jnp.float32(0.5), jnp.float32(1.0), N_BINS).dtype == jnp.float32
    with jax.enable_x64(True):
        assert log_binomial(jnp.float64(0.5), jnp.float64(1.0), N_BINS).dtype == jnp.float64
