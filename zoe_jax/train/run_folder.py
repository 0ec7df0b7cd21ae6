"""The folder of a run: its configuration, written once and defended against others."""

import json
import logging
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from zoe_jax import config as configs
from zoe_jax.config import ConfigError
from zoe_jax.convert.orbax_folder import FORMAT_VERSION
from zoe_jax.train.experiment import Experiment, differences, read_experiment
from zoe_jax.whole_file import write_whole

log = logging.getLogger(__name__)


def open_run(run: Path, experiment: Experiment, *, allow_config_change: bool = False) -> None:
    """Makes the folder of a new run, or checks that a run which is there has the same configuration.

    `RUN/config.json` holds the version of the layout, the model (what `zoe_jax.load` reads) and the experiment.

    Args:
        run: the run's folder.
        experiment: what is about to be trained.
        allow_config_change: go on under another configuration, which takes the place of the old one.

    Raises:
        ConfigError: the run has another configuration; the message lists every field that differs.
        ZoeJaxError: `config.json` cannot be written.
    """
    before = read_run_experiment(run) if (run / "config.json").exists() else None
    _wait_for_all_hosts("zoe_jax read config.json")
    if before is not None and (different := differences(before, experiment)):
        listed = "; ".join(different)
        if not allow_config_change:
            raise ConfigError(
                f"{run} is a run of another configuration ({listed}): choose another --run-dir, or add "
                "--allow-config-change to go on under the new one"
            )
        log.warning("%s goes on under another configuration: %s", run, listed)
    if before != experiment and jax.process_index() == 0:
        description = {
            "version": FORMAT_VERSION,
            "model": configs.to_dict(experiment.model),
            "experiment": configs.to_dict(experiment),
        }
        write_whole(run / "config.json", json.dumps(description, indent=2) + "\n")
    _wait_for_all_hosts("zoe_jax wrote config.json")


def read_run_experiment(run: Path) -> Experiment:
    """The experiment of a run.

    Raises:
        ConfigError: the folder is no run, or one of another release.
    """
    file = run / "config.json"
    try:
        description: Any = json.loads(file.read_text(encoding="utf-8"))
        version, experiment = description["version"], description["experiment"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: is not the config.json of a run: {error!r}") from None
    if version != FORMAT_VERSION:
        raise ConfigError(f"{file}: is of version {version}; this release reads {FORMAT_VERSION}")
    try:
        return read_experiment(experiment)
    except ConfigError as error:
        raise ConfigError(f"{file}: describes no experiment of this release: {error}") from None


def _wait_for_all_hosts(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
