import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoe_jax.train.losses import gradient_loss, resized_to_truth, router_loss, silog_loss

# What the original cannot answer: it raises, or its value or gradient is nan.
UNANSWERED = {"silog/same_width_other_height", "silog/one_valid", "silog/zero_valid", "silog/negative_pred"}
COMPARED = [
    "silog/full_same_size",
    "silog/up2_mask60",
    "silog/up_odd_mask30",
    "silog/b1_48x64",
    "silog/down",
    "silog/target_and_mask_3d",
    "silog/no_mask",
    "silog/two_valid",
    "silog/six_valid_only_first_image",
    "silog/pred_equals_target",
    "silog/pred_is_2x_target",
    "silog/zeros_inside_mask",
    "gradl1/full",
    "gradl1/up2_mask80",
    "gradl1/flat_regions",
    "gradl1/zero_valid",
]


@functools.cache
def value_and_grad(loss):
    return jax.jit(jax.value_and_grad(loss))


@pytest.fixture
def case(reference):
    """A stored case by name: the loss it is of, its inputs as [b, h, w] in a given type, value and gradient."""
    values = json.loads((reference / "train/losses/losses.json").read_text())["cases"]
    arrays = np.load(reference / "train/losses/losses.npz")
    assert set(values) == {*COMPARED, *UNANSWERED}

    def load(name, dtype):
        def array(field, dtype=None):
            if f"{name}/{field}" not in arrays:
                return None
            stored = arrays[f"{name}/{field}"]
            return jnp.asarray(stored.reshape(stored.shape[0], *stored.shape[-2:]), dtype)

        loss = silog_loss if name.startswith("silog") else gradient_loss
        inputs = array("pred", dtype), array("target", dtype), array("mask")
        return loss, inputs, values[name].get("value_f64"), array("grad_f64")

    return load


@pytest.mark.parametrize("name", COMPARED)
def test_value_and_gradient_are_the_originals(name, case, x64):
    loss, inputs, value, gradient = case(name, jnp.float64)
    ours, our_gradient = value_and_grad(loss)(*inputs)
    if value == "nan":  # GradL1 without a valid pixel
        assert ours == 0
    else:
        assert ours == pytest.approx(value, rel=1e-10)
    if np.isnan(gradient).any():  # a perfect prediction
        np.testing.assert_array_equal(our_gradient, 0)
    else:
        np.testing.assert_allclose(our_gradient, gradient, rtol=1e-10, atol=1e-10 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "name",
    ["silog/down", "silog/pred_is_2x_target", "silog/zeros_inside_mask", "gradl1/up2_mask80", "gradl1/flat_regions"],
)
def test_float32_is_near_float64(name, case):
    loss, inputs, value, gradient = case(name, jnp.float32)
    ours, our_gradient = value_and_grad(loss)(*inputs)
    # 12 x 16 pixels of logarithms: single roundings of 6e-8 add up to 1.5e-6 where their variance is nearly 0
    assert ours == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(our_gradient, gradient, rtol=1e-5, atol=1e-5 * float(np.abs(gradient).max()))


def test_same_width_and_other_height_is_resized_where_the_original_fails(case, x64):
    loss, (prediction, truth, mask), _, _ = case("silog/same_width_other_height", jnp.float64)
    assert prediction.shape[2] == truth.shape[2]
    assert prediction.shape[1] != truth.shape[1]
    by_hand = jnp.stack([jnp.stack([_column(p[:, x], truth.shape[1]) for x in range(8)], 1) for p in prediction])
    np.testing.assert_allclose(resized_to_truth(prediction, truth)[0], by_hand, rtol=1e-14)
    assert loss(prediction, truth, mask) == pytest.approx(float(loss(by_hand, truth, mask)), rel=1e-14)


def _column(values, size):
    return jnp.interp(jnp.linspace(0, len(values) - 1, size), jnp.arange(len(values)), values)


def test_one_valid_pixel_counts_without_variance(case, x64):
    loss, (prediction, truth, mask), _, _ = case("silog/one_valid", jnp.float64)
    value, gradient = value_and_grad(loss)(prediction, truth, mask)
    resized, _ = resized_to_truth(prediction, truth)
    log_ratio = np.log(np.asarray(resized)[mask] + 1e-7) - np.log(np.asarray(truth)[mask] + 1e-7)
    assert value == pytest.approx(10 * np.sqrt(0.15) * abs(log_ratio[0]), rel=1e-12)
    assert np.isfinite(gradient).all()
    assert np.any(np.asarray(gradient) != 0)


def test_no_valid_pixel_is_zero_with_zero_gradient(case):
    loss, inputs, _, _ = case("silog/zero_valid", jnp.float32)
    value, gradient = value_and_grad(loss)(*inputs)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_negative_prediction_is_nan_as_in_the_original(case):
    loss, inputs, value, _ = case("silog/negative_pred", jnp.float32)
    assert value == "nan"
    assert jnp.isnan(loss(*inputs))


@pytest.mark.parametrize("loss", [silog_loss, gradient_loss])
def test_nan_under_the_mask_reaches_neither_value_nor_gradient(loss):
    rng = np.random.default_rng(0)
    prediction, truth = (jnp.asarray(rng.uniform(1, 5, (2, 6, 8)), jnp.float32) for _ in range(2))
    mask = jnp.asarray(rng.uniform(size=(2, 6, 8)) < 0.7)
    holes = (jnp.where(mask, depth, jnp.nan) for depth in (prediction, truth))
    value, gradient = value_and_grad(loss)(*holes, mask)
    expected, expected_gradient = value_and_grad(loss)(prediction, truth, mask)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize("loss", [silog_loss, gradient_loss])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_value_and_gradient_are_finite_for_every_mask_and_near_perfect_predictions(loss, data):
    mask = data.draw(hnp.arrays(bool, (1, 3, 4)))
    truth = data.draw(hnp.arrays(np.float32, (1, 3, 4), elements=st.floats(0.125, 80, width=32)))
    error = data.draw(st.sampled_from([0.0, 1e-7, 1e-3, 1.0]))
    value, gradient = value_and_grad(loss)(jnp.asarray(truth * (1 + error)), jnp.asarray(truth), jnp.asarray(mask))
    assert jnp.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_perfect_gradient_has_no_slope():
    truth = jnp.asarray(np.random.default_rng(0).uniform(1, 5, (2, 6, 8)), jnp.float32)
    value, slope = value_and_grad(gradient_loss)(truth, truth)
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


def test_silog_over_a_full_batch_keeps_five_digits_in_float32():
    # 16 images of 384 x 512: a single pass, E[g^2] - E[g]^2, would lose most digits of a variance of 1e-6
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.5, 10, (16, 384, 512)).astype(np.float32)
    prediction = (truth * 1.5 * np.exp(1e-3 * rng.standard_normal(truth.shape))).astype(np.float32)
    log_ratio = np.log(prediction.astype(np.float64) + 1e-7) - np.log(truth.astype(np.float64) + 1e-7)
    expected = 10 * np.sqrt(log_ratio.var(ddof=1) + 0.15 * log_ratio.mean() ** 2)
    assert jax.jit(silog_loss)(prediction, truth) == pytest.approx(expected, rel=1e-5)


def test_silog_runs_over_the_batch_and_not_per_image():
    truth = jnp.ones((2, 4, 4))
    prediction = truth.at[1].set(2.0)
    whole = silog_loss(prediction, truth)
    per_image = np.mean([silog_loss(prediction[i : i + 1], truth[i : i + 1]) for i in range(2)])
    assert abs(float(whole) - per_image) > 1


def test_bfloat16_is_computed_in_float32():
    truth = jnp.full((1, 4, 4), 2.0, jnp.bfloat16)
    assert silog_loss(truth * 1.5, truth).dtype == jnp.float32


def test_router_loss_is_the_originals_on_every_step_of_its_traces(reference, x64):
    traces = json.loads((reference / "train/optim/real_trace.json").read_text())["traces"]
    rows = [row for name in ("NK_official_lr_f64", "NK_switching_lr1e-3_24steps_f64") for row in traces[name]["rows"]]
    assert len(rows) == 34
    for row in rows:
        logits = jnp.asarray(row["domain_logits"])
        labels = jnp.full(len(logits), {"nyu": 0, "kitti": 1}[row["dataset"]])
        # 1e-14: losses go down to 1e-9, where ln(1 + x) leaves as many digits
        assert value_and_grad(router_loss)(logits, labels)[0] == pytest.approx(
            row["losses"]["DomainLoss"], rel=1e-10, abs=1e-14
        )


def test_router_loss_leaves_padding_out():
    logits = jnp.array([[2.0, -1.0], [0.5, 0.25], [jnp.nan, jnp.nan]])
    labels = jnp.array([0, 1, 0])
    padded, gradient = value_and_grad(router_loss)(logits, labels, jnp.array([True, True, False]))
    assert padded == pytest.approx(float(router_loss(logits[:2], labels[:2])), rel=1e-6)
    np.testing.assert_array_equal(gradient[2], 0)


def test_router_loss_is_finite_without_images_and_when_certain():
    logits = jnp.array([[1e4, -1e4]])
    nothing, gradient = value_and_grad(router_loss)(logits, jnp.array([0]), jnp.array([False]))
    assert nothing == 0
    np.testing.assert_array_equal(gradient, 0)
    for label in (0, 1):
        value, gradient = value_and_grad(router_loss)(logits, jnp.array([label]))
        assert jnp.isfinite(value)
        assert np.isfinite(gradient).all()
