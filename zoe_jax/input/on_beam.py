"""Preparation on Apache Beam, so that the workers of a cluster read and encode what one machine would take days for.

Beam is an extra and is imported only where it is asked for. The records do not depend on it: TFDS encodes and places
an example by its key, whoever computed it. The workers read the raw files and write the records by the very paths
that the command was given, so both lie on storage that all of them see.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zoe_jax.input.prepare import PreparationError

_CAUSE = re.compile(r"PreparationError: (.+?)(?: \[while running|$)", re.MULTILINE)


@dataclass(frozen=True)
class BeamRun:
    """Where a pipeline runs."""

    runner: str
    """As Beam names it: DirectRunner (this machine), DataflowRunner, FlinkRunner, SparkRunner."""
    options: Sequence[str] = ()
    """Of the pipeline, each `name` or `name=value`."""

    def to_tfds(self) -> dict[str, Any]:
        """For `tfds.download.DownloadConfig`.

        Raises:
            PreparationError: Beam is not installed, or knows no such runner.
        """
        _import_beam()
        pipelines = importlib.import_module("apache_beam.options.pipeline_options")
        runners = importlib.import_module("apache_beam.runners")
        try:
            runners.create_runner(self.runner)
        # whatever its module raises: Beam imports a runner by this name
        except Exception as error:
            raise PreparationError(f"Apache Beam has no runner {self.runner!r}: {error}") from error
        options = pipelines.PipelineOptions([f"--{option.removeprefix('--')}" for option in self.options])
        return {"beam_runner": self.runner, "beam_options": options}


def on_beam(examples: Sequence[Any], compute: Callable[[Any], tuple[str, dict[str, Any]]]) -> Any:
    """What a TFDS builder gives for a split, instead of an iterable, to have it written by Beam.

    Args:
        examples: small, and can be pickled; they travel to the workers.
        compute: the key and the features of one; a function of a module.

    Raises:
        PreparationError: Beam is not installed.
    """
    beam = _import_beam()
    # without the shuffle, a runner may leave all of the work to the worker that unpacked the list
    return beam.Create(examples) | beam.Reshuffle() | "Read" >> beam.Map(compute)


def cause_of_failure(error: Exception) -> str:
    """What went wrong in an example, out of what a runner makes of it; else all that it says."""
    # one in this process raises the same kind with its own words behind, a remote one gives tracebacks as text
    text = str(error) if isinstance(error, PreparationError) else f"{type(error).__name__}: {error}"
    causes = _CAUSE.findall(text)
    return causes[-1] if causes else text.partition(" [while running")[0]


def _import_beam() -> Any:
    try:
        return importlib.import_module("apache_beam")
    except ImportError as error:
        raise PreparationError(
            f"Apache Beam cannot be imported ({error}); it is an extra: pip install 'zoe_jax[beam]'"
        ) from error
