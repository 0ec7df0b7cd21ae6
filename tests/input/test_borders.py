import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoe_jax.input.borders import Box, find_border, replace_border
from zoe_jax.input.geometry import Sample
from zoe_jax.input.source import DataError

N_RECORDED = 15


def painted(record: dict[str, Any]) -> np.ndarray:
    height, width = (96, 128) if record["seed"] < 700 else (480, 640)
    strip = record["strip"]
    image = np.random.RandomState(record["seed"]).randint(20, 230, (height, width, 3)).astype(np.uint8)
    image[: strip["top"]] = image[height - strip["bottom"] :] = strip["value"]
    image[:, : strip["left"]] = image[:, width - strip["right"] :] = strip["value"]
    return image


@pytest.mark.parametrize("case", range(N_RECORDED))
@pytest.mark.parametrize("as_float", [False, True])
def test_borders_are_found_where_the_original_finds_them(reference: Path, case: int, as_float: bool) -> None:
    records = json.loads((reference / "datasets/augment_and_loader.json").read_text())["border"]
    assert len(records) == N_RECORDED
    image = painted(records[case])
    if as_float:
        image = image.astype(np.float32) / np.float32(255)
    assert find_border(image, records[case]["strip"]["value"]) == Box(**records[case]["result"])


@pytest.mark.parametrize(("level", "is_border"), [(255, True), (251, True), (250, False)])
def test_a_border_is_within_five_grey_levels(level: int, is_border: bool) -> None:
    image = np.full((80, 80, 3), 100, np.uint8)
    image[:7] = level
    assert find_border(image).top == (7 if is_border else 5)


def test_a_row_of_border_has_more_than_a_tenth_of_it() -> None:
    image = np.full((80, 100, 3), 100, np.uint8)
    image[:8, 20:30] = 255
    assert find_border(image).top == 5
    image[:8, 30] = 255
    assert find_border(image).top == 8


def test_grey_is_the_mean_of_the_channels() -> None:
    image = np.full((80, 80, 3), 100, np.uint8)
    image[:9] = 255, 255, 243  # 251 in the mean
    assert find_border(image).top == 9
    image[:9] = 255, 255, 240  # 250
    assert find_border(image).top == 5


def test_the_image_is_reflected_and_depth_is_invalid_outside_the_box() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 70, 3), np.uint8)
    depth = rng.uniform(1, 9, (64, 70)).astype(np.float32)
    box = Box(top=7, bottom=50, left=21, right=64)
    replaced = replace_border(Sample(image, depth, depth > 3), box)
    margins = (7, 14), (21, 6)
    inner = slice(7, 50), slice(21, 64)
    np.testing.assert_array_equal(replaced.image, np.pad(image[inner], (*margins, (0, 0)), mode="reflect"))
    np.testing.assert_array_equal(replaced.depth_m, np.pad(depth[inner], margins))
    np.testing.assert_array_equal(replaced.valid_mask, np.pad(depth[inner] > 3, margins))


def test_the_smallest_image_can_be_filled_from_the_smallest_box() -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    depth = np.ones((64, 64), np.float32)
    box = find_border(white)
    assert box == Box(21, 43, 21, 43)
    assert replace_border(Sample(white, depth, depth > 0), box).valid_mask.sum() == 22**2


def test_a_smaller_image_is_an_error_that_names_its_size() -> None:
    with pytest.raises(DataError, match="63x80 pixels is too small"):
        find_border(np.zeros((63, 80, 3), np.uint8))
