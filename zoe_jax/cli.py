"""The command `zoe-jax` and its sub-commands: parsing only."""

import json
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from zoe_jax.errors import ZoeJaxError
from zoe_jax.evaluate.command import EvaluateOptions
from zoe_jax.evaluate.tables import TablesOptions
from zoe_jax.input.hosts import Distribution
from zoe_jax.predict.files import FileOptions, predict_files


@dataclass(frozen=True)
class ModelOptions:
    """How a checkpoint is read."""

    preset: str | None = None
    """Architecture, where the names and shapes of the tensors do not tell (zoed_n, zoed_k, zoed_nk, ...)."""
    set: tuple[str, ...] = ()
    """Configuration fields as NAME=VALUE, such as max_depth_m=80 or routing=batch."""
    sha256: str | None = None
    """Checksum of a download."""
    step: int | None = None
    """Which checkpoint of a training run; by default the best by validation, else the latest."""

    def overrides(self) -> dict[str, Any]:
        """The fields of `set` with their values, numbers and lists as JSON writes them."""
        return dict(_name_and_value(text) for text in self.set)


@dataclass(frozen=True)
class Convert:
    """Convert a checkpoint: PyTorch or Hugging Face to ours, or back. Nothing of it is ever executed."""

    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """A .pt or .safetensors file, a folder, a URL, or a Hugging Face repository."""
    destination: Annotated[Positional[Path], tyro.conf.arg(metavar="DESTINATION")]
    """File (official) or folder (orbax, huggingface) to write; it must not exist."""
    to: Literal["orbax", "official", "huggingface"] | None = None
    """Layout to write; by default official where the destination ends in .pt or .pth, else orbax."""
    verify: bool = False
    """Read the result back and compare every tensor, bit by bit."""
    model: OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)

    def run(self) -> int:
        """Converts, and says what came of it."""
        from zoe_jax.convert.checkpoint import read_checkpoint, verify, write_checkpoint
        from zoe_jax.convert.source import resolve_source

        options = self.model
        layout = self.to or _layout_of(self.destination)
        path = resolve_source(self.source, options.sha256)
        checkpoint = read_checkpoint(path, options.preset, options.overrides(), step=options.step)
        write_checkpoint(checkpoint, self.destination, layout)
        _say(f"{self.destination}: {layout}, {checkpoint.preset or 'as configured'}")
        if self.verify:
            _say(f"verified: {verify(checkpoint, self.destination, layout)} tensors are equal to the bit")
        return 0


@dataclass(frozen=True)
class Inspect:
    """Say what a checkpoint is: family, preset, parameters by part, configuration, unused tensors."""

    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """A .pt or .safetensors file, a folder, a URL, or a Hugging Face repository."""
    preset: str | None = None
    """Architecture, where the names and shapes of the tensors do not tell."""

    def run(self) -> int:
        """Prints the report."""
        from zoe_jax.convert.inspection import inspect
        from zoe_jax.convert.source import resolve_source

        _say(str(inspect(resolve_source(self.source), self.preset)))
        return 0


@dataclass(frozen=True)
class Predict:
    """Depth in metres for images, folders of images, or patterns such as 'photos/*.jpg'."""

    checkpoint: Annotated[Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """A checkpoint of any layout, a run, a URL, or a preset for random parameters."""
    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE")]
    """Image files, folders, patterns."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of computation."""
    files: OmitArgPrefixes[FileOptions] = field(default_factory=FileOptions)
    model: OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)

    def run(self) -> int:
        """Predicts, prints a summary; 1 if an image failed."""
        from zoe_jax.depth_model import load

        options = self.model
        model = load(
            self.checkpoint,
            options.preset,
            options.overrides(),
            dtype=self.dtype,
            sha256=options.sha256,
            step=options.step,
        )
        summary = predict_files(model.predictor, self.images, self.files)
        _say(str(summary))
        return summary.exit_status


@dataclass(frozen=True)
class Evaluate:
    """Depth of checkpoints against the truth, on the data sets of the paper and your own: table, JSON, CSV, HTML."""

    checkpoints: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoints of any layout, runs, URLs; NAME=CHECKPOINT gives one another name in the report."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of computation."""
    evaluation: OmitArgPrefixes[EvaluateOptions] = field(default_factory=EvaluateOptions)
    model: OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    distribution: OmitArgPrefixes[Distribution] = field(default_factory=Distribution)

    def run(self) -> int:
        """Evaluates, prints a table; 1 if a record is damaged or a prediction is not finite."""
        import jax

        from zoe_jax.depth_model import load
        from zoe_jax.evaluate.command import checkpoint_names, evaluate, summary_table
        from zoe_jax.input.hosts import join_other_hosts
        from zoe_jax.input.progress import progress_bar

        join_other_hosts(self.distribution)
        given = self.model

        def load_model(source: str) -> Any:
            model = load(source, given.preset, given.overrides(), self.dtype, sha256=given.sha256, step=given.step)
            return model.config, model.params

        finished = evaluate(checkpoint_names(self.checkpoints), load_model, self.evaluation, progress_bar)
        if jax.process_index() == 0:
            _say(summary_table(finished, self.evaluation))
        return finished.exit_status


@dataclass(frozen=True)
class Tables:
    """The paper's Tables 1-4 with what was measured in their cells: Markdown, LaTeX, HTML."""

    tables: OmitArgPrefixes[TablesOptions]

    def run(self) -> int:
        """Writes the tables, and says where."""
        from zoe_jax.evaluate.tables import write_tables

        options = self.tables
        for path in write_tables(options.results, options.output_dir, options.formats, options.row):
            _say(str(path))
        return 0


@dataclass(frozen=True)
class Prepare:
    """Turn a data set, such as a folder of your own images and depth, into records to train on. --help lists them."""

    data_set: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")]
    """The data set; `zoe-jax prepare NAME --help` shows its options."""


@dataclass(frozen=True)
class Train:
    """Train an experiment, or go on with a run. `zoe-jax train NAME --help` shows its options, with their values."""

    experiment: Annotated[Positional[str], tyro.conf.arg(metavar="FILE|NAME")]
    """A .py file whose config() returns an Experiment, or the name of one of the paper, such as zoed_m12_n."""


@dataclass(frozen=True)
class ExportParams:
    """Write the parameters of a run, and nothing else of it, as a checkpoint of any layout."""

    run_dir: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    destination: Annotated[Positional[Path], tyro.conf.arg(metavar="DESTINATION")]
    """File (official) or folder (orbax, huggingface) to write; it must not exist."""
    to: Literal["orbax", "official", "huggingface"] | None = None
    """Layout to write; by default official where the destination ends in .pt or .pth, else orbax."""
    item: Literal["params", "ema"] | None = None
    """The parameters themselves, or their moving average; by default the average where the run keeps one, since that is
    what validation measures."""
    step: int | None = None
    """Which checkpoint; by default the best by validation, else the latest."""

    def run(self) -> int:
        """Exports."""
        from zoe_jax.convert.checkpoint import write_checkpoint
        from zoe_jax.train.checkpoint import read_run

        layout = self.to or _layout_of(self.destination)
        write_checkpoint(read_run(self.run_dir, self.item, self.step), self.destination, layout)
        _say(f"{self.destination}: {layout}, {self.item or 'parameters'} of {self.run_dir}")
        return 0


Command = (
    Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Tables, tyro.conf.subcommand("tables")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[ExportParams, tyro.conf.subcommand("export-params")]
)


GOES_ON = {
    "predict": "; the same command with --skip-existing goes on from what is finished",
    **dict.fromkeys(("evaluate", "prepare", "train"), "; the same command goes on from what is finished"),
}
"""What is said after Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one sub-command; 2 for anything that the user can mend, told in one line.

    128 + the signal's number after Ctrl-C, and where nobody reads on what is printed, as behind `| head`.
    """
    logging.basicConfig(level=logging.WARNING, format="zoe-jax: %(message)s", handlers=[_StandardError()], force=True)
    logging.getLogger("zoe_jax").setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(arguments)
    except ZoeJaxError as error:
        sys.stderr.write(f"zoe-jax: {error}\n")
        return 2
    except KeyboardInterrupt:
        goes_on = GOES_ON.get(next(iter(arguments), ""), "")
        sys.stderr.write(f"zoe-jax: interrupted{goes_on}\n")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # what is still buffered goes nowhere when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run(arguments: list[str]) -> int:
    try:
        command = _parse(arguments)
        _use_compilation_cache()
        return command.run()
    finally:
        sys.stdout.flush()  # a pipe that nobody reads is found out here, not while Python ends


class _StandardError(logging.StreamHandler[Any]):
    """Looks standard error up at each record, since a progress bar takes its place while it runs."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def _parse(arguments: list[str]) -> Any:
    if arguments[:1] == ["train"] and arguments[1:2] not in ([], ["-h"], ["--help"]):
        # an experiment is found before the options are read: its fields are the options
        from zoe_jax.train.command import parse_train

        return parse_train(arguments[1:])
    if arguments[:1] == ["prepare"]:
        # so is a data set, which any installed package may announce
        from zoe_jax.input.command import parse_prepare

        return parse_prepare(arguments[1:])
    description = "ZoeDepth in JAX: one image in, metres out."
    return tyro.cli(Command, prog="zoe-jax", description=description, args=arguments)


def _layout_of(destination: Path) -> str:
    return "official" if destination.suffix in (".pt", ".pth") else "orbax"


def _name_and_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ZoeJaxError(f"--set {text}: it should be NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _use_compilation_cache() -> None:
    """Keeps compiled networks between calls, unless the user's environment says where, or that it should not."""
    import jax

    from zoe_jax.downloads import cache_folder

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
