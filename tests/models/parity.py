"""Our arrays beside those that the original stored: names, layouts, and how far they may differ."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tests.synthetic import QUICK_TO_COMPILE, golden, pixels, tiny_config, tiny_params
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.models.zoedepth import ZoeDepthOutput, forward
from zoe_jax.ops.bins import bounded_bin_centers

DEPTH_TOLERANCES = {"N": (1e-5, 2e-6), "K": (2e-4, 5e-6), "NK": (1e-5, 2e-6)}
"""Largest and mean relative error of float32 depth. The original's own float32 is off its float64 by 1.2e-6 and 2e-7
(N, NK), 3e-5 and 7e-7 (K, whose bins amplify rounding near the lower end of the range): about a tenth of these."""


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _channels_first(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 3, 1, 2)


def _one_channel(array: np.ndarray) -> np.ndarray:
    return array[:, None]


def _sequence_first(array: np.ndarray) -> np.ndarray:
    return array.transpose(1, 0, 2)


OURS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "patch_embed": ("patch_embed", _same),
    "rel_pos_bias_block0": ("position_bias_00", lambda bias: bias[None]),
    **{f"block_{n}": (f"block_{n:02d}", _same) for n in range(4)},
    **{f"readout_{n}": (f"readout_{n}", _same) for n in range(1, 5)},
    **{f"layer_{n}": (f"reassemble_{n}", _channels_first) for n in range(1, 5)},
    **{f"layer_{n}_rn": (f"layer_{n}_rn", _channels_first) for n in range(1, 5)},
    **{f"r{n}": (f"fusion_{n}", _channels_first) for n in range(1, 5)},
    "head_conv1": ("head_conv1", _channels_first),
    "out_conv": ("head", _channels_first),
    "rel_depth": ("relative_depth", _same),
    "btlnck": ("bottleneck", _channels_first),
    # the original keeps a map of what are tokens here
    "router_embed": ("router_embed", lambda tokens: tokens.transpose(0, 2, 1)),
    **{f"router_layer_{n}": (f"router_layer_{n}", _sequence_first) for n in range(4)},
    "router_out": ("router_layer_3", _sequence_first),
    "domain_logits": ("domain_logits", _same),
    "seed_bins_centers": ("seed_bins", _channels_first),
    "seed_projector": ("seed_projector", _channels_first),
    # the original counts from 0
    **{f"projector_{n}": (f"projector_{n + 1}", _channels_first) for n in range(4)},
    **{f"attractor_{n}_A_raw": (f"attractor_points_{n + 1}", _channels_first) for n in range(4)},
    **{f"attractor_{n}_b_new": (f"attracted_centers_{n + 1}", _channels_first) for n in range(4)},
    **{f"attractor_{n}_B_centers": (f"attracted_centers_{n + 1}", _channels_first) for n in range(4)},
    "pt": ("activations", _channels_first),
    "p": ("mode", _same),
    "t": ("temperature", _one_channel),
    "probs": ("bin_probabilities", _channels_first),
    "final_bin_centers": ("bin_centers", _channels_first),
    "metric_depth": ("metric_depth", _one_channel),
}
"""Name in the stored files -> name here, and how to lay ours out as theirs."""

NOT_OURS = {"image_uint8", "input", "prep", "seed_bins_normed_widths"}
"""The image in three forms, and a quotient that has no name here (tests/ops/test_bins.py compares it)."""


@functools.cache
def compiled(config: ZoeDepthConfig) -> Callable[..., ZoeDepthOutput]:
    """`forward` with intermediates, jitted once for all tests."""
    return jax.jit(functools.partial(forward, config, intermediates=True), compiler_options=QUICK_TO_COMPILE)


@functools.cache
def run(variant: str, case: str, **overrides: object) -> tuple[ZoeDepthConfig, ZoeDepthOutput]:
    """A tiny model on the images of a stored case, none of which is padding."""
    config, images = tiny_config(variant, **overrides), pixels(golden(case)["image_uint8"])
    return config, compiled(config)(tiny_params(variant), images, example_mask=jnp.ones(len(images), bool))


def errors(key: str, config: ZoeDepthConfig, out: ZoeDepthOutput, theirs: np.ndarray) -> tuple[float, float]:
    """Largest error relative to the largest magnitude, and root mean square error relative to that of the array.

    A key `r1__s4` holds every fourth row and column of `r1`.
    """
    name, _, stride = key.partition("__s")
    our_name, layout = OURS[name]
    array = np.asarray((out._asdict() | (out.intermediates or {}))[our_name])
    if name.endswith("_B_centers"):
        assert config.head is not None
        array = np.asarray(
            bounded_bin_centers(jnp.asarray(array), config.head.min_depth_m[0], config.head.max_depth_m[0])
        )
    if name.endswith("_A_raw") and config.head is not None and config.head.bin_centers_type == "normed":
        # the original adds 1e-3 later, and then reads every other channel only
        theirs = theirs[:, ::2] + theirs.dtype.type(1e-3)
    ours = layout(array)
    if stride:
        ours = ours[..., :: int(stride), :: int(stride)]
    if name == "router_embed":
        theirs = theirs.reshape(ours.shape)
    assert ours.shape == theirs.shape, f"{key} has shape {ours.shape} instead of {theirs.shape}"
    error = ours.astype(np.float64) - theirs
    return float(np.abs(error).max() / np.abs(theirs).max()), float(np.sqrt((error**2).mean() / (theirs**2).mean()))


def depth_errors(depth_m: np.ndarray, reference_m: np.ndarray) -> tuple[float, float]:
    """Largest and mean relative error."""
    reference_m = reference_m.reshape(depth_m.shape).astype(np.float64)
    relative = np.abs(np.asarray(depth_m, np.float64) - reference_m) / reference_m
    return float(relative.max()), float(relative.mean())


def assert_depth_equals(variant: str, depth_m: np.ndarray, reference_m: np.ndarray) -> None:
    """What every parity test of depth asserts, and every mutation must fail."""
    largest, mean = depth_errors(depth_m, reference_m)
    largest_allowed, mean_allowed = DEPTH_TOLERANCES[variant]
    assert largest <= largest_allowed, f"largest relative error {largest:.1e}"
    assert mean <= mean_allowed, f"mean relative error {mean:.1e}"
