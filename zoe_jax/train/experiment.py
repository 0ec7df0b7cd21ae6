"""An experiment: everything that decides the numbers of a training run, as one JSON-able dataclass in one file."""

import importlib
import importlib.util
import inspect
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from zoe_jax import config as configs
from zoe_jax.config import ConfigError, ZoeDepthConfig
from zoe_jax.input.config import DataConfig
from zoe_jax.input.source import epoch_steps
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.sharding import ShardingConfig
from zoe_jax.train.step import ValidationConfig

EXPERIMENTS_PACKAGE = "zoe_jax_experiments"


@dataclass(frozen=True)
class Experiment:
    """A training run: what is trained, on what, how, for how long, and what is written down on the way."""

    name: str
    model: ZoeDepthConfig = field(default_factory=ZoeDepthConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sharding: ShardingConfig = field(default_factory=ShardingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    batch_size: int = 16
    """Examples in one update, over all devices and micro-batches together."""
    steps: int | None = None
    """Length of the run and of the schedule, in updates; None means `epochs` times the data."""
    epochs: int = 5
    """Read where `steps` is None."""
    seed: int = 43
    """Of initial parameters, order of the data, and dropout."""
    init: str | None = None
    """What a new run starts from: a checkpoint of any layout, or a run; None means random parameters."""
    init_part: Literal["model", "relative", "encoder"] = "model"
    """What is taken of it: all, encoder and decoder (a relative-depth model), or the encoder (timm's BEiT too)."""
    validate_every: int = 0
    """Steps from one validation to the next, and after the last step; 0 never validates."""
    checkpoint_every: int = 1000
    """Steps from one checkpoint to the next; validations and the last step make one too."""
    keep_latest: int = 1
    """Checkpoints kept because they are the last."""
    keep_best: int = 1
    """Checkpoints kept for their abs_rel in validation."""
    max_nonfinite_in_a_row: int = 10
    """After so many steps without a finite loss and gradient, each of which changed nothing, the run stops."""
    log_every: int = 50
    """Steps from one measurement of speed to the next."""
    image_panels: int = 4
    """Validation images that are shown beside their depth."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        for name in ("batch_size", "epochs", "checkpoint_every", "keep_latest", "max_nonfinite_in_a_row", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("validate_every", "keep_best", "image_panels", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it cannot be negative")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; it must be at least 1, or None for {self.epochs} epochs")
        if self.batch_size % self.optimizer.accumulation_steps:
            raise ConfigError(
                f"batch_size {self.batch_size} does not divide into {self.optimizer.accumulation_steps} micro-batches"
            )
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ConfigError(f"name is {self.name!r}; it can have letters, digits, and any of _ - . in it")

    def total_steps(self, n_examples: int) -> int:
        """Updates of the whole run over a data set of this size."""
        return self.epochs * epoch_steps(n_examples, self.batch_size) if self.steps is None else self.steps


FREE_FIELDS = ("sharding", "keep_latest", "keep_best", "log_every", "image_panels", "init", "init_part")
"""Fields that may change when a run goes on: they decide where it runs and what is kept, or were used at its start."""
FREE_FIELDS_OF_DATA = ("data_dir", "needs", "workers", "prefetch")
"""The same of `Experiment.data`: they have no influence on what is read."""


def differences(before: Experiment, after: Experiment) -> list[str]:
    """What keeps a run of one configuration from going on under another, as `field: value -> value`."""
    free_of_data = [f"data.{name}" for name in FREE_FIELDS_OF_DATA]
    return [
        f"{path}: {old!r} -> {new!r}"
        for path, old, new in _unequal(configs.to_dict(before), configs.to_dict(after), "")
        if path.split(".")[0] not in FREE_FIELDS and path not in free_of_data
    ]


def read_experiment(tree: Any) -> Experiment:
    """The inverse of `zoe_jax.config.to_dict`.

    Raises:
        ConfigError: an unknown field, or a value of the wrong type.
    """
    return configs.from_dict(tree, Experiment)


def find_experiment(file_or_name: str, init: str | None = None) -> Experiment:
    """The experiment of a Python file, or that of the paper with this name (`zoed_m12_n`).

    A file is the user's own code, and it is run: its `config()` returns the experiment. One that is to suit any
    checkpoint has a parameter of the name, `config(init)`, and is told which one the run starts from.

    Raises:
        ConfigError: there is no such file or name, or it has no `config()` that returns an `Experiment`.
    """
    module = _load_file(Path(file_or_name)) if file_or_name.endswith(".py") else _load_name(file_or_name)
    config = getattr(module, "config", None)
    if not callable(config):
        raise ConfigError(f"{file_or_name}: has no function config() that returns an Experiment")
    experiment = config(init) if "init" in inspect.signature(config).parameters else config()
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"{file_or_name}: config() returns {type(experiment).__name__}; it should be an Experiment")
    return experiment


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"{path}: there is no such experiment file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_name(name: str) -> ModuleType:
    module = f"{EXPERIMENTS_PACKAGE}.{name}"
    if not re.fullmatch(r"[a-zA-Z]\w*(\.[a-zA-Z]\w*)*", name):
        raise ConfigError(f"{name!r} is neither the name of an experiment nor a file that ends in .py")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ConfigError(
            f"there is no experiment {name!r} among those installed; give a file that ends in .py"
        ) from None


def _unequal(before: Any, after: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(before, tuple) and isinstance(after, tuple) and all(isinstance(b, dict) for b in before + after):
        before, after = ({str(i): value for i, value in enumerate(values)} for values in (before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        pairs = [(f"{path}.{name}".lstrip("."), before.get(name), after.get(name)) for name in names]
        return [difference for name, old, new in pairs for difference in _unequal(old, new, name)]
    return [] if before == after else [(path, before, after)]


assert set(FREE_FIELDS) <= {f.name for f in fields(Experiment)}
assert set(FREE_FIELDS_OF_DATA) <= {f.name for f in fields(DataConfig)}
