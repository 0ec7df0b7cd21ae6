"""The sub-command `train`; `zoe_jax.cli` hands it its arguments."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import AvoidSubcommands, Positional

from zoe_jax.config import ConfigError
from zoe_jax.input.hosts import Distribution, join_other_hosts
from zoe_jax.train.dry_run import describe_run
from zoe_jax.train.experiment import Experiment, find_experiment
from zoe_jax.train.loop import train

log = logging.getLogger(__name__)

USAGE = "zoe-jax train FILE|NAME [--run-dir RUN] [--dry-run] [overrides such as --optimizer.learning-rate 3e-4]"


@dataclass(frozen=True)
class Train:
    """Train an experiment, or go on with a run: a .py file whose config() returns one, or a name such as zoed_m12_n."""

    file_or_name: Annotated[Positional[str], tyro.conf.arg(metavar="FILE|NAME")]
    """The experiment; it comes first, since the options below show its values."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    distribution: Annotated[Distribution, tyro.conf.arg(name="")] = field(default_factory=Distribution)
    run_dir: Path | None = None
    """Folder of the run; by default runs/NAME. A run that is there goes on."""
    dry_run: bool = False
    """Only say what would be trained: parameters, memory, rules, data."""
    allow_config_change: bool = False
    """Go on with a run under another configuration than it was begun with."""

    def run(self) -> int:
        """Trains; 128 + the signal's number where a signal ended it, so 143 after SIGTERM."""
        if self.dry_run:
            sys.stdout.write(describe_run(self.experiment))
            return 0
        join_other_hosts(self.distribution)
        run = self.run_dir or Path("runs") / self.experiment.name
        finished = train(self.experiment, run, allow_config_change=self.allow_config_change)
        if finished.stopped_by is None:
            return 0
        log.warning("%s after step %d: the same command goes on from there", finished.stopped_by.name, finished.step)
        return 128 + finished.stopped_by


def parse_train(arguments: Sequence[str]) -> Train:
    """The arguments behind `zoe-jax train`: the experiment is found first, since its fields are the options.

    Raises:
        ConfigError: no experiment is named, there is none of this name, or an override cannot be.
    """
    if not arguments or arguments[0].startswith("-"):
        raise ConfigError(f"name an experiment first: {USAGE}")
    experiment = find_experiment(arguments[0], _checkpoint_named(arguments))
    return tyro.cli(
        Train,
        prog="zoe-jax train",
        args=list(arguments),
        default=Train(arguments[0], experiment),
        config=(AvoidSubcommands,),
    )


def _checkpoint_named(arguments: Sequence[str]) -> str | None:
    """The value of `--init`, which an experiment may want to know before its fields become options."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        option, equals, value = argument.partition("=")
        if option == "--init":
            return value if equals else following
    return None
