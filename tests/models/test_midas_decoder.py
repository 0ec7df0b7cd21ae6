"""The encoder and the DPT decoder at release size, by the relative-depth models of MiDaS 3.1 that they come from."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

from tests.synthetic import MODEL_REFERENCE, golden, midas_tensors, pixels
from zoe_jax import config as configs
from zoe_jax.convert.families import MIDAS
from zoe_jax.convert.tensors import to_params
from zoe_jax.models.zoedepth import forward

pytestmark = pytest.mark.slow

SIZES = {"dpt_beit_base_384": ["384x384", "352x480"], "dpt_beit_large_512": ["512x512"]}
NAMES = {f"layer{n}_rn": f"layer_{n}_rn" for n in range(1, 5)} | {f"refinenet{n}": f"fusion_{n}" for n in range(1, 5)}

# Float32 over 24 blocks, three times what is measured: depth 8e-6 at most and 9e-7 on average, any crop 3e-6 of its
# largest number
LARGEST, MEAN, CROP = 3e-5, 3e-6, 1e-5


@pytest.mark.parametrize("preset", SIZES)
def test_relative_depth_and_intermediates(preset):
    config = configs.preset(preset)
    params, _ = to_params(midas_tensors(preset), MIDAS, config, preset)
    network = jax.jit(functools.partial(forward, config, intermediates=True))
    stored = golden(f"midas/golden_{preset}")
    for size in SIZES[preset]:
        image = pixels(np.asarray(Image.open(MODEL_REFERENCE / "midas" / f"input_{size}.png")))
        out = network(params, image[None])
        assert out.metric_depth is None
        relative = np.abs(out.relative_depth[:, ::4, ::4] / stored[f"{size}_rel_depth__s4"] - 1)
        assert relative.max() <= LARGEST
        assert relative.mean() <= MEAN
        named = {key: np.asarray(array) for key, array in out.intermediates.items()}
        for theirs, ours in NAMES.items():
            crop = stored[f"{size}_{theirs}_crop"]
            _, channels, height, width = crop.shape
            array = named[ours][:, :height, :width, :channels].transpose(0, 3, 1, 2)
            np.testing.assert_allclose(array, crop, atol=CROP * np.abs(crop).max(), err_msg=theirs)
        crop = stored[f"{size}_block_0_crop"]
        array = named["block_00"][:, : crop.shape[1], : crop.shape[2]]
        np.testing.assert_allclose(array, crop, atol=CROP * np.abs(crop).max())
