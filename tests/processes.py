"""Tests in several processes: how they are started, what each is told, and that none is left."""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
"""Eight devices on two busy cores may wait for each other longer than XLA's 40 s."""


def free_port() -> int:
    """One of this machine that nobody listens at; skips the test where its processes would not find each other."""
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except OSError as error:
        pytest.skip(f"processes find each other by this machine's name, {socket.gethostname()}: {error}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_processes(module: str, *arguments: object, devices: int = 1, processes: int = 1, status: int = 0) -> None:
    """Runs `python -m module` in so many processes, which share the devices; none of them outlives the call.

    Raises:
        AssertionError: one ended with another status, with what it said.
    """
    options = ("--devices", devices // processes, "--processes", processes)
    options += ("--port", free_port()) if processes > 1 else ()
    command = [sys.executable, "-m", module, *map(str, (*arguments, *options))]
    with contextlib.ExitStack() as on_exit:
        started = []
        for process in range(processes):
            child = subprocess.Popen(
                [*command, "--process", str(process)],
                cwd=Path(__file__).parents[1],
                env=os.environ | {"XLA_FLAGS": PATIENCE},
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(on_exit.enter_context(child))
            on_exit.callback(child.kill)
        for child in started:
            _, errors = child.communicate(timeout=900)
            assert child.returncode == status, errors[-4000:]


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What one of those processes does first: reads its arguments, takes its devices and meets the others."""
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", arguments.devices)
    jax.config.update("jax_disable_most_optimizations", True)
    if arguments.processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{arguments.port}", arguments.processes, arguments.process)
    return arguments
