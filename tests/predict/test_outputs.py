import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict import Prediction
from zoe_jax.predict.outputs import SUFFIXES, OutputOptions, encode_png16, write_outputs
from zoe_jax.view import colorize

DEPTH_M = np.linspace(0.5, 70, 12 * 20, dtype=np.float32).reshape(12, 20)
FACTS = {"protocol": "infer", "flip": True, "pad": True}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)).save(path)
    return path


def test_sixteen_bit_values_are_those_of_the_original(inference):
    arrays = inference[0]
    pixels, n_saturated = encode_png16(arrays["png16/depth"])
    np.testing.assert_array_equal(pixels, arrays["png16/u16"])
    assert n_saturated == 0
    pixels, _ = encode_png16(arrays["pil/numpy"])
    np.testing.assert_array_equal(pixels, arrays["pil/uint16"])


def test_what_sixteen_bits_cannot_hold():
    depth_m = np.array([[255.999, 256, 1000, 0, -1, np.nan, np.inf, 65.535, 65.536]], np.float32)
    pixels, n_saturated = encode_png16(depth_m, 256)
    np.testing.assert_array_equal(pixels[0, :7], [65535, 65535, 65535, 0, 0, 0, 0])
    assert n_saturated == 2
    pixels, n_saturated = encode_png16(depth_m, 1000)
    np.testing.assert_array_equal(pixels[0, [0, 7, 8]], [65535, 65535, 65535])
    assert n_saturated == 4


def test_every_format(source, tmp_path):
    options = OutputOptions(tuple(SUFFIXES), png16_scale=1000, colormap="magma_r")
    stem = tmp_path / "out" / "deep" / "photo"
    n_saturated = write_outputs(stem, source, Prediction(DEPTH_M, domain="kitti"), options, FACTS)
    assert n_saturated == (DEPTH_M * 1000 >= 65536).sum() > 0
    assert sorted(p.name for p in stem.parent.iterdir()) == sorted(f"photo{suffix}" for suffix in SUFFIXES.values())

    np.testing.assert_array_equal(np.load(f"{stem}_depth.npy"), DEPTH_M)

    with Image.open(f"{stem}_depth16.png") as image:
        np.testing.assert_array_equal(np.asarray(image), encode_png16(DEPTH_M, 1000)[0])
        assert image.text["unit"] == "metre"
        assert image.text["scale"] == "1000"
        assert image.text["formula"] == "depth in metres = value / 1000"
        assert image.text["saturated_pixels"] == str(n_saturated)
        assert image.text["domain"] == "kitti"
        assert image.text["source"] == "photo.png"

    with Image.open(f"{stem}_color.png") as image:
        np.testing.assert_array_equal(np.asarray(image), colorize(DEPTH_M, colormap="magma_r"))
        low, high = (float(image.text[key]) for key in ("first_color_m", "last_color_m"))
    np.testing.assert_allclose((low, high), np.percentile(DEPTH_M, (2, 85)), atol=1e-4)

    with Image.open(f"{stem}_panel.png") as image:
        assert image.height >= 160
        assert image.width > 2 * 20 * image.height / 12

    report = json.loads(Path(f"{stem}_depth.json").read_text(encoding="utf-8"))
    assert report["unit"] == "metre"
    assert (report["height"], report["width"], report["domain"]) == (12, 20, "kitti")
    assert report["depth_m"] == pytest.approx({"min": 0.5, "median": 35.25, "max": 70})
    assert report["files"]["png16"] == {
        "name": "photo_depth16.png", "scale": 1000, "invalid": 0, "saturated_pixels": n_saturated
    }  # fmt: skip
    assert set(report["files"]) == set(SUFFIXES) - {"json"}


def test_the_panel_takes_sixteen_bit_images(tmp_path):
    Image.fromarray(np.full((12, 20), 32768, np.uint16)).save(tmp_path / "grey.png")
    write_outputs(tmp_path / "grey", tmp_path / "grey.png", Prediction(DEPTH_M), OutputOptions(("panel",)), FACTS)
    with Image.open(tmp_path / "grey_panel.png") as image:
        assert image.getpixel((0, 0)) == (128, 128, 128)


def test_names_may_have_any_letters(source, tmp_path):
    name = "écran 深度 🙂"
    options = OutputOptions(("png16", "json"))
    write_outputs(tmp_path / name, source.rename(tmp_path / f"{name}.png"), Prediction(DEPTH_M), options, FACTS)
    assert json.loads((tmp_path / f"{name}_depth.json").read_text(encoding="utf-8"))["source"] == f"{name}.png"
    with Image.open(tmp_path / f"{name}_depth16.png") as image:
        assert image.text["source"] == f"{name}.png"


def test_nothing_is_computed_that_no_file_asks_for(source, tmp_path, monkeypatch):
    def unasked(*arguments):
        raise AssertionError

    monkeypatch.setattr("zoe_jax.predict.outputs.color_range", unasked)
    monkeypatch.setattr(np, "median", unasked)
    write_outputs(tmp_path / "a", source, Prediction(DEPTH_M), OutputOptions(("npy", "png16")), FACTS)
    np.testing.assert_array_equal(np.load(tmp_path / "a_depth.npy"), DEPTH_M)


def test_impossible_options_are_refused():
    with pytest.raises(ZoeJaxError, match=r"no output format 'jpg'; there are npy, png16"):
        OutputOptions(("npy", "jpg"))
    with pytest.raises(ZoeJaxError, match="no output format ''"):
        OutputOptions(())
    with pytest.raises(ZoeJaxError, match=r"'magma_t'.*magma"):
        OutputOptions(("color",), colormap="magma_t")
