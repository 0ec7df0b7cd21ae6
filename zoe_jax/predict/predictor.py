"""From images to depth: one at a time, or many of any size in batches."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

import jax
import numpy as np
from jaxtyping import Float32

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict.batching import Numbered, group, in_order, map_ahead
from zoe_jax.predict.geometry import Size
from zoe_jax.predict.images import ImageError, ImageSource, read_image
from zoe_jax.predict.network import CompiledNetwork, NetworkMaps, Request, Running
from zoe_jax.predict.protocols import Plan, protocol


@dataclass(frozen=True)
class PredictOptions:
    """How depth is predicted; the defaults are those of the original's `infer`."""

    protocol: str = "infer"
    """`infer`, `evaluate` or `huggingface`: the names of `PROTOCOLS`."""
    flip: bool = True
    """Average with the prediction for the flipped image."""
    pad: bool = True
    """Pad by reflection before the network and crop after it; `evaluate` never does."""
    domain: str | None = None
    """Name of the metric head to use; None leaves it to the model."""
    network_size: Size | None = None
    """Height and width to aim at instead of those of the model or the protocol."""
    relative_depth: bool = False
    """Also give the relative depth."""
    bin_entropy: bool = False
    """Also give the entropy of the distribution over bins, a measure of doubt."""


@dataclass(frozen=True)
class Prediction:
    """What is known of one image, at its size."""

    depth_m: Float32[np.ndarray, "height width"]
    relative_depth: Float32[np.ndarray, "height width"] | None = None
    """Inverse depth up to an unknown scale and shift: large is near."""
    bin_entropy: Float32[np.ndarray, "height width"] | None = None
    """Entropy over the bins divided by its largest value: 0 is certain, 1 is no idea."""
    domain: str | None = None
    """The metric head that was used; the flipped image may have gone to another one."""


@dataclass(frozen=True)
class _Prepared:
    plan: Plan
    pixels: Float32[np.ndarray, "h w 3"]


class Predictor:
    """Runs one network on images.

    Args:
        network: the functional face of the model without its configuration,
            `functools.partial(zoe_jax.forward, config)`. It is called under jit with the parameters, images
            (float32 [B, h, w, 3] in [0, 1]), `domain` (a name or None), `example_mask` (bool [B], False for rows that
            only fill a batch) and `intermediates`. Its result has `metric_depth`, `relative_depth` [B, h, w], `domain`
            (int [B]) and, with intermediates, `bin_probabilities` [B, h, w, n_bins].
        params: the parameters.
        network_size: height and width of training, which the protocols aim at.
        domains: names of the metric heads.
        multiple_of: what the sides of the network's input must be multiples of.
        devices: those to spread batches over; by default all that this process has.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        params: Any,
        network_size: Size,
        *,
        domains: Sequence[str] = (),
        multiple_of: int = 32,
        devices: Sequence[Any] | None = None,
    ):
        self.network_size = network_size
        self.domains = tuple(domains)
        self.multiple_of = multiple_of
        self.devices = tuple(devices or jax.local_devices())
        self._network = CompiledNetwork(network, params, self.domains, self.devices)

    @property
    def compiled_shapes(self) -> list[tuple[int, ...]]:
        """Shape [B, h, w, 3] of the images of each compilation so far."""
        return self._network.compiled_shapes

    def predict(self, image: ImageSource, options: PredictOptions = PredictOptions()) -> Prediction:
        """Depth of one image.

        Raises:
            ImageError: the image cannot be read, or is too small or too elongated for the protocol.
            ZoeJaxError: unknown protocol or domain.
        """
        self._check(options)
        prepared = self._prepare(image, options)
        [maps] = self._network.finish(self._start([prepared], 1, options))
        return _restored(prepared.plan, maps)

    @overload
    def predict_batch(
        self,
        images: Iterable[ImageSource],
        options: PredictOptions = ...,
        *,
        batch_size: int = ...,
        look_ahead: int | None = ...,
        workers: int | None = ...,
        on_error: Literal["raise"] = ...,
    ) -> Iterator[Prediction]: ...

    @overload
    def predict_batch(
        self,
        images: Iterable[ImageSource],
        options: PredictOptions = ...,
        *,
        batch_size: int = ...,
        look_ahead: int | None = ...,
        workers: int | None = ...,
        on_error: Literal["return"],
    ) -> Iterator[Prediction | ImageError]: ...

    def predict_batch(
        self,
        images: Iterable[ImageSource],
        options: PredictOptions = PredictOptions(),
        *,
        batch_size: int = 4,
        look_ahead: int | None = None,
        workers: int | None = None,
        on_error: Literal["raise", "return"] = "raise",
    ) -> Iterator[Prediction] | Iterator[Prediction | ImageError]:
        """Depth of many images of any sizes, lazily and in their order.

        Images that the network sees at the same size share a batch; a batch that cannot be filled is padded, so that
        each network size is compiled once. On several devices a batch is spread over as many of them as divide
        `batch_size`. With `routing="batch"` the members of a batch share one vote, as in the original.

        Args:
            images: read no further than needed; reading and resizing run in threads.
            options: as for `predict`.
            batch_size: images the network sees at once.
            look_ahead: how many later images may be read while one waits for its batch to fill; by default four
                batches. It bounds the memory.
            workers: threads; by default one a processor, at most eight.
            on_error: what becomes of an ImageError when it is its image's turn: raised, or yielded in its place.

        Raises:
            ImageError: as for `predict`, with `on_error="raise"`.
            ZoeJaxError: unknown protocol or domain, or no positive batch size.
        """
        self._check(options)
        if batch_size < 1:
            raise ZoeJaxError(f"batch_size is {batch_size}; it must be at least 1")
        look_ahead = 4 * batch_size if look_ahead is None else look_ahead
        workers = default_workers() if workers is None else workers

        def prepare(image: ImageSource) -> _Prepared | ImageError:
            try:
                return self._prepare(image, options)
            except ImageError as error:
                return error

        def stream() -> Iterator[Prediction | ImageError]:
            pool = ThreadPoolExecutor(workers)
            try:
                prepared = map_ahead(pool, prepare, images, ahead=workers)
                batches = group(prepared, _network_size, batch_size, look_ahead)
                for result in in_order(self._results(pool, batches, batch_size, options)):
                    if isinstance(result, ImageError) and on_error == "raise":
                        raise result
                    yield result.result() if isinstance(result, Future) else result
            finally:
                pool.shutdown(cancel_futures=True)

        return stream()

    def _prepare(self, image: ImageSource, options: PredictOptions) -> _Prepared:
        pixels = read_image(image)
        rule = protocol(options.protocol)
        if options.network_size:
            rule = dataclasses.replace(rule, network_size=options.network_size)
        plan = rule.plan((pixels.shape[0], pixels.shape[1]), self.network_size, options.pad, self.multiple_of)
        return _Prepared(plan, plan.prepare(pixels))

    def _start(self, batch: Sequence[_Prepared], batch_size: int, options: PredictOptions) -> Running:
        request = Request(options.domain, options.relative_depth, options.bin_entropy)
        return self._network.start([prepared.pixels for prepared in batch], batch_size, request, options.flip)

    def _results(
        self,
        pool: Executor,
        batches: Iterable[list[Numbered[_Prepared | ImageError]]],
        batch_size: int,
        options: PredictOptions,
    ) -> Iterator[Numbered[Future[Prediction] | ImageError]]:
        """Keeps one batch on the devices while the next one is prepared."""

        def finish(batch: list[Numbered[_Prepared]], running: Running) -> Iterator[Numbered[Future[Prediction]]]:
            for (position, prepared), maps in zip(batch, self._network.finish(running), strict=True):
                yield position, pool.submit(_restored, prepared.plan, maps)

        in_flight = None
        for batch in batches:
            if isinstance(error := batch[0][1], ImageError):
                yield batch[0][0], error
                continue
            batch = cast(list[Numbered[_Prepared]], batch)
            started = (batch, self._start([prepared for _, prepared in batch], batch_size, options))
            if in_flight:
                yield from finish(*in_flight)
            in_flight = started
        if in_flight:
            yield from finish(*in_flight)

    def _check(self, options: PredictOptions) -> None:
        protocol(options.protocol)
        if options.domain is not None and options.domain not in self.domains:
            names = ", ".join(self.domains) or "none"
            raise ZoeJaxError(f"this model has no domain {options.domain!r}; it has {names}")


def default_workers() -> int:
    """Threads for work on the host: one a processor, at most eight."""
    return min(os.cpu_count() or 1, 8)


def _network_size(prepared: _Prepared | ImageError) -> Size | None:
    return None if isinstance(prepared, ImageError) else prepared.plan.network_size


def _restored(plan: Plan, network: NetworkMaps) -> Prediction:
    return Prediction(**{name: plan.restore(value) for name, value in network.maps.items()}, domain=network.domain)
