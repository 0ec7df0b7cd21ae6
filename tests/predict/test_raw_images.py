"""Raw images through the tiny models, as the original and transformers made depth of them."""

import numpy as np
import pytest

from tests.predict.resizing import resize
from tests.synthetic import MODEL_REFERENCE, golden, tiny_config, tiny_params
from zoe_jax import DepthModel
from zoe_jax.predict import PredictOptions, Protocol, read_image
from zoe_jax.predict.protocols import protocol
from zoe_jax.predict.resize import bicubic_taps, bilinear_taps

IMAGES = ["75x101", "61x133"]
TINY = (64, 96)
# The original's K ends at 10 m for inference, at 80 m for evaluation.
OVERRIDES = {"N": {}, "K": {"max_depth_m": 10.0}, "K80": {}, "NK": {}}
# Largest and mean relative error. The original's own float32 rounding is 2e-6 and 4e-7 (N, NK), 3e-5 and 1e-6 (K, whose
# normed head amplifies it); torch's float32 coordinates of the resize add as much, transformers' other order of
# operations a little more.
TOLERANCE = {"N": (6e-6, 2e-6), "NK": (6e-6, 2e-6), "K": (2e-4, 1e-5)}


def quick_and_slow(quick: list[str], slow: list[str]) -> list:
    """Each variant is compiled for two network sizes, about 3 s each: the telling ones are in the quick tests."""
    return [*quick, *(pytest.param(variant, marks=pytest.mark.slow) for variant in slow)]


@pytest.fixture(scope="module", params=quick_and_slow(["K", "NK"], ["N", "K80"]))
def official(request) -> tuple[str, DepthModel]:
    variant = request.param.removesuffix("80")
    return request.param, DepthModel(tiny_config(variant, **OVERRIDES[request.param]), tiny_params(variant))


@pytest.fixture(scope="module", params=quick_and_slow(["N"], ["K", "NK"]))
def huggingface(request) -> tuple[str, DepthModel]:
    config = tiny_config(request.param, **OVERRIDES[request.param])
    return request.param, DepthModel(config, tiny_params(request.param, "huggingface"))


def assert_depth(actual: np.ndarray, expected: np.ndarray, variant: str) -> None:
    largest, mean = TOLERANCE[variant.removesuffix("80")]
    assert actual.shape == expected.shape
    error = np.abs(actual - expected) / expected
    assert error.max() < largest
    assert error.mean() < mean


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_infer(official, image, pad, flip):
    variant, model = official
    arrays = golden(f"tiny/{variant}_raw{image}")
    expected = arrays[f"infer_{'pad' if pad else 'nopad'}_{'flip' if flip else 'noflip'}"][0, 0]
    assert_depth(model.predict(arrays["image_uint8"][0], flip=flip, pad=pad), expected, variant)


@pytest.mark.parametrize("image", IMAGES)
def test_evaluate(official, image):
    variant, model = official
    arrays = golden(f"tiny/{variant}_raw{image}")
    pixels = arrays["image_uint8"][0]
    prepared = protocol("evaluate").plan(pixels.shape[:2], TINY).prepare(pixels)
    # torch keeps coordinates up to 133 in float32; the reference has pixels in [-1, 1].
    np.testing.assert_allclose(prepared * 2 - 1, arrays["eval_prep"][0].transpose(1, 2, 0), rtol=0, atol=1e-5)
    at_network_size = arrays["eval_forward"][0, 0]
    assert_depth(model.predict(prepared, "evaluate", flip=False), at_network_size, variant)
    depth = model.predict(pixels, "evaluate", flip=False)
    assert_depth(depth, resize(at_network_size, pixels.shape[:2], bilinear_taps), variant)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("flip", [False, True])
def test_huggingface(huggingface, image, flip):
    variant, model = huggingface
    arrays = golden(f"hf/tiny_golden_{variant}")
    options = PredictOptions("huggingface", flip=flip, network_size=TINY)
    depth = model.predictor.predict(arrays[f"image_{image}"], options).depth_m
    assert_depth(depth, arrays[f"post_source_{'flip_' if flip else ''}{image}"], variant)
    # To another size transformers goes in a second bicubic step, from the network's own size if padding stays.
    for target, before in (("post_source_target", "post_source"), ("post_nopad_target", "predicted_depth")):
        resized = resize(np.squeeze(arrays[f"{before}_{image}"]), (50, 70), bicubic_taps)
        np.testing.assert_allclose(resized, arrays[f"{target}_{image}"], rtol=2e-6)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("pad", [False, True])
def test_preparation_is_that_of_transformers(image, pad):
    arrays = golden("hf/processor")
    rule = Protocol(keep_aspect_ratio=True, pads=True, upsampling="bicubic")
    pixels = arrays[f"image_{image}"]
    prepared = rule.plan(pixels.shape[:2], TINY, pad).prepare(pixels)
    expected = arrays[f"pixel_values_mult32_{'' if pad else 'nopad_'}{image}"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(prepared * 2 - 1, expected, rtol=0, atol=1e-5)  # torch's float32 coordinates


def test_preparation_at_a_real_size():
    arrays = golden("hf/processor")
    pixels = read_image(MODEL_REFERENCE / "hf" / "input_480x640.png")
    prepared = protocol("huggingface").plan((480, 640), (384, 768)).prepare(pixels).transpose(2, 0, 1) * 2 - 1
    # torch's float32 coordinates go up to 746 here.
    np.testing.assert_allclose(prepared[:, ::8, ::8], arrays["pixel_values_mult32_480x640__s8"][0], rtol=0, atol=5e-5)
    np.testing.assert_allclose(
        prepared[:, :24, :24], arrays["pixel_values_mult32_480x640_corner"][0], rtol=0, atol=5e-5
    )


def test_batches_predict_what_single_images_do(official):
    variant, model = official
    image = golden(f"tiny/{variant}_raw75x101")["image_uint8"][0]
    images = [image, image[::-1], 255 - image]
    for one, depth in zip(images, model.predict_batch(images, batch_size=2), strict=True):
        # Only the order of summation differs between batch sizes, which the normed head of K amplifies.
        rtol = 2e-4 if variant.startswith("K") else 1e-6
        np.testing.assert_allclose(depth, model.predict(one), rtol=rtol)


def test_the_confidence_of_a_real_head():
    model = DepthModel(tiny_config("N"), tiny_params("N"))
    image = golden("tiny/N_raw75x101")["image_uint8"][0]
    prediction = model.predictor.predict(image, PredictOptions(flip=False, relative_depth=True, bin_entropy=True))
    assert prediction.bin_entropy.shape == prediction.relative_depth.shape == (75, 101)
    assert 0 < prediction.bin_entropy.min() < prediction.bin_entropy.max() < 1
    assert prediction.domain == "nyu"
