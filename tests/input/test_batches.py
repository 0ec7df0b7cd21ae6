"""From a record to a row: valid depth, ranges, domains, sizes; and rows side by side."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.train import tiny
from zoe_jax.config import preset
from zoe_jax.input.augment import Sample, augment
from zoe_jax.input.batches import Part, resized, stack
from zoe_jax.input.config import AugmentConfig, DatasetConfig
from zoe_jax.input.in_memory import ArrayReader
from zoe_jax.input.source import DataError

NK = tiny.MODEL_NK
PLAIN = DatasetConfig()


def part(config: DatasetConfig = PLAIN, model: Any = tiny.MODEL, **arrays: Any) -> Part:
    content = {"image": np.zeros((2, 2, 4, 3), np.uint8), "depth_m": np.full((2, 2, 4), 2, np.float32)} | arrays
    return Part.of("mine", ArrayReader(content, "mine", model.domains), config, model)


def test_depth_is_valid_strictly_within_the_range_and_a_number() -> None:
    depth_m = np.array([0.001, 0.0011, 9.99, 10.0, 0.0, -1.0, np.nan, np.inf], np.float32).reshape(1, 2, 4)
    row = part(image=np.zeros((1, 2, 4, 3), np.uint8), depth_m=depth_m).row(0, None)
    assert row.valid_mask.ravel().tolist() == [False, True, True, False, False, False, False, False]
    # what is invalid is no longer anything that could spread
    np.testing.assert_array_equal(row.depth_m.ravel(), np.where(row.valid_mask, depth_m[0], 0).ravel())


def test_the_range_is_the_model_s_unless_the_data_set_has_another() -> None:
    depth_m = np.array([1.0, 3.0, 30.0, 79.0] * 4, np.float32).reshape(2, 2, 4)
    domain = np.array(["nyu", "kitti"])
    assert [part(model=NK, depth_m=depth_m, domain=domain).row(i, None).valid_mask.sum() for i in (0, 1)] == [4, 8]
    narrow = DatasetConfig(min_depth_m=2.0, max_depth_m=50.0)
    assert [part(narrow, NK, depth_m=depth_m, domain=domain).row(i, None).valid_mask.sum() for i in (0, 1)] == [4, 4]
    # a relative-depth model has none
    assert part(model=preset("dpt_beit_base_384"), depth_m=depth_m).row(0, None).valid_mask.all()


def test_a_mask_and_the_range_of_the_data_set_hold_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.array([[True, False] * 4] * 2).reshape(2, 2, 4)
    assert part(valid_mask=mask).row(0, None).valid_mask.tolist() == mask[0].tolist()
    monkeypatch.setattr(ArrayReader, "range_m", (0.0, 1.5))
    assert not part().row(0, None).valid_mask.any()


@pytest.mark.parametrize(
    ("model", "label", "said", "domain"),
    [(NK, "kitti", None, 1), (NK, None, "kitti", 1), (NK, "nyu", "kitti", 0), (tiny.MODEL, None, None, 0)],
)
def test_the_domain_is_what_is_configured_or_what_the_data_set_says(
    model: Any, label: str | None, said: str | None, domain: int
) -> None:
    arrays = {} if said is None else {"domain": np.array([said] * 2)}
    assert part(DatasetConfig(domain=label), model, **arrays).row(1, None).domain == domain


def test_the_only_head_of_a_model_takes_any_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = part()
    record = mine.reader[0]
    monkeypatch.setattr(ArrayReader, "__getitem__", lambda *_: record._replace(domain="castles"))
    assert mine.row(0, None).domain == 0
    with pytest.raises(DataError, match="mine says its domain is 'castles', and the model has several: nyu, kitti"):
        part(model=NK).row(0, None)


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(DataError, match="mine: the model has no domain 'sun'; its domains are nyu, kitti"):
        part(DatasetConfig(domain="sun"), NK)


def test_augmentation_is_that_of_the_place_and_absent_from_validation() -> None:
    arrays = tiny.arrays(2, 0)
    config = AugmentConfig(max_rotation_degrees=5.0, flip_probability=0.5, colour_probability=0.5)
    mine = part(DatasetConfig(augment=config), **arrays)
    row = mine.row(1, np.random.default_rng(4))
    sample = Sample(arrays["image"][1], arrays["depth_m"][1], np.ones((32, 32), bool))
    expected = augment(sample, config, np.random.default_rng(4))
    np.testing.assert_array_equal(row.image, expected.image)
    np.testing.assert_array_equal(row.depth_m, expected.depth_m)
    np.testing.assert_array_equal(row.valid_mask, expected.valid_mask)
    validation = mine.row(1, None)
    np.testing.assert_array_equal(validation.image, arrays["image"][1])


def test_the_crop_of_kitti_holds_in_validation() -> None:
    arrays = {"image": np.zeros((2, 375, 1242, 3), np.uint8), "depth_m": np.full((2, 375, 1242), 2, np.float32)}
    row = part(DatasetConfig(augment=AugmentConfig(kb_crop=True)), **arrays).row(0, None)
    assert (row.image.shape, row.depth_m.shape) == ((352, 1216, 3), (352, 1216))


def test_an_impossible_augmentation_names_its_example() -> None:
    with pytest.raises(DataError, match="mine, example mine/1: random_crop asks for 9x9 pixels"):
        part(DatasetConfig(augment=AugmentConfig(random_crop=(9, 9)))).row(1, np.random.default_rng(0))


def test_images_are_resized_bilinearly_and_depth_to_the_nearest() -> None:
    ramp = np.arange(8, dtype=np.float32)[None].repeat(4, 0)
    image = np.repeat(ramp[..., None] / 10, 3, -1)
    sample = resized(Sample(image, ramp, ramp < 5), 4, 4)
    # centres of the new pixels lie between two old ones; torch's interpolate without antialiasing gives the same
    np.testing.assert_allclose(sample.image[0, :, 0], [0.05, 0.25, 0.45, 0.65], rtol=1e-6)
    assert sample.depth_m[0].tolist() == [1, 3, 5, 7]
    assert sample.valid_mask[0].tolist() == [True, True, False, False]
    same = resized(Sample(image, ramp, ramp < 5), 4, 8)
    assert same.image is image


def test_bytes_become_floats_beside_floats() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(2, 2, 4, 3)
    row = replace(part(image=image), float_images=True).row(0, None)
    np.testing.assert_array_equal(row.image, image[0].astype(np.float32) / np.float32(255))


def test_rows_side_by_side() -> None:
    mine = part(**tiny.arrays(3, 0))
    batch = stack([mine.row(2, None), mine.row(0, None, filler=True)])
    assert batch.ids == ("0/2", "")
    assert batch.arrays["example_mask"].tolist() == [True, False]
    assert {name: (array.dtype, array.shape) for name, array in batch.arrays.items()} == {
        "image": (np.uint8, (2, 32, 32, 3)),
        "depth_m": (np.float32, (2, 32, 32)),
        "valid_mask": (bool, (2, 32, 32)),
        "domain": (np.int32, (2,)),
        "example_mask": (bool, (2,)),
    }


def test_rows_of_different_sizes_are_refused() -> None:
    rows = [part().row(0, None), part(DatasetConfig(size=(4, 4))).row(1, None)]
    with pytest.raises(DataError, match="image differs in size within a batch: 2x4x3 of 'mine/0', 4x4x3 of 'mine/1'"):
        stack(rows)
