import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.evaluate.metrics import (
    DepthMetrics,
    MetricSums,
    batch_sums,
    depth_metrics,
    mean_over_images,
)
from zoe_jax.evaluate.validity import crop_mask, prediction_for_evaluation
from zoe_jax.input.records import valid_depth

ORIGINAL_NAMES = {
    "a1": "delta1",
    "a2": "delta2",
    "a3": "delta3",
    "abs_rel": "abs_rel",
    "sq_rel": "sq_rel",
    "rmse": "rmse",
    "rmse_log": "rmse_log",
    "log_10": "log10",
    "silog": "silog",
}
BAD_VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "zero": 0.0, "neg": -1.0, "big": 1e4}
jitted = jax.jit(depth_metrics)


def stored(reference):
    return json.loads((reference / "train/metrics/metrics.json").read_text())


def truth_and_prediction(case):
    """The pair that the stored numbers of a case describe; the order of the draws is part of the description."""
    rng = np.random.RandomState(case["seed"])
    height, width = case["gt_shape"]
    h, w = case["pred_shape"]
    blocks = rng.uniform(size=((h + 23) // 24, (w + 23) // 24))
    ramp = (np.arange(h)[:, None] + 0.5) / h
    base = 0.5 * blocks[np.arange(h) // 24][:, np.arange(w) // 24] + 0.5 * ramp
    low, high = case["range"]
    coarse = low + (high - low) * base * base
    nearest = coarse[(np.arange(height) * h) // height][:, (np.arange(width) * w) // width]
    truth = nearest * (0.9 + 0.2 * rng.uniform(size=(height, width)))
    prediction = coarse * (case["bias"] - case["spread"] + 2 * case["spread"] * rng.uniform(size=(h, w)))
    holes = rng.uniform(size=(height, width)) < case["p_invalid"]
    truth = np.where(holes, case["invalid"], truth).astype(case["gt_dtype"])
    prediction = prediction.astype(np.float32)
    for kind, n in case["bad_pred"]:
        ys = rng.randint(0, h, size=n)
        xs = rng.randint(0, w, size=n)
        prediction[ys, xs] = BAD_VALUES[kind]
    return jnp.asarray(truth)[None], jnp.asarray(prediction)[None]


def evaluated(case):
    """Metrics of a case under its own settings; the original's are eigen crop, 0.1 m and 10 m where none are given."""
    truth, prediction = truth_and_prediction(case)
    settings = {"garg_crop": False, "eigen_crop": True, "min_depth_eval": 0.1, "max_depth_eval": 10} | case["eval"]
    low, high = float(settings["min_depth_eval"]), float(settings["max_depth_eval"])
    size = truth.shape[1:]
    valid = valid_depth(truth, low, high)
    if settings["garg_crop"]:
        valid &= crop_mask("garg", *size)
    elif settings["eigen_crop"]:
        valid &= crop_mask("kitti_eigen" if settings.get("dataset") == "kitti" else "nyu_eigen", *size)
    metrics = jitted(prediction_for_evaluation(prediction, size, low, high), truth, valid)
    return metrics, batch_sums(metrics, valid)


def assert_is_the_originals(metrics, expected):
    for name, value in expected.items():
        ours = float(np.asarray(getattr(metrics, ORIGINAL_NAMES[name])).item())
        if name in ("a1", "a2", "a3"):
            # the resize in float32 moves a pixel in 50000 across a threshold
            np.testing.assert_allclose(ours, float(value), rtol=0, atol=2e-5, err_msg=name)
        else:
            # the original sums up to two million float32 errors in float32
            np.testing.assert_allclose(ours, float(value), rtol=2e-5, err_msg=name)


# fmt: off
DATASETS = [
    "kitti", "kitti_test", "nyu", "ibims", "sunrgbd", "diml_indoor", "diml_outdoor", "diode_indoor", "diode_outdoor",
    "hypersim_test", "vkitti", "vkitti2", "ddad",
]
SPECIAL_CASES = [
    "nyu_no_resize", "kitti_eigen_crop", "garg_beats_eigen", "garg_1216x1936", "no_crop_at_all", "all_invalid",
    "function_defaults", "min_eval_zero_pred_zero", "min_eval_zero_pred_nan", "small_gt_eigen_slice",
    "tiny_gt_outside_crop", "same_H_other_W",
]
# fmt: on


def test_every_stored_case_has_its_test(reference):
    assert [group["dataset"] for group in stored(reference)["groups"]] == DATASETS
    assert [case["name"] for case in stored(reference)["special"]] == SPECIAL_CASES


@pytest.mark.parametrize("dataset", DATASETS)
def test_images_and_means_of_a_data_sets_settings_are_the_originals(dataset, reference, x64):
    # x64, since the original computes in the truth's type, which is float64 where depth comes from millimetres
    (group,) = (group for group in stored(reference)["groups"] if group["dataset"] == dataset)
    parts = []
    for case in group["images"]:
        metrics, sums = evaluated(case)
        assert_is_the_originals(metrics, case["metrics"])
        parts.append(sums)
    total = added_up(parts)
    assert total.images == 3
    assert_is_the_originals(mean_over_images(total), group["dataset_metrics"])


@pytest.mark.parametrize("name", [name for name in SPECIAL_CASES if name != "no_crop_at_all"])
def test_special_cases_are_the_originals(name, reference, x64):
    (case,) = (case for case in stored(reference)["special"] if case["name"] == name)
    assert_is_the_originals(evaluated(case)[0], case["metrics"])


def test_without_a_crop_every_pixel_in_range_counts(reference):
    (case,) = (case for case in stored(reference)["special"] if case["name"] == "no_crop_at_all")
    assert case["error"] == "UnboundLocalError"
    (metrics, _), (cropped, _) = evaluated(case), evaluated(case | {"eval": case["eval"] | {"eigen_crop": True}})
    assert 0 < metrics.abs_rel[0] < 0.2
    assert metrics.abs_rel[0] != cropped.abs_rel[0]


def test_direct_calls_of_the_originals_formulas(reference, x64):
    cases = stored(reference)["compute_errors"]
    assert {case["dtype"] for case in cases} == {"float32", "float64"}
    for case in cases:
        truth, prediction = (jnp.asarray(case[name], case["dtype"])[None, None] for name in ("gt", "pred"))
        metrics = jitted(prediction, truth, jnp.ones(truth.shape, bool))
        for name, value in case["out"].items():
            ours = getattr(metrics, ORIGINAL_NAMES[name])[0]
            if name == "silog" and value in (0, "nan"):
                # a pure scale error: the original gets 0 or the root of a negative rounding error
                assert ours == pytest.approx(0, abs=1e-5)
            elif case["dtype"] == "float64":
                np.testing.assert_allclose(ours, value, rtol=1e-12, err_msg=name)
            else:
                np.testing.assert_allclose(ours, value, rtol=1e-6, err_msg=name)


def random_batch(n, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 9, (n, 5, 7)).astype(np.float32)
    prediction = (truth * rng.uniform(0.6, 1.6, truth.shape)).astype(np.float32)
    return jnp.asarray(prediction), jnp.asarray(truth), jnp.asarray(rng.uniform(size=truth.shape) < 0.6)


def sums_of(prediction, truth, valid, example_mask=None):
    return batch_sums(jitted(prediction, truth, valid), valid, example_mask)


def added_up(parts):
    return functools.reduce(functools.partial(jax.tree.map, jnp.add), parts)


def test_what_lies_under_the_mask_does_not_matter():
    prediction, truth, valid = random_batch(3)
    garbage = (jnp.where(valid, depth, bad) for depth, bad in ((prediction, jnp.nan), (truth, -1.0)))
    for ours, expected in zip(depth_metrics(*garbage, valid), depth_metrics(prediction, truth, valid), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_padding_changes_no_digit_of_the_mean():
    prediction, truth, valid = random_batch(3)
    expected = mean_over_images(sums_of(prediction, truth, valid))
    padding = jnp.full((2, 5, 7), jnp.nan)
    padded = sums_of(
        jnp.concatenate([prediction, padding]),
        jnp.concatenate([truth, padding]),
        jnp.concatenate([valid, jnp.ones(padding.shape, bool)]),
        jnp.arange(5) < 3,
    )
    assert (padded.images, padded.empty_images) == (3, 0)
    for ours, value in zip(mean_over_images(padded), expected, strict=True):
        np.testing.assert_array_equal(ours, value)


def test_images_without_valid_pixels_are_counted_apart_and_leave_the_mean_alone():
    prediction, truth, valid = random_batch(4)
    emptied = valid.at[2].set(False)
    metrics = depth_metrics(prediction, truth, emptied)
    assert all(jnp.isnan(values[2]) for values in metrics)
    sums = batch_sums(metrics, emptied)
    assert (sums.images, sums.empty_images) == (3, 1)
    kept = jnp.array([0, 1, 3])
    expected = mean_over_images(sums_of(prediction[kept], truth[kept], valid[kept]))
    for ours, value in zip(mean_over_images(sums), expected, strict=True):
        np.testing.assert_allclose(ours, value, rtol=1e-6)


def test_the_mean_over_nothing_is_nan():
    prediction, truth, valid = random_batch(2)
    assert all(jnp.isnan(value) for value in mean_over_images(sums_of(prediction, truth, valid & False)))


def test_the_mean_is_over_images_whatever_the_batches():
    prediction, truth, valid = random_batch(7)
    per_image = depth_metrics(prediction, truth, valid)
    for sizes in ((7,), (4, 3), (1, 1, 5)):
        ends = itertools.accumulate(sizes)
        parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        total = added_up([sums_of(prediction[part], truth[part], valid[part]) for part in parts])
        for ours, values in zip(mean_over_images(total), per_image, strict=True):
            np.testing.assert_allclose(ours, np.asarray(values, np.float64).mean(), rtol=1e-6)


def test_sums_merge_over_devices():
    prediction, truth, valid = random_batch(6)
    per_device = jax.vmap(
        lambda *batch: jax.lax.psum(batch_sums(depth_metrics(*batch), batch[2]), "hosts"), axis_name="hosts"
    )
    merged = per_device(*(x.reshape(2, 3, 5, 7) for x in (prediction, truth, valid)))
    assert isinstance(merged, MetricSums)
    np.testing.assert_array_equal(merged.images, [6, 6])
    whole = sums_of(prediction, truth, valid)
    for ours, value in zip(merged.totals, whole.totals, strict=True):
        np.testing.assert_allclose(ours, np.broadcast_to(value, 2), rtol=1e-6)


def test_a_perfect_prediction_is_perfect():
    _, truth, valid = random_batch(2)
    perfect = DepthMetrics(1, 1, 1, 0, 0, 0, 0, 0, 0)
    for ours, value in zip(depth_metrics(truth, truth, valid), perfect, strict=True):
        np.testing.assert_array_equal(ours, value)


def test_a_wrong_scale_alone_has_no_silog():
    _, truth, valid = random_batch(2)
    metrics = depth_metrics(truth * 1.1, truth, valid)
    # 100 times the rounding of a float32 logarithm, 1e-7; the original's formula gives nan for half of all scales
    np.testing.assert_allclose(metrics.silog, 0, atol=1e-4)
    np.testing.assert_allclose(metrics.abs_rel, 0.1, rtol=1e-5)


def test_deltas_are_strict_at_their_thresholds():
    truth = jnp.ones((1, 1, 2))
    for name, threshold in (("delta1", 1.25), ("delta2", 1.25**2), ("delta3", 1.25**3)):
        prediction = jnp.array([[[threshold, np.nextafter(np.float32(threshold), np.float32(0))]]])
        assert getattr(depth_metrics(prediction, truth, jnp.ones((1, 1, 2), bool)), name) == 0.5


def test_bfloat16_predictions_are_measured_in_float32():
    prediction, truth, valid = random_batch(2)
    assert depth_metrics(prediction.astype(jnp.bfloat16), truth, valid).rmse.dtype == jnp.float32
