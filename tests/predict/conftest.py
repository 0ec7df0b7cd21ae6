"""A network that needs no weights, and the references of the original's inference."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.predict import Predictor


@pytest.fixture(scope="session")
def inference() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and tables of the original's inference."""
    folder = Path(__file__).parents[1] / "reference" / "inference"
    with np.load(folder / "inference.npz") as arrays:
        return dict(arrays), json.loads((folder / "inference.json").read_text(encoding="utf-8"))


def affine(params: Any, images: Any, domain: Any, example_mask: Any, intermediates: bool) -> SimpleNamespace:
    """The dummy of the references: an affine function of a pixel, plus 1 cm a column, which breaks mirror symmetry.

    Dark images are of domain 0, bright ones of domain 1; `params["scale"]` multiplies the depth.
    """
    depth = 1 + 5 * (images @ jnp.array([0.2, 0.5, 0.3])) + 0.01 * jnp.arange(images.shape[2])
    chosen = (images.mean((1, 2, 3)) > 0.5).astype(int) if domain is None else jnp.full(len(images), domain == "bright")
    return SimpleNamespace(
        metric_depth=params["scale"] * depth,
        relative_depth=1 / depth,
        domain=chosen.astype(int),
        bin_probabilities=jnp.stack([images[..., 0], 1 - images[..., 0]], axis=-1) if intermediates else None,
    )


@pytest.fixture
def make_predictor() -> Callable[..., Predictor]:
    """A predictor around the affine network, at 64x96 unless said otherwise."""

    def make(network: Callable[..., Any] = affine, network_size: tuple[int, int] = (64, 96), **options) -> Predictor:
        return Predictor(network, {"scale": jnp.ones(())}, network_size, domains=("dark", "bright"), **options)

    return make


@pytest.fixture
def photo() -> Callable[..., np.ndarray]:
    """Smooth uint8 pictures: photo(height, width, seed)."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray:
        phase = np.random.default_rng(seed).uniform(0, 6, (3, 2))
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / 7 + a) * np.cos(y / 5 + b) for a, b in phase]
        return np.round(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)

    return make
