"""What the released models lack: a convolutional stem, heads at a coarser stride, spread seeds, a plain softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoe_jax
from zoe_jax.config import ConfigError, ZoeDepthConfig, override, preset
from zoe_jax.convert.checkpoint import Checkpoint, read_checkpoint, verify, write_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.models.zoedepth import forward, parameter_shapes

TINY = preset("zoed_tiny_nk")
IMAGES = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)


@pytest.mark.parametrize("overrides", [{}, {"probabilities": "softmax"}, {"decoder.output_stride": 2}, {"stem": ()}])
def test_every_variation_gives_depth_of_the_image_size_and_finite_gradients(overrides: dict) -> None:
    config = override(TINY, overrides)
    params = zoe_jax.init(config, jax.random.key(0))
    domain = jnp.array([0, 1])

    @jax.jit
    def loss(params):
        out = forward(config, params, IMAGES, domain, intermediates=True)
        return out.metric_depth.mean(), out

    (_, out), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    stride = config.decoder.output_stride
    assert out.metric_depth.shape == out.relative_depth.shape == (2, 64, 96)
    assert out.bin_probabilities.shape == (2, 64 // stride, 96 // stride, 64)
    np.testing.assert_allclose(out.bin_probabilities.sum(-1), 1, rtol=1e-5)  # float32 sums of 64 terms
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
    assert bool(jnp.any(gradient["metric_head"][config.head.probabilities]["fc2"]["kernel"] != 0))


def test_the_stem_reaches_the_decoder_directly() -> None:
    paths = parameter_shapes(TINY)
    assert {path for path in paths if "/stem_" in path and path.endswith("kernel")} == {
        *(f"encoder/stem_{i}/kernel" for i in (1, 2, 3, 4)),
        *(f"decoder/stem_{i}/kernel" for i in (1, 2, 3)),
    }
    params = zoe_jax.init(TINY, jax.random.key(0))
    out = forward(TINY, params, IMAGES, intermediates=True)
    params["decoder"]["stem_1"]["kernel"] *= 0
    cut = forward(TINY, params, IMAGES, intermediates=True)
    assert out.intermediates is not None
    assert cut.intermediates is not None
    np.testing.assert_array_equal(out.intermediates["readout_1"], cut.intermediates["readout_1"])
    assert not np.array_equal(out.intermediates["layer_1_rn"], cut.intermediates["layer_1_rn"])


def test_log_spaced_seeds_spread_over_two_decades_of_each_domain() -> None:
    params = zoe_jax.init(TINY, jax.random.key(0))
    centers = jax.nn.softplus(params["metric_head"]["seed_bins"]["fc2"]["bias"])
    assert centers.shape == (2, 64)
    steps = np.diff(np.log(np.asarray(centers)), axis=-1)
    np.testing.assert_allclose(steps, np.log(100) / 63, rtol=1e-3)  # softplus of numbers near -2 in float32
    np.testing.assert_allclose(centers[:, -1], [10, 80], rtol=1e-6)


def test_from_scratch_keeps_the_signal_alive() -> None:
    spread = {}
    for start in ("original", "from_scratch"):
        config = override(TINY, {"initialization": start})
        depth_m = forward(config, zoe_jax.init(config, jax.random.key(0)), IMAGES).metric_depth
        assert depth_m is not None
        spread[start] = float(jnp.std(depth_m) / jnp.mean(depth_m))
    assert spread["from_scratch"] > 100 * spread["original"]


def test_a_stem_that_shrinks_more_than_a_patch_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a multiple of the stem's 32"):
        override(TINY, {"stem": (8, 8, 8, 8, 8)})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (TINY, r"encoder\.stem="),
        (override(preset("reference_n"), {"output_stride": 4}), r"decoder\.output_stride=4"),
        (override(preset("reference_n"), {"probabilities": "softmax"}), r"head\.probabilities='softmax'"),
    ],
)
def test_what_pytorch_cannot_build_stays_in_its_own_folder(tmp_path, config: ZoeDepthConfig, field: str) -> None:
    checkpoint = Checkpoint(config, zoe_jax.init(config, jax.random.key(0)), {}, Origin())
    for layout in ("official", "huggingface"):
        with pytest.raises(CheckpointError, match=field):
            write_checkpoint(checkpoint, tmp_path / layout, layout)
        assert not (tmp_path / layout).exists()
    write_checkpoint(checkpoint, tmp_path / "ours", "orbax")
    assert verify(checkpoint, tmp_path / "ours", "orbax") == len(parameter_shapes(config))
    assert read_checkpoint(tmp_path / "ours").config == config
