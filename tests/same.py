"""What went through a file or a second run, against what it should be."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def assert_same_tensors(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """The same names, types, shapes and bits."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (tensor.dtype, tensor.shape), name
        assert actual[name].tobytes() == tensor.tobytes(), name


def assert_same_tree(actual: Any, expected: Any) -> None:
    """The same structure and numbers."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
