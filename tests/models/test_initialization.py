"""Initial parameters: their spread, their independence, and that jit and keys do what they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import zoe_jax
from zoe_jax.models.initialization import symmetric_uniform

CONFIG = zoe_jax.preset("reference_nk")


@pytest.fixture(scope="module")
def params():
    return flatten_dict(zoe_jax.init(CONFIG, jax.random.key(0)), sep="/")


def test_uniform_fills_the_interval_evenly():
    words = jax.random.key_data(jax.random.key(3))
    draws = np.asarray(symmetric_uniform(words, 7, (400, 500)))
    assert -1 < draws.min() < -0.9999
    assert 0.9999 < draws.max() < 1
    counts, _ = np.histogram(draws, bins=50, range=(-1, 1))
    # 200000 draws: a bin holds 4000, give or take five times its standard deviation, 63
    assert np.all(np.abs(counts - 4000) < 5 * 63)


def test_neighbours_axes_streams_and_keys_are_uncorrelated():
    words = jax.random.key_data(jax.random.key(3))
    draws = np.asarray(symmetric_uniform(words, 7, (300, 300)))
    others = {
        "row": (draws[1:], draws[:-1]),
        "column": (draws[:, 1:], draws[:, :-1]),
        "stream": (draws, np.asarray(symmetric_uniform(words, 8, (300, 300)))),
        "key": (draws, np.asarray(symmetric_uniform(jax.random.key_data(jax.random.key(4)), 7, (300, 300)))),
    }
    for name, (a, b) in others.items():
        # the correlation of n independent pairs has standard deviation 1 / sqrt(n), here 1 / 300
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / 300, name


def test_values_follow_the_table(params):
    for path, value in params.items():
        value = np.asarray(value)
        if path.endswith("scale"):
            assert np.all(value == 1), path
        elif "gamma_" in path:
            assert np.all(value == np.float32(0.1)), path
        elif path.endswith("bias"):
            assert np.all(value == 0), path
        else:
            assert np.abs(value.mean()) < value.std() / 3, path
            # of 2^24 possible values, the largest parameter's 524288 draws repeat 1.6 %
            assert np.unique(value).size > 0.97 * value.size, path
    np.testing.assert_allclose(params["encoder/stage_0/mlp/fc1/kernel"].std(), 0.02, rtol=0.05)
    # fan-in: 3 x 3 x 32 pixels of a convolution, 128 channels of each stacked layer, 32 of a transposed convolution
    for path, fan_in in (
        ("decoder/head/conv1/kernel", 288),
        ("metric_head/attractor_1/fc1/kernel", 128),
        ("router/layers/fc1/kernel", 128),
        ("decoder/reassemble_1/resize/kernel", 32),
    ):
        np.testing.assert_allclose(np.abs(params[path]).max(), fan_in**-0.5, rtol=0.01)


def test_the_key_decides(params):
    again = flatten_dict(zoe_jax.init(CONFIG, jax.random.key(0)), sep="/")
    other = flatten_dict(zoe_jax.init(CONFIG, jax.random.key(1)), sep="/")
    path = "decoder/head/conv1/kernel"
    assert all(np.array_equal(params[p], again[p]) for p in params)
    assert not np.any(np.asarray(params[path]) == np.asarray(other[path]))


def test_layers_and_domains_differ_from_one_another(params):
    for path in ("router/layers/fc1/kernel", "metric_head/seed_bins/fc1/kernel"):
        stacked = np.asarray(params[path])
        assert not np.any(stacked[0] == stacked[1])


def test_param_dtype_is_kept():
    config = zoe_jax.override(zoe_jax.preset("reference_n"), {"param_dtype": "bfloat16"})
    assert {leaf.dtype for leaf in jax.tree.leaves(zoe_jax.init(config, jax.random.key(0)))} == {jnp.dtype("bfloat16")}
