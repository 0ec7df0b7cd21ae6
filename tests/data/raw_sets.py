"""What the tests of the published data sets share: preparing a miniature, reading it back, the original's numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from zoe_jax.input.prepare import PreparationError, silent
from zoe_jax.input.reader import PreparedReader, Record
from zoe_jax.input.summary import DataSetSummary
from zoe_jax_data.raw import RawOptions, RawPreparation


def prepare(preparation: RawPreparation, data_dir: Path, raw: Path, jobs: int = 2, **options: Any) -> DataSetSummary:
    """`zoe-jax prepare NAME --raw RAW`, of a download that makes one data set."""
    (data_set,) = prepare_all(preparation, data_dir, raw, jobs, **options)
    return data_set


def prepare_all(
    preparation: RawPreparation, data_dir: Path, raw: Path, jobs: int = 2, **options: Any
) -> Sequence[DataSetSummary]:
    """`zoe-jax prepare NAME --raw RAW`, of a download that makes several data sets."""
    given: RawOptions = preparation.options(raw, **options)
    return preparation.prepare(given, data_dir, jobs, silent).data_sets


def assert_refused(preparation: RawPreparation, data_dir: Path, raw: Path, message: str, **options: Any) -> None:
    """The preparation fails with this message, and writes nothing."""
    with pytest.raises(PreparationError, match=message):
        prepare(preparation, data_dir, raw, **options)
    assert not data_dir.exists()


def records(data_dir: Path, name: str, split: str) -> list[Record]:
    """In the order of evaluation."""
    reader = PreparedReader(name, split, str(data_dir))
    return [reader[index] for index in reader.evaluation_order()]


def stored(data_dir: Path, name: str, split: str) -> list[dict[str, Any]]:
    """All features of the records, images and depth still encoded, by id."""
    (folder,) = (data_dir / name).iterdir()
    builder = tfds.builder_from_directory(folder)
    skip: Any = {key: tfds.decode.SkipDecoding() for key in ("image", "depth")}
    source: Any = builder.as_data_source(split, decoders=skip)
    return sorted((source[index] for index in range(len(source))), key=lambda record: record["id"])


def golden(reference: Path, name: str) -> list[dict[str, Any]]:
    """What the original's loader returned for each example of the miniature."""
    return json.loads((reference / "datasets/loader_goldens.json").read_text())[name]


def assert_as_golden(array: np.ndarray, expected: dict[str, Any], tolerance: float) -> None:
    """An array [h, w] or [h, w, c] against shape, range, mean and probes of the original's [c, h, w]."""
    channels_last = array[..., None] if array.ndim == 2 else array
    assert list(np.moveaxis(channels_last, -1, 0).shape) == expected["shape"]
    for name, value in (("min", array.min()), ("max", array.max()), ("mean", array.mean(dtype=np.float64))):
        np.testing.assert_allclose(value, expected[name], atol=tolerance, err_msg=name)
    for row, column, values in expected["probes"]:
        np.testing.assert_allclose(channels_last[row, column], values, atol=tolerance, err_msg=f"{row}, {column}")
    assert (array == 0).sum() == expected["n_zero"]
    assert (array == -1).sum() == expected["n_neg1"]


def resized_as_original(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image [h, w, 3] of bytes as the original's loaders give it: in [0, 1], bilinear without antialiasing."""
    return cv2.resize(image.astype(np.float32) / np.float32(255), (width, height), interpolation=cv2.INTER_LINEAR)


def assert_same_records(some: Sequence[Record], others: Sequence[Record]) -> None:
    """Image, depth, mask and domain are the same; ids may differ."""
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
        np.testing.assert_array_equal(np.asarray(one.valid_mask), np.asarray(other.valid_mask))
        assert one.domain == other.domain


def copy_tree(source: Path, target: Path, renamed: Sequence[tuple[str, str]]) -> Path:
    """Links the files of one layout into another, parts of their paths replaced."""
    for file in filter(Path.is_file, source.rglob("*")):
        relative = str(file.relative_to(source))
        for old, new in renamed:
            relative = relative.replace(old, new)
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        (target / relative).hardlink_to(file)
    return target
