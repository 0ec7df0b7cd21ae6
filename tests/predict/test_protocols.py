import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict import ImageError
from zoe_jax.predict.protocols import PROTOCOLS, Plan, protocol


@pytest.mark.parametrize(
    ("name", "image_size", "model_size", "pad", "plan"),
    [
        ("infer", (480, 640), (384, 512), True, Plan((480, 640), (46, 53), (384, 512), "bicubic")),
        ("infer", (352, 1216), (384, 768), True, Plan((352, 1216), (39, 73), (384, 1216), "bicubic")),
        ("infer", (352, 1216), (384, 768), False, Plan((352, 1216), (0, 0), (384, 1312), "bicubic")),
        ("evaluate", (480, 640), (384, 512), True, Plan((480, 640), (0, 0), (384, 512), "bilinear")),
        ("evaluate", (352, 1216), (384, 768), True, Plan((352, 1216), (0, 0), (384, 768), "bilinear")),
        ("huggingface", (480, 640), (384, 768), True, Plan((480, 640), (46, 53), (384, 512), "bicubic")),
    ],
)
def test_plans_of_the_released_models(name, image_size, model_size, pad, plan):
    assert protocol(name).plan(image_size, model_size, pad) == plan


def test_preparation_agrees_with_the_original(inference):
    arrays = inference[0]
    image = arrays["prep/in"][0].transpose(1, 2, 0)
    plan = protocol("infer").plan((60, 75), (48, 64), pad=False)
    assert plan.network_size == (64, 64)
    expected = arrays["prep/resized_48x64_keep"][0].transpose(1, 2, 0)
    # torch keeps its coordinates, up to 75, in float32: off by 4e-6, times slopes of noise up to 1.
    np.testing.assert_allclose(plan.prepare(image), expected, rtol=0, atol=8e-6)


def test_bytes_and_floats_are_prepared_alike(photo):
    image = photo(61, 133)
    plan = protocol("infer").plan((61, 133), (64, 96))
    as_floats = plan.prepare(image.astype(np.float32) / 255)
    # Dividing by 255 before or after the resize: two float32 roundings of numbers up to 1.
    np.testing.assert_allclose(plan.prepare(image), as_floats, rtol=0, atol=3e-7)
    assert plan.prepare(image).dtype == np.float32


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=30)
@given(height=st.integers(5, 90), width=st.integers(5, 90), pad=st.booleans())
def test_flipping_commutes_with_preparing_and_restoring(name, height, width, pad):
    try:
        plan = protocol(name).plan((height, width), (64, 64), pad)
    except ImageError:
        return
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(plan.prepare(image[:, ::-1]), plan.prepare(image)[:, ::-1])
    depth = np.random.default_rng(1).random(plan.network_size, np.float32)
    np.testing.assert_array_equal(plan.restore(depth[:, ::-1]), plan.restore(depth)[:, ::-1])
    assert plan.restore(depth).shape == (height, width)


def test_a_plane_comes_back_where_it_was():
    # Depth that is linear in the column of the padded image must be linear in the column of the image, in place.
    plan = Plan((48, 64), (6, 8), (96, 160), "bicubic")
    position = (np.arange(160) + 0.5) * (64 + 2 * 8) / 160 - 0.5 - 8
    restored = plan.restore(np.tile(position, (96, 1)))
    # The last two samples at each border of the padded image feel the clamping, and they are cropped.
    np.testing.assert_allclose(restored, np.tile(np.arange(64.0), (48, 1)), rtol=0, atol=1e-12)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ZoeJaxError, match=r"'fast'.*infer, evaluate, huggingface"):
        protocol("fast")
