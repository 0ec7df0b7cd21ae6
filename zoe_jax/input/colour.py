"""Changes of gamma, brightness and the strength of the channels.

Source: zoedepth/data/data_mono.py (augment_image).
"""

import functools

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8


def to_float(image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Bytes as floats in [0, 1]; floats stay what they are."""
    if image.dtype == np.float32:
        return image
    return image.astype(np.float32) / np.float32(255)


def change_colour(
    image: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"],
    gamma: float,
    brightness: float,
    channels: Float[np.ndarray, "3"],
) -> Float32[np.ndarray, "h w 3"]:
    """image ** gamma * brightness * channels, clipped to [0, 1] and not rounded to bytes again.

    A byte has 256 values only, so a table of them does for the whole image what the formula does for each pixel.
    """
    if image.dtype == np.float32:
        return _formula(image, gamma, brightness, channels)
    return cv2.LUT(image, _formula(_levels(), gamma, brightness, channels))


def _formula(x: np.ndarray, gamma: float, brightness: float, channels: np.ndarray) -> np.ndarray:
    # in float32 but for the last factor, which is float64: so it is in the original
    changed = x ** float(gamma) * float(brightness) * channels.astype(np.float64)
    return np.clip(changed, 0, 1).astype(np.float32)


@functools.cache
def _levels() -> Float32[np.ndarray, "256 1 3"]:
    return np.repeat(np.arange(256, dtype=np.float32)[:, None, None] / np.float32(255), 3, axis=2)
