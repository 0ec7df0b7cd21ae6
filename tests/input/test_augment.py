import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoe_jax.input import geometry
from zoe_jax.input.augment import Sample, augment
from zoe_jax.input.borders import find_border, replace_border
from zoe_jax.input.colour import change_colour, to_float
from zoe_jax.input.config import AugmentConfig
from zoe_jax.input.source import DataError

EVERYTHING = AugmentConfig(
    avoid_boundary=True,
    max_rotation_degrees=1.0,
    random_crop=(60, 80),
    max_translation=8,
    translate_probability=0.2,
    flip_probability=0.5,
    colour_probability=0.5,
)


class Given(np.random.Generator):
    """Hands out given numbers one after the other, whatever is asked for."""

    def __init__(self, numbers: Sequence[Any]):
        super().__init__(np.random.Philox(0))
        self.numbers = list(numbers)

    def random(self, *_: Any, **__: Any) -> Any:
        return self.numbers.pop(0)

    def uniform(self, *_: Any, **__: Any) -> Any:
        return self.numbers.pop(0)

    def integers(self, *_: Any, **__: Any) -> Any:
        return self.numbers.pop(0)


def philox(position: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[0, position]))


def framed(height: int = 90, width: int = 120) -> Sample:
    rng = np.random.default_rng(0)
    image = rng.integers(20, 230, (height, width, 3), np.uint8)
    image[:7] = 255
    depth = rng.uniform(1, 9, (height, width)).astype(np.float32)
    return Sample(image, depth, depth < 8)


def assert_same(ours: Sample, expected: Sample) -> None:
    for array, want in zip(ours, expected, strict=True):
        assert array.dtype == want.dtype
        np.testing.assert_array_equal(array, want)


@pytest.mark.parametrize("dataset", ["nyu", "kitti"])
def test_flip_and_colour_follow_the_numbers_as_in_the_original(reference: Path, dataset: str) -> None:
    recorded = np.load(reference / "datasets/augment.npz")
    draws = json.loads((reference / "datasets/augment_and_loader.json").read_text())[f"colour_flip_{dataset}"]
    depth = recorded[f"aug/{dataset}/depth"][..., 0]
    config = AugmentConfig(flip_probability=0.5, colour_probability=0.5)
    assert {draw["flipped"] for draw in draws} == {draw["coloured"] for draw in draws} == {True, False}
    for draw in draws:
        colour = [draw["gamma"], draw["brightness"], np.array(draw["colours"])] if draw["coloured"] else []
        numbers = Given([draw["flip_draw"], draw["colour_draw"], *colour])
        ours = augment(Sample(recorded[f"aug/{dataset}/image"], depth, depth > 2), config, numbers)
        assert not numbers.numbers
        expected = depth[:, ::-1] if draw["flipped"] else depth
        np.testing.assert_array_equal(ours.depth_m, expected)
        np.testing.assert_array_equal(ours.valid_mask, expected > 2)
        # the power is of the processor's vector instructions, 3 units in the last place apart at most
        np.testing.assert_array_max_ulp(ours.image, recorded[f"aug/{dataset}/seed{draw['seed']}_image"], maxulp=4)


def test_shifts_follow_the_numbers_as_in_the_original(reference: Path) -> None:
    draws = json.loads((reference / "datasets/augment_and_loader.json").read_text())["translate_max8"]
    config = AugmentConfig(max_translation=8, translate_probability=0.2)
    sample = framed()
    for draw in draws:
        shift = (draw["x"], draw["y"]) if draw["translated"] else (0, 0)
        numbers = Given([draw["draw"], np.array(shift)])
        assert_same(augment(sample, config, numbers), geometry.translate(sample, *shift))
        assert len(numbers.numbers) == (0 if draw["translated"] else 1)


def test_everything_at_once_is_the_steps_in_order() -> None:
    sample = framed()
    channels = np.array([0.95, 1.0, 1.05])
    numbers = Given([0.9, np.array([4, 3]), 0.1, np.array([-2, 5]), 0.6, 0.7, 0.95, 1.05, channels])
    ours = augment(sample, EVERYTHING, numbers)
    expected = replace_border(sample, find_border(sample.image))
    expected = geometry.rotate(expected, 0.8)
    expected = geometry.window(expected, top=3, left=4, height=60, width=80)
    expected = geometry.flip(geometry.translate(expected, -2, 5))
    expected = expected._replace(image=change_colour(expected.image, 0.95, 1.05, channels))
    assert not numbers.numbers
    assert_same(ours, expected)


def test_the_kitti_crop_comes_first() -> None:
    sample = framed(370, 1226)
    config = AugmentConfig(kb_crop=True, max_rotation_degrees=1.0)
    assert_same(augment(sample, config, Given([0.2])), geometry.rotate(geometry.kb_crop(sample), -0.6))


def test_nothing_is_done_by_default() -> None:
    sample = framed()
    ours = augment(sample, AugmentConfig(), Given([]))
    assert all(array is given for array, given in zip(ours, sample, strict=True))


def test_the_image_is_of_floats_where_colours_may_change_and_of_bytes_elsewhere() -> None:
    sample = framed()
    unchanged = augment(sample, AugmentConfig(colour_probability=0.5), Given([0.4]))
    np.testing.assert_array_equal(unchanged.image, to_float(sample.image))
    geometric = dataclasses.replace(EVERYTHING, colour_probability=0.0)
    assert all(augment(sample, geometric, philox(i)).image.dtype == np.uint8 for i in range(10))
    assert all(augment(sample, EVERYTHING, philox(i)).image.dtype == np.float32 for i in range(10))


def test_seed_and_position_decide_everything() -> None:
    sample = framed()
    assert_same(augment(sample, EVERYTHING, philox(7)), augment(sample, EVERYTHING, philox(7)))
    others = [augment(sample, EVERYTHING, philox(i)).image.tobytes() for i in range(20)]
    assert len(set(others)) == 20


def test_inputs_stay_what_they_were() -> None:
    sample = framed()
    before = [array.copy() for array in sample]
    for i in range(10):
        augment(sample, EVERYTHING, philox(i))
    assert_same(sample, Sample(*before))


def share(happened: Callable[[Sample], bool], config: AugmentConfig, n: int = 600) -> float:
    return float(np.mean([happened(augment(framed(20, 24), config, philox(i))) for i in range(n)]))


# 600 throws: 4 standard deviations are 0.08 at 0.5 and 0.07 at 0.2 (and the throws are always the same)
@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_flip_colour_and_shift_are_as_frequent_as_asked(probability: float) -> None:
    image = framed(20, 24).image
    flipped = AugmentConfig(flip_probability=probability)
    assert share(lambda sample: not np.array_equal(sample.image, image), flipped) == pytest.approx(
        probability, abs=0.08
    )
    coloured = AugmentConfig(colour_probability=probability)
    unchanged = to_float(image)
    assert share(lambda s: not np.array_equal(s.image, unchanged), coloured) == pytest.approx(probability, abs=0.08)
    shifted = AugmentConfig(max_translation=50, translate_probability=probability)
    # one shift in 10 201 is by nothing
    assert share(lambda s: not np.array_equal(s.image, image), shifted) == pytest.approx(probability, abs=0.08)


def test_crops_and_shifts_reach_every_place_and_no_other() -> None:
    depth = np.arange(1, 31, dtype=np.float32).reshape(5, 6)
    sample = Sample(np.zeros((5, 6, 3), np.uint8), depth, depth > 0)
    crops = {float(augment(sample, AugmentConfig(random_crop=(3, 5)), philox(i)).depth_m[0, 0]) for i in range(100)}
    assert crops == {1, 2, 7, 8, 13, 14}
    config = AugmentConfig(max_translation=1, translate_probability=1.0)
    shifts = {float(augment(sample, config, philox(i)).depth_m[2, 2]) for i in range(200)}
    assert shifts == {8, 9, 10, 14, 15, 16, 20, 21, 22}


def test_numbers_stay_in_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float, float, np.ndarray]] = []
    angles: list[float] = []
    monkeypatch.setattr("zoe_jax.input.augment.rotate", lambda sample, degrees: angles.append(degrees) or sample)
    monkeypatch.setattr(
        "zoe_jax.input.augment.change_colour",
        lambda image, *drawn: seen.append((*drawn[:2], *drawn[2])) or to_float(image),
    )
    config = AugmentConfig(max_rotation_degrees=2.5, colour_probability=1.0, brightness_range=(0.75, 1.25))
    for i in range(500):
        augment(framed(20, 24), config, philox(i))
    for drawn, (low, high) in [
        (np.array(angles), (-2.5, 2.5)),
        *zip(np.array(seen).T, [(0.9, 1.1), (0.75, 1.25), *[(0.9, 1.1)] * 3], strict=True),
    ]:
        width = high - low
        assert low <= drawn.min() < low + 0.02 * width
        assert high - 0.02 * width < drawn.max() <= high
        # 4 standard deviations of the mean of 500 even numbers
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=0.052 * width)
    channels = np.array(seen)[:, 2:]
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.2


def test_sizes_that_differ_are_an_error_that_names_them() -> None:
    sample = framed()._replace(depth_m=np.ones((45, 60), np.float32))
    with pytest.raises(DataError, match="90x120, 45x60 and 90x120 pixels"):
        augment(sample, EVERYTHING, philox(0))
    flipped = augment(sample, AugmentConfig(flip_probability=1.0), philox(0))
    np.testing.assert_array_equal(flipped.image, sample.image[:, ::-1])


def test_a_crop_larger_than_the_image_is_an_error_that_names_both() -> None:
    with pytest.raises(DataError, match="asks for 91x20 pixels of an image of 90x120"):
        augment(framed(), AugmentConfig(random_crop=(91, 20)), philox(0))
