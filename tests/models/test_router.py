"""The router: whose vote counts, and which head an image gets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.parity import assert_depth_equals, compiled, depth_errors, run
from tests.synthetic import QUICK_TO_COMPILE, golden, pixels, tiny_config, tiny_params
from zoe_jax.models.router import choose_domain, sinusoidal_positions
from zoe_jax.models.zoedepth import forward

MIXED = "tiny/NK_rect64x96_batch2"

# two weak votes for the first domain, one strong one for the second
LOGITS = jnp.array([[1.0, 0.0], [0.0, 5.0], [1.0, 0.5]])


@pytest.mark.parametrize(
    ("routing", "example_mask", "expected"),
    [
        ("image", None, [0, 1, 0]),
        ("image", [True, False, True], [0, 1, 0]),
        ("batch", None, [1, 1, 1]),
        ("batch", [True, True, True], [1, 1, 1]),
        # the strong vote is padding
        ("batch", [True, False, True], [0, 0, 0]),
        ("batch", [False, False, False], [0, 0, 0]),
    ],
)
def test_choice(routing, example_mask, expected):
    mask = None if example_mask is None else jnp.array(example_mask)
    domain = choose_domain(LOGITS, routing, mask)
    assert domain.tolist() == expected
    assert domain.dtype == jnp.int32


@pytest.mark.parametrize("routing", ["image", "batch"])
def test_a_tie_goes_to_the_first_domain(routing):
    assert choose_domain(jnp.array([[2.0, 2.0], [1.0, 1.0]]), routing, None).tolist() == [0, 0]


def test_padding_does_not_vote_even_where_its_logits_are_not_numbers():
    logits = LOGITS.at[1].set(jnp.nan)
    assert choose_domain(logits, "batch", jnp.array([True, False, True])).tolist() == [0, 0, 0]


def test_positions():
    positions = sinusoidal_positions(5, 6)
    frequencies = 10000.0 ** (-2 * np.arange(3) / 6)
    for t in range(5):
        expected = np.concatenate([np.sin(t * frequencies), np.cos(t * frequencies)])
        # float32, as the original
        np.testing.assert_allclose(positions[t], expected, atol=5e-7)
    assert positions.dtype == np.float32


def test_a_mixed_batch_routes_per_image():
    _, out = run("NK", MIXED)
    assert out.domain.tolist() == [0, 1]
    for i, domain in enumerate(("nyu", "kitti")):
        assert_depth_equals("NK", out.metric_depth[i], golden(f"tiny/NK_rect64x96_{domain}")["metric_depth"])


def test_the_originals_vote_is_wrong_for_one_of_a_mixed_batch():
    _, out = run("NK", MIXED, routing="batch")
    assert len(set(out.domain.tolist())) == 1
    outvoted, domain = (1, "kitti") if out.domain[0] == 0 else (0, "nyu")
    _, mean = depth_errors(out.metric_depth[outvoted], golden(f"tiny/NK_rect64x96_{domain}")["metric_depth"])
    assert mean > 0.01


def test_padding_of_a_batch_does_not_vote_in_the_model():
    images = pixels(golden(MIXED)["image_uint8"])
    network = compiled(tiny_config("NK", routing="batch"))
    for i in range(2):
        out = network(tiny_params("NK"), images, example_mask=jnp.arange(2) == i)
        assert out.domain.tolist() == [i, i]


def test_dropout_is_of_training_alone():
    config, params = tiny_config("NK"), tiny_params("NK")
    images = pixels(golden("tiny/NK_rect64x96_nyu")["image_uint8"])

    @functools.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def train_logits(key):
        return forward(config, params, images, train=True, rngs={"dropout": key}).domain_logits

    first, again, other = (np.asarray(train_logits(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(first, run("NK", "tiny/NK_rect64x96_nyu")[1].domain_logits)
