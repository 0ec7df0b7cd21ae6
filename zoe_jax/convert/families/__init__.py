"""One table of name rules for each family of checkpoint files; FAMILIES are those of whole models."""

from zoe_jax.convert.families.huggingface import HUGGINGFACE
from zoe_jax.convert.families.midas import MIDAS
from zoe_jax.convert.families.official import OFFICIAL
from zoe_jax.convert.rules import Family

FAMILIES: dict[str, Family] = {family.name: family for family in (OFFICIAL, MIDAS, HUGGINGFACE)}
