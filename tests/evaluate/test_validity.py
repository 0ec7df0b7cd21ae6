import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.evaluate.validity import crop_mask, prediction_for_evaluation
from zoe_jax.input.records import valid_depth


def box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.sum() == len(rows) * len(columns)
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_boxes_of_a_kitti_image():
    # int(share * side), by hand, for the 352 x 1216 centre crop that KITTI is evaluated on
    assert box(crop_mask("garg", 352, 1216)) == (143, 349, 43, 1172)
    assert box(crop_mask("kitti_eigen", 352, 1216)) == (117, 321, 43, 1172)


def test_the_nyu_box_is_in_pixels_of_the_upper_left_corner():
    assert box(crop_mask("nyu_eigen", 480, 640)) == (45, 471, 41, 601)
    assert box(crop_mask("nyu_eigen", 768, 1024)) == (45, 471, 41, 601)
    assert box(crop_mask("nyu_eigen", 300, 400)) == (45, 300, 41, 400)
    assert not crop_mask("nyu_eigen", 40, 40).any()


def test_bounds_are_excluded_and_nan_is_invalid():
    truth = jnp.array([[0.0, 1e-3, 1.0, 10.0, 11.0, jnp.nan, -1.0]])
    np.testing.assert_array_equal(valid_depth(truth, 1e-3, 10.0), [[False, False, True, False, False, False, False]])
    np.testing.assert_array_equal(valid_depth(truth, 0.0, 10.0), [[False, True, True, False, False, False, False]])


def test_predictions_are_clipped_and_nan_becomes_the_least_depth():
    prediction = jnp.array([[[jnp.nan, jnp.inf, -jnp.inf, 0.0, 5.0, 99.0]]])
    ready = prediction_for_evaluation(prediction, (1, 6), 0.5, 10.0)
    np.testing.assert_array_equal(ready[0, 0], [0.5, 10.0, 0.5, 0.5, 5.0, 10.0])


def test_a_prediction_of_another_size_is_resized_with_aligned_corners():
    prediction = jnp.array([[[1.0, 3.0], [5.0, 7.0]]])
    ready = prediction_for_evaluation(prediction, (3, 3), 0.5, 10.0)
    np.testing.assert_allclose(ready[0], [[1, 2, 3], [3, 4, 5], [5, 6, 7]])


@pytest.mark.parametrize(("bad", "replaced"), [(jnp.inf, 10.0), (jnp.nan, 0.5), (-jnp.inf, 0.5)])
def test_a_bad_sample_spreads_to_what_is_interpolated_from_it(bad, replaced):
    prediction = jnp.ones((1, 4, 4)).at[0, 1, 1].set(bad)
    ready = prediction_for_evaluation(prediction, (8, 8), 0.5, 10.0)[0]
    # output i reads samples around 3 i / 7: sample 1 has a part in 1..4, and weight 0 in 0, where 0 * inf is nan
    expected = np.ones((8, 8))
    expected[0:5, 0:5] = 0.5
    expected[1:5, 1:5] = replaced
    np.testing.assert_array_equal(ready, expected)
