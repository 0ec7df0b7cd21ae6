"""The network under jit: batches of equal size, spread over devices, with the flipped pass beside the upright one."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import Array, Bool, Float, Float32

from zoe_jax.errors import ZoeJaxError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What one call of the network is to give; each value of it is compiled for itself."""

    domain: str | None = None
    relative_depth: bool = False
    bin_entropy: bool = False


@dataclass(frozen=True)
class Running:
    """A batch on its way through the devices."""

    count: int
    """How many rows are images; the others fill the batch."""
    passes: list[dict[str, Array]]
    """The upright pass and, with flip, the flipped one: maps [B, h, w], and `domain` [B]."""


@dataclass(frozen=True)
class NetworkMaps:
    """What the network says about one image, at network resolution."""

    maps: dict[str, Float32[np.ndarray, "h w"]]
    domain: str | None


class CompiledNetwork:
    """A network, its parameters on the devices, and what has been compiled so far.

    Args:
        network: called as `network(params, images, domain=..., example_mask=..., intermediates=...)` under jit.
        params: the parameters.
        domains: names of the metric heads, in the order of the numbers that the network returns.
        devices: those to spread batches over.
    """

    def __init__(self, network: Callable[..., Any], params: Any, domains: Sequence[str], devices: Sequence[Any]):
        self.domains = tuple(domains)
        self.devices = tuple(devices)
        self.compiled_shapes: list[tuple[int, ...]] = []
        self._network = network
        self._params = {1: jax.device_put(params, self.devices[0])}
        self._run = jax.jit(self._trace, static_argnames="request")

    def start(self, images: Sequence[np.ndarray], batch_size: int, request: Request, flip: bool) -> Running:
        """Sends images, all [h, w, 3], to the devices as one batch of `batch_size`; does not wait for the result."""
        batch = np.zeros((batch_size, *images[0].shape), np.float32)
        for row, image in enumerate(images):
            batch[row] = image
        params, sharding = self._placement(batch_size)
        example_mask = jax.device_put(np.arange(batch_size) < len(images), sharding)
        # The flipped images are a pass of their own: they vote for a domain separately, as in the original.
        views = [batch, np.ascontiguousarray(batch[:, :, ::-1])] if flip else [batch]
        return Running(
            len(images),
            [self._run(params, jax.device_put(view, sharding), example_mask, request=request) for view in views],
        )

    def finish(self, running: Running) -> list[NetworkMaps]:
        """Waits for a batch, averages its passes, and takes it apart."""
        upright, *flipped = jax.device_get(running.passes)
        domains = upright.pop("domain")
        for mirrored in flipped:
            upright = {name: (value + mirrored[name][:, :, ::-1]) / 2 for name, value in upright.items()}
        return [
            NetworkMaps(
                {name: value[row] for name, value in upright.items()},
                self.domains[int(domains[row])] if self.domains else None,
            )
            for row in range(running.count)
        ]

    def _placement(self, batch_size: int) -> tuple[Any, Sharding]:
        """The parameters, and the sharding of a batch, on the largest number of devices that divides it."""
        count = max(n for n in range(1, len(self.devices) + 1) if batch_size % n == 0)
        if count == 1:
            return self._params[1], SingleDeviceSharding(self.devices[0])
        mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=self.devices[:count])
        if count not in self._params:
            logger.info("batches of %d are spread over %d of %d devices", batch_size, count, len(self.devices))
            self._params[count] = jax.device_put(self._params[1], NamedSharding(mesh, PartitionSpec()))
        return self._params[count], NamedSharding(mesh, PartitionSpec("data"))

    def _trace(
        self, params: Any, images: Float[Array, "b h w 3"], example_mask: Bool[Array, " b"], request: Request
    ) -> dict[str, Array]:
        # Python comes by here once a compilation.
        self.compiled_shapes.append(images.shape)
        logger.info("compiling the network for %d images of %dx%d pixels", *images.shape[:3])
        out = self._network(
            params, images, domain=request.domain, example_mask=example_mask, intermediates=request.bin_entropy
        )
        if out.metric_depth is None:
            raise ZoeJaxError("this model has no metric head, so it cannot give depth in metres")
        maps = {"depth_m": out.metric_depth}
        if request.relative_depth:
            maps["relative_depth"] = out.relative_depth
        if request.bin_entropy:
            maps["bin_entropy"] = normalized_entropy(out.bin_probabilities)
        return {name: value.astype(jnp.float32) for name, value in maps.items()} | {"domain": out.domain}


def normalized_entropy(probabilities: Float[Array, "*b n_bins"]) -> Float[Array, "*b"]:
    """Entropy over the last axis divided by that of the uniform distribution: in [0, 1]."""
    return jax.scipy.special.entr(probabilities).sum(-1) / np.log(probabilities.shape[-1])
