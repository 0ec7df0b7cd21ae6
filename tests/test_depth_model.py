"""`load` and `DepthModel`: the machine code that a user gets, not the quickly compiled one of the other tests."""

import logging
from pathlib import Path

import jax
import numpy as np
import pytest

import zoe_jax
from tests.same import assert_same_tree
from tests.synthetic import golden, pixels, tiny_config, tiny_params, tiny_tensors
from zoe_jax.config import ConfigError
from zoe_jax.convert.checkpoint import read_checkpoint, write_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.torch_file import write_torch
from zoe_jax.depth_model import DepthModel, load
from zoe_jax.models.zoedepth import InputError, forward

CASE = "tiny/NK_rect64x96_batch2"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "nk.pt"
    write_torch(path, tiny_tensors("NK"))
    return path


@pytest.fixture(scope="module")
def model(released: Path) -> DepthModel:
    return load(released)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return pixels(golden(CASE)["image_uint8"])


def test_a_preset_has_random_parameters_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    made = load("reference_n", overrides={"max_depth_m": 20})
    assert made.config == tiny_config("N", max_depth_m=20.0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "reference_n has random parameters" in record.getMessage()
    depth = made.predict(np.full((70, 90, 3), 128, np.uint8), flip=False)
    assert depth.shape == (70, 90)
    assert np.isfinite(depth).all()


def test_a_file_is_preferred_to_a_preset_of_its_name(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "reference_n").symlink_to(released)
    monkeypatch.chdir(tmp_path)
    assert load("reference_n").config == tiny_config("NK")
    assert not caplog.records


def test_every_layout_loads_alike(released: Path, model: DepthModel, tmp_path: Path) -> None:
    assert model.config == tiny_config("NK")
    assert_same_tree(model.params, tiny_params("NK"))
    for layout in ("orbax", "huggingface"):
        write_checkpoint(read_checkpoint(released), tmp_path / layout, layout)
        loaded = load(str(tmp_path / layout))
        assert loaded.config == model.config
        assert_same_tree(loaded.params, model.params)


def test_apply_is_forward(model: DepthModel, images: np.ndarray) -> None:
    ours, theirs = model.apply(images), jax.jit(forward, static_argnums=0)(model.config, model.params, images)
    assert ours.metric_depth.dtype == np.float32
    assert ours.bin_centers is None
    assert ours._fields == theirs._fields
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_apply_takes_forwards_options(model: DepthModel, images: np.ndarray) -> None:
    out = model.apply(images, intermediates=True)
    assert out.bin_probabilities.shape == (*images.shape[:3], 64)
    assert "bottleneck" in out.intermediates


def test_domains_have_names(model: DepthModel, images: np.ndarray) -> None:
    by_name, by_index = model.apply(images, "kitti"), model.apply(images, domain=np.array([1, 1]))
    np.testing.assert_array_equal(by_name.domain, [1, 1])
    np.testing.assert_array_equal(by_name.metric_depth, by_index.metric_depth)
    each = model.apply(images, ["nyu", "kitti"])
    np.testing.assert_array_equal(each.domain, [0, 1])
    assert not np.array_equal(each.metric_depth[0], by_name.metric_depth[0])
    with pytest.raises(InputError, match="no domain 'mars' in this model; it has"):
        model.apply(images, "mars")
    with pytest.raises(InputError, match="must be one for each of 2 images"):
        model.apply(images, ["nyu"])


def test_predict_batch_is_predict(model: DepthModel) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((70, 90), (64, 96), (70, 90))]
    together = list(model.predict_batch(pictures, batch_size=2, domain="kitti"))
    for depth, picture in zip(together, pictures, strict=True):
        assert depth.shape == picture.shape[:2]
        # rows of a batch are summed in another order than a single image
        np.testing.assert_allclose(depth, model.predict(picture, domain="kitti"), rtol=1e-4)


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_types(released: Path, images: np.ndarray, param_dtype: str) -> None:
    loaded = load(released, dtype="bfloat16", param_dtype=param_dtype)
    assert (loaded.config.dtype, loaded.config.param_dtype) == ("bfloat16", param_dtype)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(loaded.params)} == {param_dtype}
    depth = loaded.apply(images[:1], "nyu").metric_depth
    assert depth.dtype == np.float32
    full = load(released).apply(images[:1], "nyu").metric_depth
    # eight bits of mantissa through four blocks; equal depths would mean that the option is dead
    assert 0 < np.abs(depth / full - 1).mean() < 3e-2


def test_the_package_is_the_face(released: Path) -> None:
    assert zoe_jax.load is load
    assert zoe_jax.DepthModel is DepthModel
    assert "load" in dir(zoe_jax)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        zoe_jax.__getattr__("lod")


def test_mistakes_are_named(released: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no field 'max_deph_m'"):
        load(released, overrides={"max_deph_m": 3})
    for option in ({"preset": "reference_k"}, {"sha256": "0" * 64}, {"step": 0}):
        with pytest.raises(ConfigError, match=r"is a preset itself, .*: leave out"):
            load("reference_n", **option)
    with pytest.raises(CheckpointError, match="is no file or folder here"):
        load(tmp_path / "nothing.pt")
    with pytest.raises(CheckpointError, match=r"(?i)sha-?256"):
        load(released, sha256="0" * 64)
