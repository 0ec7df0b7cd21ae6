"""MiDaS 3.1's relative-depth models with a BEiT encoder: the original's names without the wrapper around the core."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.families.official import OFFICIAL
from zoe_jax.convert.rules import Family, Rule

_CORE = "core.core."


def rules(config: ZoeDepthConfig) -> Iterator[Rule]:
    """Every tensor that a model of `config` uses; no MiDaS file has those of a metric head."""
    for rule in OFFICIAL.rules(config):
        yield replace(rule, name=rule.name.removeprefix(_CORE))


def constants(config: ZoeDepthConfig) -> dict[str, np.ndarray]:
    """As for the original."""
    return {name.removeprefix(_CORE): value for name, value in OFFICIAL.constants(config).items()}


UNUSED = tuple((pattern.removeprefix(_CORE), why) for pattern, why in OFFICIAL.unused)

MIDAS = Family("midas", rules, OFFICIAL.first_residual.removeprefix(_CORE), UNUSED, constants)
