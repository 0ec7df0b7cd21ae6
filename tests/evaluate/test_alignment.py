"""Scale and shift of relative depth, against NumPy's least squares."""

import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.evaluate.alignment import depth_from_disparity, scale_and_shift

SHAPE = (3, 40, 50)


def drawn(seed=0):
    """Prediction, target and valid pixels of three images."""
    random = np.random.default_rng(seed)
    prediction, target = random.uniform(0, 20, SHAPE), random.uniform(0.05, 1, SHAPE)
    return prediction.astype(np.float32), target.astype(np.float32), random.random(SHAPE) < 0.3


def solved(prediction, target, valid):
    return tuple(map(np.asarray, scale_and_shift(jnp.asarray(prediction), jnp.asarray(target), jnp.asarray(valid))))


@pytest.mark.parametrize("offset", [0, 1e3])
def test_as_numpys_least_squares(offset):
    prediction, target, valid = drawn()
    prediction += np.float32(offset)
    scale, shift = solved(prediction, target, valid)
    for row in range(len(prediction)):
        columns = np.stack([prediction[row][valid[row]].astype(np.float64), np.ones(valid[row].sum())], axis=1)
        wanted, *_ = np.linalg.lstsq(columns, target[row][valid[row]].astype(np.float64))
        fitted = scale[row] * prediction[row] + shift[row]
        # the offset takes three of float32's seven digits, from every summand of covariance and variance alike
        np.testing.assert_allclose(scale[row], wanted[0], rtol=1e-5 if not offset else 1e-3, atol=1e-7)
        np.testing.assert_allclose(fitted[valid[row]], columns @ wanted, atol=1e-5 if not offset else 1e-3)


def test_scale_and_shift_are_recovered():
    prediction, _, valid = drawn()
    true_scale, true_shift = np.float32([0.5, -3, 1e-3]), np.float32([2, 100, -7])
    target = true_scale[:, None, None] * prediction + true_shift[:, None, None]
    # what is invalid has no say, whatever it is
    scale, shift = solved(np.where(valid, prediction, np.nan), np.where(valid, target, np.inf), valid)
    # the target itself is rounded to a ten-millionth of its shift
    np.testing.assert_allclose(scale, true_scale, rtol=2e-4)
    np.testing.assert_allclose(shift, true_shift, rtol=1e-5)


def test_aligned_depth_knows_nothing_of_the_predictions_own_scale_and_shift():
    prediction, disparity, valid = drawn()
    truth_m = 1 / disparity

    def aligned(relative):
        arrays = map(jnp.asarray, (relative, truth_m, valid))
        return np.asarray(depth_from_disparity(*arrays, 80.0))

    plain = aligned(prediction)
    for scale, shift in ((3, 0), (1, 17), (0.01, -0.4), (250, 1000)):
        # a shift of 50 times the prediction's spread takes two of seven digits
        np.testing.assert_allclose(aligned(np.float32(scale) * prediction + np.float32(shift)), plain, rtol=1e-4)


def test_a_perfect_disparity_gives_the_truth():
    _, disparity, valid = drawn()
    truth_m = np.where(valid, 1 / disparity, 0)
    # one that stands beyond everything evaluated, and one behind the camera
    relative = 40 * disparity + 5
    relative[:, 0, 0], relative[:, 0, 1], valid[:, 0, :2] = 5, -1000, False
    depth_m = np.asarray(depth_from_disparity(*map(jnp.asarray, (relative, truth_m, valid)), 80.0))
    np.testing.assert_allclose(depth_m[valid], truth_m[valid], rtol=1e-5)
    np.testing.assert_allclose(depth_m[:, 0, :2], 80)


@pytest.mark.parametrize("constant", [0, 1 / 3, 7.7, 3e4])
def test_a_constant_prediction_has_no_scale(constant):
    _, target, valid = drawn()
    scale, shift = solved(np.full(SHAPE, constant, np.float32), target, valid)
    np.testing.assert_array_equal(scale, 0)
    np.testing.assert_allclose(shift, [target[row][valid[row]].mean() for row in range(3)], rtol=1e-5)


def test_without_a_valid_pixel_all_is_far():
    prediction, target, valid = drawn()
    valid[1] = False
    scale, shift = solved(prediction, target, valid)
    assert (scale[1], shift[1]) == (0, 0)
    depth_m = np.asarray(depth_from_disparity(*map(jnp.asarray, (prediction, target, valid)), 10.0))
    np.testing.assert_allclose(depth_m[1], 10)
    assert np.isfinite(depth_m).all()


def test_one_valid_pixel_is_hit():
    prediction, _, _ = drawn()
    valid = np.zeros(SHAPE, bool)
    valid[:, 5, 6] = True
    truth_m = np.full(SHAPE, 4.0, np.float32)
    depth_m = np.asarray(depth_from_disparity(*map(jnp.asarray, (prediction, truth_m, valid)), 10.0))
    np.testing.assert_allclose(depth_m[:, 5, 6], 4, rtol=1e-6)
