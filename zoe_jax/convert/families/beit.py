"""timm's BEiT by itself, as it was trained on ImageNet: an encoder to begin a training with, and no whole model."""

from collections.abc import Container, Iterator
from dataclasses import replace

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.families.official import OFFICIAL
from zoe_jax.convert.rules import Family, Rule

_MODEL = "core.core.pretrained.model"


def rules(config: ZoeDepthConfig) -> Iterator[Rule]:
    """Every tensor of the encoder: the original's names without the models around it."""
    for rule in OFFICIAL.rules(config):
        if rule.name.startswith(_MODEL):
            yield replace(rule, name=rule.name.removeprefix(f"{_MODEL}."))


def is_beit(names: Container[str]) -> bool:
    """Whether these are the tensors of an encoder by itself: in whole models something stands before this name."""
    return "cls_token" in names


UNUSED = tuple(
    (pattern.removeprefix(rf"{_MODEL}\."), why) for pattern, why in OFFICIAL.unused if pattern.startswith(_MODEL)
)

BEIT = Family("beit", rules, first_residual="", unused=UNUSED, part="encoder/")
