"""Synthetic weights: every tensor is a function of its name and shape, so a manifest regenerates a checkpoint.

`seed` is the first four bytes of sha256(name), little-endian; `u` is
`(RandomState(seed).random_sample(shape) - 0.5) * sqrt(12)`, float64 noise of mean zero and unit variance in the C order
of PyTorch's layout. The manifest names the rule that makes the value of it:

=============  ==========================================  ======================================
fill           tensors                                     value
=============  ==========================================  ======================================
layer_scale    layer scales                                0.25 + 0.05 u
rel_pos_table  tables of relative positions                0.5 u
token          class tokens                                0.2 u
pt_bias        last bias of the log-binomial               0.05 u + [0, 0, -1.5, 1.5]
seed_bias      last bias of the seed bins                  0.05 u + linspace(-1.5, 1.5, n_bins)
norm_weight    scales of layer norms                       1 + 0.1 u
vector         all other vectors                           0.05 u
matrix         kernels                                     u / sqrt(fan_in)
head_matrix    kernels of seeds, attractors and router     2 u / sqrt(fan_in)
pt_matrix      kernels of the log-binomial                 1.25 u / sqrt(fan_in)
single_out     last kernel of the relative depth           0.25 (1 + u) / sqrt(fan_in)
official       constants of the architecture               not synthetic
=============  ==========================================  ======================================

`fan_in` is the product of all axes but the first, for a transposed convolution the first axis alone. The rules that
are not plain unit gain make the depth vary over the image, the relative depth live and the router heed the image.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_GAINS = {"matrix": 1.0, "head_matrix": 2.0, "pt_matrix": 1.25, "single_out": 0.25}


def unit_noise(name: str, shape: Sequence[int]) -> np.ndarray:
    """Float64 noise of mean zero and unit variance that depends on the name and the shape only."""
    seed = int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:4], "little")
    return (np.random.RandomState(seed).random_sample(tuple(shape)) - 0.5) * math.sqrt(12.0)


def synthetic_tensor(name: str, shape: Sequence[int], fill: str, transposed: bool = False) -> np.ndarray:
    """The float32 value of one tensor, in PyTorch's layout."""
    u = unit_noise(name, shape)
    if fill == "layer_scale":
        value = 0.25 + 0.05 * u
    elif fill == "rel_pos_table":
        value = 0.5 * u
    elif fill == "token":
        value = 0.2 * u
    elif fill == "pt_bias":
        value = 0.05 * u + np.array([0.0, 0.0, -1.5, 1.5])
    elif fill == "seed_bias":
        value = 0.05 * u + np.linspace(-1.5, 1.5, shape[0])
    elif fill == "norm_weight":
        value = 1.0 + 0.1 * u
    elif fill == "vector":
        value = 0.05 * u
    else:
        fan_in = shape[0] if transposed else math.prod(shape[1:])
        value = _GAINS[fill] * (1.0 + u if fill == "single_out" else u) / math.sqrt(fan_in)
    return np.asarray(value, dtype=np.float32)


def weights_from_manifest(manifest: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """All synthetic tensors of a manifest by name, in its order; the constants of the architecture are left out."""
    return {
        entry["name"]: synthetic_tensor(entry["name"], entry["shape"], entry["fill"], entry.get("transposed", False))
        for entry in manifest
        if entry["fill"] != "official"
    }
