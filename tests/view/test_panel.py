import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoe_jax.view import colorize, panel
from zoe_jax.view.panel import MIN_HEIGHT, ticks

DEPTH_M = np.linspace(1, 9, 200 * 300, dtype=np.float32).reshape(200, 300)
IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)


def test_image_and_depth_stand_side_by_side():
    picture = panel(IMAGE, DEPTH_M, colormap="magma_r")
    assert picture.shape[0] == 200
    np.testing.assert_array_equal(picture[:, :300], IMAGE)
    np.testing.assert_array_equal(picture[:, 304:604], colorize(DEPTH_M, colormap="magma_r")[:, :, :3])


def test_the_scale_runs_from_near_below_to_far_above():
    scale = panel(IMAGE, DEPTH_M, vmin=1, vmax=9)[:, 608:]
    bar = scale[:, 2, 0].astype(int)
    inside = bar[15:-15]
    assert inside[0] < 10, "far is dark in gray_r"
    assert inside[-1] > 245
    assert (np.diff(inside) >= 0).all()
    # Ticks at 2, 4, 6, 8 m: black lines right of the bar.
    assert (scale[:, 16:18].max((1, 2)) == 0).sum() == 4


def test_small_pictures_are_enlarged_by_whole_numbers():
    picture = panel(IMAGE[:50, :60], DEPTH_M[:50, :60])
    assert picture.shape[0] == 200 >= MIN_HEIGHT
    np.testing.assert_array_equal(picture[::4, :240:4], IMAGE[:50, :60])


@pytest.mark.parametrize("value", [2.0, np.nan, -99.0])
def test_maps_without_a_range_still_give_a_picture(value):
    assert panel(IMAGE, np.full((200, 300), value, np.float32)).shape[0] == 200


@given(low=st.floats(0, 1e3), span=st.floats(1e-3, 1e3), most=st.integers(2, 8))
def test_ticks_are_few_and_inside(low, span, most):
    values = ticks(low, low + span, most)
    assert 1 <= len(values) <= most
    slack = 1e-9 * (low + span)
    assert all(low - slack <= value <= low + span + slack for value in values)


def test_ticks_are_round():
    np.testing.assert_allclose(ticks(0.7, 9.3, 5), [2, 4, 6, 8])
    np.testing.assert_allclose(ticks(0, 80, 5), [0, 20, 40, 60, 80])
    np.testing.assert_allclose(ticks(0.012, 0.019, 8), np.arange(12, 20) / 1000)
