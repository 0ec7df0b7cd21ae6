"""Encoders: image to four taps. One file and one line here for each kind."""

from flax import linen as nn

from zoe_jax.config import BeitConfig
from zoe_jax.models.encoders.beit import BeitEncoder

ENCODERS: dict[str, type[nn.Module]] = {"beit": BeitEncoder}


def make_encoder(config: BeitConfig, dtype: str, param_dtype: str, name: str) -> nn.Module:
    """The module of `config.kind`; called with images [b, h, w, 3] it returns an `EncoderOutput`."""
    return ENCODERS[config.kind](config=config, dtype=dtype, param_dtype=param_dtype, name=name)
