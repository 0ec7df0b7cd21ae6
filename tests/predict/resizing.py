"""A whole resize by one kind of taps."""

from collections.abc import Callable

import numpy as np

from zoe_jax.predict.resize import Taps, resample


def resize(image: np.ndarray, size: tuple[int, int], taps: Callable[[int, int], Taps]) -> np.ndarray:
    """Channels, where there are any, come last."""
    return resample(image, taps(image.shape[0], size[0]), taps(image.shape[1], size[1]))
