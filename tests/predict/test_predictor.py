import itertools
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict import PROTOCOLS, ImageError, Plan, PredictOptions, Protocol
from zoe_jax.predict.geometry import padding
from zoe_jax.predict.network import CompiledNetwork, Request

# Depths here reach 7 m; a resize and an affine function in float32 round a few times.
DUMMY_TOLERANCE_M = 4e-6
PLAIN = PredictOptions(flip=False, pad=False)


@dataclass(frozen=True)
class FixedProtocol(Protocol):
    """The references' dummy sees the padded image and answers at a size of its own (None: that of its input)."""

    keep_aspect_ratio: bool = False
    pads: bool = True
    upsampling: str = "bicubic"
    factors: tuple[float, float] = (3, 3)

    def plan(self, image_size, model_size, pad=True, multiple_of=32):
        pads = padding(image_size, *self.factors) if pad else (0, 0)
        padded = (image_size[0] + 2 * pads[0], image_size[1] + 2 * pads[1])
        return Plan(image_size, pads, self.network_size or padded, "bicubic")


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize(
    ("key", "pad", "flip", "factors"),
    [
        ("pad0_flip0", False, False, (3, 3)),
        ("pad0_flip1", False, True, (3, 3)),
        ("pad1_flip0", True, False, (3, 3)),
        ("pad1_flip1", True, True, (3, 3)),
        ("pad_fh2_fw0", True, True, (2, 0)),
    ],
)
def test_padding_and_flipping_agree_with_the_original(
    inference, make_predictor, monkeypatch, case, key, pad, flip, factors
):
    arrays, tables = inference
    [out] = [row["model_out"] for row in tables["tta"] if row["name"] == case]
    fixed = FixedProtocol(network_size=tuple(out) if out else None, factors=factors)
    monkeypatch.setitem(PROTOCOLS, "fixed", fixed)
    images = arrays[f"tta/{case}/in"].transpose(0, 2, 3, 1)
    options = PredictOptions("fixed", flip=flip, pad=pad)
    predictions = make_predictor().predict_batch(images, options, batch_size=2)
    for prediction, expected in zip(predictions, arrays[f"tta/{case}/{key}"][:, 0], strict=True):
        np.testing.assert_allclose(prediction.depth_m, expected, rtol=0, atol=DUMMY_TOLERANCE_M)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_the_average_at_network_resolution_is_that_of_evaluate_py(inference, make_predictor, monkeypatch, case):
    arrays = inference[0]
    expected = arrays[f"tta/{case}/evaluate_py_flip_only"][:, 0]
    images = arrays[f"tta/{case}/in"].transpose(0, 2, 3, 1)
    size = expected.shape[1:]
    plan = Plan(images.shape[1:3], (0, 0), size, "bilinear")
    at_network_size = [plan.prepare(image) for image in images]
    monkeypatch.setitem(PROTOCOLS, "fixed", FixedProtocol(pads=False, network_size=size))
    predictor = make_predictor()
    for image, depth in zip(at_network_size, expected, strict=True):
        predicted = predictor.predict(image, PredictOptions("fixed", pad=False)).depth_m
        np.testing.assert_allclose(predicted, depth, rtol=0, atol=DUMMY_TOLERANCE_M)


def test_a_picture_of_bytes_agrees_with_infer_pil(inference, make_predictor, monkeypatch):
    arrays = inference[0]
    monkeypatch.setitem(PROTOCOLS, "fixed", FixedProtocol(network_size=(16, 20)))
    depth = make_predictor().predict(arrays["pil/rgb"], PredictOptions("fixed")).depth_m
    np.testing.assert_allclose(depth, arrays["pil/numpy"], rtol=0, atol=DUMMY_TOLERANCE_M)
    assert depth.dtype == np.float32


@pytest.mark.parametrize("protocol", ["infer", "evaluate", "huggingface"])
def test_the_prediction_of_a_flipped_image_is_flipped(make_predictor, photo, protocol):
    predictor, image = make_predictor(), photo(75, 101)
    options = PredictOptions(protocol, network_size=(64, 96))
    depth = predictor.predict(image, options).depth_m
    assert depth.shape == (75, 101)
    # The two passes only change places.
    np.testing.assert_array_equal(predictor.predict(image[:, ::-1], options).depth_m, depth[:, ::-1])
    one_pass = PredictOptions(protocol, flip=False, network_size=(64, 96))
    unlike = predictor.predict(image[:, ::-1], one_pass).depth_m - predictor.predict(image, one_pass).depth_m[:, ::-1]
    assert np.abs(unlike).max() > 0.1, "the dummy network must not be symmetric itself"


@pytest.mark.parametrize(("protocol", "batch_size"), [("infer", 1), ("infer", 3), ("evaluate", 8)])
def test_batches_predict_what_single_images_do(make_predictor, photo, protocol, batch_size):
    images = [photo(*size, seed) for seed, size in enumerate([(75, 101), (61, 133), (64, 96), (60, 130)] * 2)]
    predictor, options = make_predictor(), PredictOptions(protocol, relative_depth=True, bin_entropy=True)
    batched = list(predictor.predict_batch(iter(images), options, batch_size=batch_size, look_ahead=4))
    assert len(batched) == len(images)
    for image, prediction in zip(images, batched, strict=True):
        alone = predictor.predict(image, options)
        assert prediction.domain == alone.domain
        for name in ("depth_m", "relative_depth", "bin_entropy"):
            # XLA may round differently for another batch size.
            np.testing.assert_allclose(getattr(prediction, name), getattr(alone, name), rtol=1e-6, atol=1e-6)


def test_the_order_of_the_images_does_not_matter(make_predictor, photo):
    images = [photo(*size, seed) for seed, size in enumerate([(75, 101), (61, 133), (101, 75), (75, 101), (61, 133)])]
    predictor = make_predictor()
    depths = [p.depth_m for p in predictor.predict_batch(images, batch_size=2)]
    for order in itertools.islice(itertools.permutations(range(5)), 0, None, 17):
        shuffled = predictor.predict_batch([images[i] for i in order], batch_size=2)
        for i, prediction in zip(order, shuffled, strict=True):
            np.testing.assert_array_equal(prediction.depth_m, depths[i])


def test_one_compilation_a_network_size_and_batch_size(make_predictor, photo):
    sizes = [(75, 101), (61, 133), (76, 102), (75, 101), (62, 132), (75, 101), (75, 101)]
    images = [photo(*size, seed) for seed, size in enumerate(sizes)]
    predictor = make_predictor()
    for _ in range(2):
        list(predictor.predict_batch(images, batch_size=4))
        predictor.predict(images[0])
    assert sorted(predictor.compiled_shapes) == [(1, 64, 96, 3), (4, 64, 96, 3), (4, 64, 128, 3)]


def test_rows_that_fill_a_batch_are_masked(make_predictor, photo):
    masks = []

    def network(params, images, domain, example_mask, intermediates):
        jax.debug.callback(lambda mask: masks.append(mask.tolist()), example_mask)
        return SimpleNamespace(metric_depth=images[..., 0], domain=images[:, 0, 0, 0].astype(int))

    compiled = CompiledNetwork(network, {}, (), make_predictor().devices)
    images = [np.full((32, 32, 3), value, np.float32) for value in (0.25, 0.5)]
    running = compiled.start(images, 4, Request(), flip=True)
    results = compiled.finish(running)
    assert [r.maps["depth_m"].mean() for r in results] == [0.25, 0.5]
    assert masks == [[True, True, False, False]] * 2


def test_images_are_read_lazily(make_predictor, photo):
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield photo(75, 101) if i % 5 else photo(61, 133)

    predictions = make_predictor().predict_batch(endless(), PLAIN, batch_size=2, look_ahead=4, workers=2)
    assert not taken
    for _ in range(20):
        next(predictions)
    # Beyond those yielded: look-ahead, the batch on the devices, the one after it, and one image a thread.
    assert len(taken) <= 20 + 4 + 2 + 2 + 3
    predictions.close()


def test_what_else_can_be_asked_for(make_predictor, photo):
    image = photo(64, 96)
    predictor = make_predictor()
    full = predictor.predict(image, PredictOptions(flip=False, pad=False, relative_depth=True, bin_entropy=True))
    np.testing.assert_allclose(full.relative_depth, 1 / full.depth_m, rtol=1e-5)
    p = image[..., 0] / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(p * np.log2(p)) - np.nan_to_num((1 - p) * np.log2(1 - p))
    np.testing.assert_allclose(full.bin_entropy, entropy, rtol=0, atol=1e-5)
    plain = predictor.predict(image, PLAIN)
    assert plain.relative_depth is None
    assert plain.bin_entropy is None


def test_the_domain_is_reported_and_can_be_chosen(make_predictor):
    black, white = np.zeros((64, 96, 3), np.uint8), np.full((64, 96, 3), 255, np.uint8)
    predictor = make_predictor()
    assert [p.domain for p in predictor.predict_batch([black, white, white])] == ["dark", "bright", "bright"]
    assert predictor.predict(black, PredictOptions(domain="bright")).domain == "bright"
    with pytest.raises(ZoeJaxError, match=r"no domain 'nyu'; it has dark, bright"):
        predictor.predict(black, PredictOptions(domain="nyu"))


def test_a_bad_image_raises_when_its_turn_has_come(make_predictor, photo):
    predictions = make_predictor().predict_batch([photo(75, 101), photo(3, 3), photo(75, 101)], batch_size=2)
    assert next(predictions).depth_m.shape == (75, 101)
    with pytest.raises(ImageError, match="too small"):
        next(predictions)


def test_a_bad_image_can_be_handed_back(make_predictor, photo):
    images = [photo(3, 3), photo(75, 101), "nowhere.png", photo(61, 133)]
    results = list(make_predictor().predict_batch(images, batch_size=2, on_error="return"))
    assert [isinstance(result, ImageError) for result in results] == [True, False, True, False]


def test_impossible_requests_are_refused_at_once(make_predictor, photo):
    predictor = make_predictor()
    with pytest.raises(ZoeJaxError, match="batch_size is 0"):
        predictor.predict_batch([photo(75, 101)], batch_size=0)
    with pytest.raises(ZoeJaxError, match="no protocol 'fast'"):
        predictor.predict_batch([photo(75, 101)], PredictOptions("fast"))


MANY_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from types import SimpleNamespace
from zoe_jax.predict import Predictor

def network(params, images, domain, example_mask, intermediates):
    # One vote for the whole batch, over all its devices: rows that only fill it have none.
    mean = (images.mean((1, 2, 3)) * example_mask).sum() / example_mask.sum()
    depth = params["scale"] * images[..., 0] + mean
    return SimpleNamespace(metric_depth=depth, domain=(images[:, 0, 0, 0] * 0).astype(int))

images = [np.random.default_rng(i).integers(0, 256, (75, 101, 3), np.uint8) for i in range(6)]
params = {"scale": np.float32(3)}
one = Predictor(network, params, (64, 96), devices=jax.devices()[:1])
four = Predictor(network, params, (64, 96))
assert len(four.devices) == 4
for batch_size, used in ((4, 4), (6, 3), (5, 1)):
    expected = [p.depth_m for p in one.predict_batch(images, batch_size=batch_size)]
    spread = [p.depth_m for p in four.predict_batch(images, batch_size=batch_size)]
    np.testing.assert_allclose(spread, expected, rtol=1e-6, atol=1e-6)
    assert max(four._network._params) >= used, four._network._params.keys()
assert sorted(four._network._params) == [1, 3, 4]
assert four.compiled_shapes == [(n, 64, 96, 3) for n in (4, 6, 5)]
"""


def test_a_batch_is_spread_over_several_devices():
    result = subprocess.run([sys.executable, "-c", MANY_DEVICES], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
