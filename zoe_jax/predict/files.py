"""`zoe-jax predict`: depth for files, folders and patterns, with a progress bar and an honest end."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoe_jax.errors import ZoeJaxError
from zoe_jax.input.progress import progress_bar
from zoe_jax.predict.batching import map_ahead
from zoe_jax.predict.collect import Job, collect, shard
from zoe_jax.predict.images import ImageError
from zoe_jax.predict.outputs import OutputOptions, write_outputs
from zoe_jax.predict.predictor import Prediction, PredictOptions, Predictor, default_workers
from zoe_jax.predict.protocols import ProtocolName


@dataclass(frozen=True)
class FileOptions:
    """What is predicted, how, and what is written."""

    # The docstrings are the words of `zoe-jax predict --help`, one line each: tyro would keep the line breaks.

    output_dir: Path = Path("depth")
    """Folder for the results; a tree of images becomes a tree of results."""
    format: str = "npy"
    """What to write for each image, separated by commas: npy, png16, color, panel (image, depth and scale), json."""
    png16_scale: Literal[256, 1000] = 256
    """Units a metre in the 16-bit PNG, where 0 is invalid: 256 as the original (to 256 m), or 1000 (to 65 m)."""
    colormap: str = "gray_r"
    """Colour map for color and panel: any name of matplotlib's, such as magma_r; it spans percentiles 2 to 85."""
    recursive: bool = False
    """Also take images of the sub-folders of a folder."""
    skip_existing: bool = False
    """Leave out images whose results are all there; results are written whole or not at all."""
    shard: str | None = None
    """I/N: part I (0 to N-1) of the sorted images, the same on every machine, for N jobs of any batch system."""
    protocol: ProtocolName = "infer"
    """infer: as the original's users get it; evaluate: as in the paper's tables; huggingface: as transformers does."""
    flip: bool = True
    """Average with the prediction for the flipped image: better, at twice the time."""
    pad: bool = True
    """Pad by reflection before the network and crop after it: better at the border."""
    domain: str | None = None
    """Metric head to use (nyu or kitti); by default the model chooses for each image."""
    batch_size: int | None = None
    """Images the network sees at once; by default one a device."""


@dataclass(frozen=True)
class Summary:
    """What became of the images."""

    n_predicted: int
    n_skipped: int
    failures: tuple[tuple[str, str], ...]
    """Pairs of a file and what was wrong with it."""
    saturated: tuple[tuple[str, int], ...]
    """Pairs of a file and how many pixels its 16-bit PNG could not hold."""
    png16_scale: int

    @property
    def exit_status(self) -> int:
        """0, or 1 where an image failed."""
        return 1 if self.failures else 0

    def __str__(self) -> str:
        """A few lines for the human: counts, then what went wrong."""
        counts = f"{self.n_predicted} predicted, {self.n_skipped} skipped, {len(self.failures)} failed"
        limit = 65536 / self.png16_scale
        return "\n".join(
            [counts]
            + [f"clipped: {name}: {count} pixels beyond {limit:g} m" for name, count in self.saturated]
            + [f"failed: {message if name in message else f'{name}: {message}'}" for name, message in self.failures]
        )


def predict_files(predictor: Predictor, inputs: Sequence[str], options: FileOptions = FileOptions()) -> Summary:
    """Predicts and writes the depth of every image that `inputs` name; one bad file does not stop the rest.

    Raises:
        ZoeJaxError: an option that cannot be, or two images that would be written to one place.
    """
    if not inputs:
        raise ZoeJaxError("no image was given; name files, folders or patterns such as 'photos/*.jpg'")
    outputs = OutputOptions(tuple(options.format.split(",")), options.png16_scale, options.colormap)
    predict_options = PredictOptions(options.protocol, options.flip, options.pad, options.domain)
    found, nothing = collect(inputs, options.output_dir, options.recursive)
    mine = shard(found, options.shard)
    jobs = [job for job in mine if not (options.skip_existing and _is_done(job, outputs))]
    batch_size = len(predictor.devices) if options.batch_size is None else options.batch_size
    predictions = predictor.predict_batch(
        (job.source for job in jobs),
        predict_options,
        batch_size=min(batch_size, max(len(jobs), 1)),
        on_error="return",
    )
    facts = {"protocol": options.protocol, "flip": options.flip, "pad": options.pad}

    workers = default_workers()
    with ThreadPoolExecutor(workers) as pool:

        def write(work: tuple[Job, Prediction | ImageError]) -> int | Exception:
            job, prediction = work
            try:
                if isinstance(prediction, ImageError):
                    return prediction
                return write_outputs(job.stem, job.source, prediction, outputs, facts)
            except (OSError, ZoeJaxError) as error:
                return error

        watched = progress_bar(predictions, "depth", len(jobs), unit="image")
        # The number of clipped pixels of each image, or what went wrong with it.
        results = list(map_ahead(pool, write, zip(jobs, watched, strict=True), ahead=2 * workers))
    sources = [str(job.source) for job in jobs]
    failures = [(text, "there is no such file, or no image in this folder or pattern") for text in nothing]
    failures += [(s, str(result)) for s, result in zip(sources, results, strict=True) if isinstance(result, Exception)]
    return Summary(
        n_predicted=sum(isinstance(result, int) for result in results),
        n_skipped=len(mine) - len(jobs),
        failures=tuple(failures),
        saturated=tuple((s, n) for s, n in zip(sources, results, strict=True) if isinstance(n, int) and n > 0),
        png16_scale=options.png16_scale,
    )


def _is_done(job: Job, outputs: OutputOptions) -> bool:
    return all(path.is_file() for path in outputs.paths(job.stem).values())
