"""The processes of one job on several hosts: how they find each other."""

import logging
import re
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
        ConfigError: what is given by hand is incomplete or cannot be.
    """
    if options != Distribution():
        jax.distributed.initialize(*_checked(options))
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


def _checked(options: Distribution) -> tuple[str, int, int]:
    coordinator, processes, process = options.coordinator, options.num_processes, options.process_id
    if coordinator is None or processes is None or process is None:
        raise ConfigError("--coordinator, --num-processes and --process-id go together: give all three, or none")
    if not re.fullmatch(r".+:\d+", coordinator):
        raise ConfigError(f"--coordinator is {coordinator}; it should be an address and a port, as in 10.0.0.1:8476")
    if not 0 <= process < processes:
        raise ConfigError(f"--process-id is {process} of {processes} processes; they are counted from 0")
    return coordinator, processes, process
