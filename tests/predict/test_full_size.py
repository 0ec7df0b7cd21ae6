"""Checkpoint files and raw images through the models at release size: one of 1.4 GB is in memory at a time."""

import functools
from pathlib import Path

import numpy as np
import pytest

from tests.synthetic import MODEL_REFERENCE, full_size_images, golden
from zoe_jax import config as configs
from zoe_jax.convert.checkpoint import read_checkpoint
from zoe_jax.models.zoedepth import forward
from zoe_jax.predict import PredictOptions, Predictor
from zoe_jax.predict.images import read_image
from zoe_jax.predict.protocols import protocol

pytestmark = pytest.mark.slow

PLAIN = PredictOptions("evaluate", flip=False)


class Model:
    """One set of parameters, under its own configuration and under that of the original's inference."""

    def __init__(self, variant: str, file: Path):
        self.variant = variant
        checkpoint = read_checkpoint(file, overrides={"max_depth_m": 80.0} if variant == "K" else None)
        self.params, self.config = checkpoint.params, checkpoint.config
        assert self.config == configs.preset(f"zoed_{variant.lower()}")

    def predictor(self, **overrides: float) -> Predictor:
        config = configs.override(self.config, overrides)
        return Predictor(functools.partial(forward, config), self.params, config.network_size, domains=config.domains)


# the last is what tests/test_full_size.py begins with
@pytest.fixture(scope="module", params=["N", "NK", "K"])
def official(request, full_size_file) -> Model:
    return Model(request.param, full_size_file(request.param, "official"))


@pytest.fixture(scope="module", params=["N", "K", "NK"])
def huggingface(request, full_size_file) -> Model:
    return Model(request.param, full_size_file(request.param, "huggingface"))


def assert_depth(actual: np.ndarray, expected: np.ndarray, model: Model) -> None:
    """The references' own float32 is off by 1.7e-5 at most and 2e-6 on average (N), by 1.1e-2 and 2e-5 for K."""
    assert actual.shape == expected.shape
    error = np.abs(actual - expected) / expected
    if model.variant == "K":
        # The normed head amplifies rounding near its lower bound: single pixels tell nothing.
        assert np.percentile(error, 99) < 2e-3
        assert error.mean() < 2e-4
    else:
        assert error.max() < 2e-4
        assert error.mean() < 2e-5


def test_huggingface(huggingface):
    arrays = golden(f"hf/golden_{huggingface.variant}")
    # The conversion script of transformers gives K the range of N.
    predictor = huggingface.predictor(max_depth_m=10.0) if huggingface.variant == "K" else huggingface.predictor()
    image = read_image(MODEL_REFERENCE / "hf" / "input_480x640.png")
    prepared = protocol("huggingface").plan((480, 640), huggingface.config.network_size).prepare(image)
    at_network_size = predictor.predict(prepared, PredictOptions("evaluate", flip=False, network_size=(384, 512)))
    assert_depth(at_network_size.depth_m[::4, ::4], arrays["predicted_depth_mult32__s4"][0], huggingface)
    for key, flip in (("post_processed_mult32__s4", False), ("post_processed_flip_mult32__s4", True)):
        depth = predictor.predict(image, PredictOptions("huggingface", flip=flip)).depth_m
        assert_depth(depth[::4, ::4], arrays[key], huggingface)


def test_the_original(official):
    arrays = golden(f"full/golden_{official.variant}")
    # The original's K ends at 10 m for inference, at 80 m for evaluation.
    evaluation = official.predictor()
    inference = official.predictor(max_depth_m=10.0) if official.variant == "K" else evaluation
    for name, image in full_size_images(official.variant).items():
        prepared = protocol("evaluate").plan(image.shape[:2], official.config.network_size).prepare(image)
        evaluated = evaluation.predict(prepared, PLAIN)
        assert_depth(evaluated.depth_m[::4, ::4], arrays[f"eval_{name}depth__s4"][0, 0], official)
        assert evaluated.domain == (name.rstrip("_") or official.config.domains[0])
        inferred = inference.predict(image).depth_m
        assert_depth(inferred[::4, ::4], arrays[f"infer_{name}depth__s4"][0, 0], official)
    if official.variant == "K":
        plan = protocol("infer").plan((352, 1216), official.config.network_size, pad=False)
        assert plan.network_size == (384, 1312)
        options = PredictOptions("evaluate", flip=False, network_size=plan.network_size)
        unpadded = inference.predict(plan.prepare(image), options).depth_m
        assert_depth(unpadded[::4, ::4], arrays["inferconfig_forward_depth__s4"][0, 0], official)
