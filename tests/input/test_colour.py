import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoe_jax.input.colour import change_colour, to_float


@pytest.mark.parametrize("dataset", ["nyu", "kitti"])
def test_changed_images_are_those_of_the_original(reference: Path, dataset: str) -> None:
    recorded = np.load(reference / "datasets/augment.npz")
    draws = json.loads((reference / "datasets/augment_and_loader.json").read_text())[f"colour_flip_{dataset}"]
    coloured = [draw for draw in draws if draw["coloured"]]
    assert len(coloured) == 5
    for draw in coloured:
        image = recorded[f"aug/{dataset}/image"]
        if draw["flipped"]:
            image = image[:, ::-1]
        ours = change_colour(image, draw["gamma"], draw["brightness"], np.array(draw["colours"]))
        # the power is of the processor's vector instructions, 3 units in the last place apart at most
        np.testing.assert_array_max_ulp(ours, recorded[f"aug/{dataset}/seed{draw['seed']}_image"], maxulp=4)


@given(
    seed=st.integers(0, 2**32 - 1),
    gamma=st.floats(0.5, 2),
    brightness=st.floats(0.5, 2),
    channels=st.tuples(*[st.floats(0.5, 2)] * 3).map(np.array),
)
def test_the_table_for_bytes_is_the_formula_of_the_original(
    seed: int, gamma: float, brightness: float, channels: np.ndarray
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    as_float = np.asarray(image, np.float32) / 255.0
    original = as_float**gamma * brightness
    original *= np.stack([np.ones((7, 9)) * channel for channel in channels], axis=2)
    expected = np.clip(original, 0, 1)
    ours = change_colour(image, gamma, brightness, channels)
    # NumPy takes another path for the power at the end of an array than within it
    np.testing.assert_array_max_ulp(ours, expected, maxulp=2)
    assert ours.max() <= 1


def test_bytes_become_floats_as_in_the_original() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    ours = to_float(levels)
    np.testing.assert_array_equal(ours, np.asarray(levels, np.float32) / 255.0)
    assert to_float(ours) is ours
