"""The processes of one job on several hosts: how they find each other."""

import logging
from dataclasses import dataclass

import jax

from zoe_jax.config import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Distribution:
    """Where the other hosts are. A SLURM job, a TPU pod, GKE and the like are recognised without any of this."""

    coordinator: str | None = None
    """Address and port of the first host, as in 10.0.0.1:8476."""
    num_processes: int | None = None
    """How many processes there are, usually one a host."""
    process_id: int | None = None
    """Which of them this is, from 0."""


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
        log.warning("this process works alone: %s", str(error).splitlines()[0])
