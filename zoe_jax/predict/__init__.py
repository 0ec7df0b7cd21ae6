"""Image in, depth out: reading, the protocols, batches, files and folders."""

from zoe_jax.predict.images import ImageError, ImageSource, read_image
from zoe_jax.predict.predictor import Prediction, PredictOptions, Predictor
from zoe_jax.predict.protocols import PROTOCOLS, Plan, Protocol

__all__ = [
    "PROTOCOLS",
    "ImageError",
    "ImageSource",
    "Plan",
    "PredictOptions",
    "Prediction",
    "Predictor",
    "Protocol",
    "read_image",
]
