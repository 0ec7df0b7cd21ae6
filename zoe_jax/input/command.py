"""The sub-command `prepare`; `zoe_jax.cli` hands it its arguments."""

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import tyro
from tyro.conf import OmitArgPrefixes

from zoe_jax.input.prepare import (
    Preparation,
    PreparationError,
    default_data_dir,
    find_preparation,
    preparation_names,
)
from zoe_jax.input.progress import progress_bar
from zoe_jax.whole_file import write_whole

log = logging.getLogger(__name__)

Options = TypeVar("Options")

PROGRAM = "zoe-jax prepare"


@dataclass(frozen=True)
class CommonOptions:
    """What every data set asks."""

    data_dir: Path | None = None
    """Where data sets lie; by default the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    jobs: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    """How many threads or processes work; the result does not depend on it."""
    report: Path | None = None
    """Also write the report to this file, as JSON, with all odd files."""

    def __post_init__(self) -> None:
        """Raises PreparationError where nobody would work."""
        if self.jobs < 1:
            raise PreparationError(f"--jobs is {self.jobs}; at least 1 must work")


@dataclass(frozen=True)
class PrepareOptions(Generic[Options]):
    """The options of one data set, and those that all have."""

    data_set: OmitArgPrefixes[Options]
    common: OmitArgPrefixes[CommonOptions]


@dataclass(frozen=True)
class Prepare:
    """One preparation with its options, ready to run."""

    preparation: Preparation[Any]
    options: PrepareOptions[Any]

    def run(self) -> int:
        """Prepares, and says what came of it."""
        options = self.options.common
        data_dir = (options.data_dir or default_data_dir()).expanduser()
        summary = self.preparation.prepare(self.options.data_set, data_dir, options.jobs, progress_bar)
        sys.stdout.write(f"{summary}\n")
        if options.report is not None:
            write_whole(options.report, json.dumps(summary.to_json(), indent=1) + "\n")
        return 0


def parse_prepare(arguments: Sequence[str]) -> Prepare:
    """The arguments behind `zoe-jax prepare`: the data set is found first, since its fields are the options.

    Raises:
        PreparationError: no data set is named, or there is none of this name.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        _show_data_sets()
        raise SystemExit(0)
    if not arguments or arguments[0].startswith("-"):
        known = ", ".join(preparation_names()) or "none; is zoe_jax installed?"
        raise PreparationError(f"name a data set first: {PROGRAM} NAME [options]; there are: {known}")
    preparation = find_preparation(arguments[0])
    options = tyro.cli(
        PrepareOptions[preparation.options],
        prog=f"{PROGRAM} {preparation.name}",
        description=f"{preparation.description}\n\n{preparation.documentation}".rstrip(),
        args=list(arguments[1:]),
    )
    return Prepare(preparation, options)


def _show_data_sets() -> None:
    """The list of data sets, in the look of the other help texts; one that cannot be loaded hides no other."""
    commands: dict[str, Callable[[], None]] = {}
    for name in preparation_names():
        try:
            description = find_preparation(name).description
        except PreparationError as error:
            description = str(error)
        commands[name] = _documented(description)
    if not commands:
        raise PreparationError("no package announces a data set; is zoe_jax installed?")
    description = f"Turn a data set into records to train on. `{PROGRAM} NAME --help` shows the options of one."
    tyro.extras.subcommand_cli_from_dict(commands, prog=PROGRAM, description=description, args=["--help"])


def _documented(description: str) -> Callable[[], None]:
    def command() -> None: ...

    command.__doc__ = description
    return command
