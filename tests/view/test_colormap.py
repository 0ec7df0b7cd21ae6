from pathlib import Path

import numpy as np
import pytest

from zoe_jax.errors import ZoeJaxError
from zoe_jax.view import colorize


@pytest.fixture(scope="module")
def arrays():
    with np.load(Path(__file__).parents[1] / "reference" / "inference" / "inference.npz") as file:
        return {name: file[name] for name in file.files if name.startswith("colorize/")}


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("default", {}),
        ("vmin0_vmax10", {"vmin": 0, "vmax": 10}),
        ("magma_r", {"colormap": "magma_r"}),
        ("jet", {"colormap": "jet"}),
        ("gamma", {"gamma_corrected": True}),
        ("log_transform", {"vmin": 0, "vmax": 10, "value_transform": lambda v: np.sqrt(np.clip(v, 0, 1))}),
        ("with_mask", {"invalid_mask": ..., "background": (1, 2, 3, 4)}),
    ],
)
def test_colours_are_those_of_the_original(arrays, case, options):
    if "invalid_mask" in options:
        options = {**options, "invalid_mask": arrays["colorize/mask"]}
    depth = arrays["colorize/depth"]
    before = depth.copy()
    np.testing.assert_array_equal(colorize(depth, **options), arrays[f"colorize/{case}"])
    np.testing.assert_array_equal(depth, before)


def test_a_constant_map_has_the_first_colour(arrays):
    depth = np.full((1, 1, 4, 5), 3, np.float32)
    np.testing.assert_array_equal(colorize(depth), arrays["colorize/constant"])


def test_a_map_without_a_valid_pixel_is_all_background():
    assert (colorize(np.full((2, 3), -99, np.float32)) == (128, 128, 128, 255)).all()


def test_integers_and_nan():
    depth = np.array([[0, 128, 255]])
    np.testing.assert_array_equal(colorize(depth, vmin=0, vmax=255, colormap="gray")[0, :, 0], [0, 128, 255])
    colors = colorize(np.array([[0.0, np.nan, 1.0]]), vmin=0, vmax=1)
    np.testing.assert_array_equal(colors[0, 1], (0, 0, 0, 0))


def test_an_unknown_colour_map_is_refused():
    with pytest.raises(ZoeJaxError, match=r"'viridus'.*viridis"):
        colorize(np.zeros((2, 2), np.float32), colormap="viridus")
