"""The sub-command `train`; `zoe_jax.cli` hands it its arguments."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro
from tyro.conf import AvoidSubcommands, Positional

from zoe_jax.config import ConfigError
from zoe_jax.train.dry_run import describe_run
from zoe_jax.train.experiment import Experiment, find_experiment
from zoe_jax.train.loop import train

log = logging.getLogger(__name__)

USAGE = "zoe-jax train FILE|NAME [--run-dir RUN] [--dry-run] [overrides such as --optimizer.learning-rate 3e-4]"


@dataclass(frozen=True)
class Distribution:
    """Where the other hosts are. A SLURM job, a TPU pod, GKE and the like are recognised without any of this."""

    coordinator: str | None = None
    """Address and port of the first host, as in 10.0.0.1:8476."""
    num_processes: int | None = None
    """How many processes there are, usually one a host."""
    process_id: int | None = None
    """Which of them this is, from 0."""


@dataclass(frozen=True)
class Train:
    """Train an experiment, or go on with a run: a .py file whose config() returns one, or a name such as zoed_m12_n."""

    file_or_name: Annotated[Positional[str], tyro.conf.arg(metavar="FILE|NAME")]
    """The experiment; it comes first, since the options below show its values."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    distribution: Annotated[Distribution, tyro.conf.arg(name="")] = Distribution()
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


def join_other_hosts(options: Distribution) -> None:
    """Connects the processes of a job, by hand or as the cluster's environment says; does nothing where there is none.

    Raises:
        ConfigError: the addresses given by hand are incomplete.
    """
    given = (options.coordinator, options.num_processes, options.process_id)
    if any(value is not None for value in given):
        if None in given:
            raise ConfigError("--coordinator, --num-processes and --process-id go together: give all three, or none")
        jax.distributed.initialize(options.coordinator, options.num_processes, options.process_id)
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        # what JAX says where no cluster is recognised
        if "coordinator_address should be defined" not in str(error):
            raise ConfigError(f"this cluster's environment cannot be used: {error}") from error
    except RuntimeError as error:
        # too late, as in a notebook; the command itself touches no device before
        log.warning("this process trains alone: %s", str(error).splitlines()[0])
