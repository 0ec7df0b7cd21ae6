"""Your own images and depth: `zoe-jax prepare folder` makes the data set `zoe_folder/NAME` of them."""

from .preparation import PREPARATION

__all__ = ["PREPARATION"]
