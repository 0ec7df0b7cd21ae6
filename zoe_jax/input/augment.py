"""What is done to a training example between its record and its batch, in the order of the original.

Source: DataLoadPreprocess in zoedepth/data/data_mono.py, whose numbers come from Python's `random` and, for the
channels, from NumPy's global state: nothing that can be repeated over several workers. Here they come from a generator
that the caller makes of seed and position, numpy.random.Generator(numpy.random.Philox(key=[seed, position])). Hence
what is equal is each step under given numbers, the distributions, and the order; not the numbers.
"""

import numpy as np

from zoe_jax.input.borders import find_border, replace_border
from zoe_jax.input.colour import change_colour, to_float
from zoe_jax.input.config import AugmentConfig
from zoe_jax.input.geometry import Sample, check_sizes, flip, kb_crop, rotate, translate, window
from zoe_jax.input.source import DataError

__all__ = ["Sample", "augment"]


def augment(sample: Sample, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """The steps that `config` names, with numbers drawn from `rng`.

    The image leaves as float32 where colours are changed, whether or not this one's are: the changed values are no
    bytes, the original does not round them, and a batch has one type. Otherwise bytes stay bytes, a quarter of the
    transfer to the accelerator.

    Args:
        sample: image, depth and mask; of one size, unless they are only mirrored and coloured.
        config: which steps, and how far they go.
        rng: belongs to this example at this position alone. How many numbers are drawn depends on the configuration and
            on the numbers, never on the pixels.

    Returns:
        A sample; arrays may be views of those given.

    Raises:
        DataError: sizes that differ, or too small an image for a step.
    """
    if (
        config.kb_crop
        or config.avoid_boundary
        or config.max_rotation_degrees
        or config.random_crop
        or config.max_translation
    ):
        check_sizes(sample)
    if config.kb_crop:
        sample = kb_crop(sample)
    if config.avoid_boundary:
        sample = replace_border(sample, find_border(sample.image))
    if config.max_rotation_degrees:
        sample = rotate(sample, (rng.random() - 0.5) * 2 * config.max_rotation_degrees)
    if config.random_crop is not None:
        sample = _random_crop(sample, *config.random_crop, rng)
    if config.max_translation and rng.random() <= config.translate_probability:
        right_px, down_px = rng.integers(-config.max_translation, config.max_translation, size=2, endpoint=True)
        sample = translate(sample, int(right_px), int(down_px))
    if config.flip_probability and rng.random() > 1 - config.flip_probability:
        sample = flip(sample)
    if config.colour_probability:
        if rng.random() > 1 - config.colour_probability:
            gamma, brightness = rng.uniform(*config.gamma_range), rng.uniform(*config.brightness_range)
            image = change_colour(sample.image, gamma, brightness, rng.uniform(*config.channel_range, size=3))
        else:
            image = to_float(sample.image)
        sample = sample._replace(image=image)
    return sample


def _random_crop(sample: Sample, height: int, width: int, rng: np.random.Generator) -> Sample:
    rows, columns = sample.depth_m.shape
    if rows < height or columns < width:
        raise DataError(
            f"random_crop asks for {height}x{width} pixels of an image of {rows}x{columns}; it should ask for no more"
        )
    left, top = rng.integers([columns - width, rows - height], endpoint=True)
    return window(sample, int(top), int(left), height, width)
