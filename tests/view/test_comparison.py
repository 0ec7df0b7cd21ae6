"""Truth and prediction side by side: shared colours, grey where nothing is known, sizes for a page."""

import base64
import io

import numpy as np
from PIL import Image

from zoe_jax.view.comparison import WIDTH_PX, comparison
from zoe_jax.view.report import Strip


def pixels_of(strip: Strip) -> dict[str, np.ndarray]:
    """The pictures by their captions."""
    return {
        picture.caption: np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))), float)
        for picture in strip.pictures
    }


def strip_of(truth_m: np.ndarray, depth_m: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    image = np.full((*truth_m.shape, 3), 90, np.uint8)
    return pixels_of(comparison(image, truth_m.astype(np.float32), valid, depth_m.astype(np.float32)))


def is_grey(pixels: np.ndarray) -> np.ndarray:
    # JPEG moves the 128 of the background by a few levels at most, within an area of one colour
    return np.abs(pixels - 128).max(-1) < 8


def test_truth_and_prediction_share_their_colours() -> None:
    truth_m = np.tile(np.linspace(1, 9, 64), (32, 1))
    valid = np.ones(truth_m.shape, bool)
    same = strip_of(truth_m, truth_m, valid)
    np.testing.assert_array_equal(same["truth"], same["prediction"])
    assert same["relative error"].mean() < 10  # no error: the dark end
    double = strip_of(truth_m, 2 * truth_m, valid)
    assert double["prediction"].mean() < same["prediction"].mean()  # farther is darker
    assert double["relative error"].mean() > 200  # beyond 50 %: the bright end


def test_what_is_not_known_is_grey() -> None:
    truth_m = np.full((32, 64), 2.0)
    truth_m[:, 32:] = np.nan
    valid = np.isfinite(truth_m)
    depth_m = np.full((32, 64), 2.0)
    depth_m[16:] = np.inf
    shown = strip_of(truth_m, depth_m, valid)
    right, left = np.s_[:, 170:], np.s_[:, :150]
    assert is_grey(shown["truth"][right]).all()
    assert not is_grey(shown["truth"][left]).any()
    assert is_grey(shown["relative error"][right]).all()
    assert is_grey(shown["prediction"][90:]).all()
    assert shown["relative error"][90:][left].mean() > 150  # valid truth, no number: as wrong as can be


def test_large_maps_shrink_and_sparse_truth_stays_in_sight() -> None:
    truth_m = np.full((352, 1216), 10.0)
    truth_m[::4, ::4] = 20.0
    valid = truth_m == 20.0
    shown = strip_of(truth_m, truth_m, valid)
    assert {pixels.shape for pixels in shown.values()} == {(88, 304, 3)}
    assert not is_grey(shown["truth"]).any()  # one valid pixel in every block of 4 x 4, and the block has its depth
    # one valid depth only, hence one colour
    assert np.ptp(shown["truth"], axis=(0, 1)).max() < 4


def test_no_valid_pixel_makes_a_strip_too() -> None:
    depth_m = np.tile(np.linspace(1, 9, 700), (30, 1))
    shown = strip_of(np.zeros_like(depth_m), depth_m, np.zeros(depth_m.shape, bool))
    assert is_grey(shown["truth"]).all()
    assert is_grey(shown["relative error"]).all()
    assert np.ptp(shown["prediction"]) > 100
    assert all(pixels.shape[1] <= WIDTH_PX for pixels in shown.values())
