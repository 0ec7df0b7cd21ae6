"""`load` and `DepthModel`: the face for people with a photo, on top of conversion and prediction."""

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float32

from zoe_jax import config as configs
from zoe_jax.config import ConfigError, ZoeDepthConfig
from zoe_jax.convert.checkpoint import read_checkpoint
from zoe_jax.convert.source import resolve_source
from zoe_jax.models.zoedepth import Params, ZoeDepthOutput, domain_indices, forward, init
from zoe_jax.predict.images import ImageSource
from zoe_jax.predict.predictor import Prediction, PredictOptions, Predictor

log = logging.getLogger(__name__)

_forward = jax.jit(forward, static_argnames=("config", "train", "intermediates"))


@dataclass(frozen=True)
class DepthModel:
    """A configuration with its parameters."""

    config: ZoeDepthConfig
    params: Params

    def apply(self, images: Float[Array | np.ndarray, "b h w 3"], domain: Any = None, **options: Any) -> ZoeDepthOutput:
        """`forward`, jitted: images in [0, 1] at network size to depth in metres; same arguments, same errors."""
        domain = domain_indices(self.config, domain, images.shape[0])
        return _forward(self.config, self.params, images, domain, **options)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """What `predict` runs on; it also gives relative depth and the entropy of the bins."""
        config, head = self.config, self.config.head
        network = functools.partial(forward, config)
        return Predictor(network, self.params, config.network_size, domains=head.domains if head else ())

    def predict(
        self,
        image: ImageSource,
        protocol: str = "infer",
        flip: bool = True,
        pad: bool = True,
        domain: str | None = None,
    ) -> Float32[np.ndarray, "height width"]:
        """Depth in metres at the size of the image.

        Args:
            image: a path, a PIL image, or an array [height, width, 3], uint8 or float in [0, 1].
            protocol: `infer` (what the original's users get), `evaluate` (as for the paper's tables), or `huggingface`
                (as transformers); their numbers differ.
            flip: average with the flipped image's depth.
            pad: pad by reflection, and crop after.
            domain: the metric head to use; by default the model's own choice.

        Raises:
            ImageError: the image cannot be read, or is too small or too elongated.
        """
        return self.predictor.predict(image, PredictOptions(protocol, flip, pad, domain)).depth_m

    def predict_batch(
        self,
        images: Iterable[ImageSource],
        batch_size: int = 4,
        protocol: str = "infer",
        flip: bool = True,
        pad: bool = True,
        domain: str | None = None,
    ) -> Iterator[Float32[np.ndarray, "height width"]]:
        """As `predict` for many images of any sizes, lazily and in order; one compilation for each network size.

        Images that the network sees at the same size share a batch, spread over all local devices.
        """
        options = PredictOptions(protocol, flip, pad, domain)
        for prediction in self.predictor.predict_batch(images, options, batch_size=batch_size):
            assert isinstance(prediction, Prediction)  # errors are raised, not yielded, unless asked for
            yield prediction.depth_m


def load(
    source: str | os.PathLike[str],
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    param_dtype: str = "float32",
    *,
    sha256: str | None = None,
    step: int | None = None,
) -> DepthModel:
    """A model from any checkpoint of its family.

    Args:
        source: a released `.pt`, a `.safetensors` file or its folder, a folder that `zoe-jax convert` or a training
            run wrote, the URL of a file, the name of a Hugging Face repository, or the name of a preset (random
            parameters, with a warning). Of a run that keeps a moving average of its parameters, that is taken,
            since validation measures it.
        preset: the architecture, where the names and shapes of the tensors do not tell.
        overrides: configuration fields by name, such as `max_depth_m` (a number, or one for each domain),
            `network_size` or `routing`.
        dtype: type of computation, `float32` or `bfloat16`.
        param_dtype: type of the parameters.
        sha256: checksum of a download.
        step: which checkpoint of a run; by default the best by validation, else the latest.

    Raises:
        CheckpointError: nothing there, damaged, or no model of this family; the message says what would be right.
        ConfigError: an override that does not exist or cannot be, or an option that a preset does not have.
    """
    overrides = {**(overrides or {}), "dtype": dtype}
    if str(source) in configs.PRESETS and not Path(source).exists():
        if preset or sha256 or step is not None:
            raise ConfigError(f"{source} is a preset itself, with random parameters: leave out preset, sha256 and step")
        config = configs.override(configs.preset(str(source)), overrides | {"param_dtype": param_dtype})
        log.warning("%s has random parameters: its depth means nothing until it is trained", source)
        return DepthModel(config, init(config, jax.random.key(0)))
    checkpoint = read_checkpoint(resolve_source(source, sha256), preset, overrides, param_dtype, step)
    return DepthModel(checkpoint.config, checkpoint.params)
