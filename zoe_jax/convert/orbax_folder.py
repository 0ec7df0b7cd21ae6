"""Our own checkpoint folder: `config.json` and Orbax items under `checkpoints/<step>/`; a training run is one too.

A converted model has the items `params` and `unused` (tensors that no model uses, kept for exact round trips) at
step 0; a run has `params`, `opt_state`, `data` and, where it keeps a moving average of the parameters, `ema` at many
steps. Validation measures the average where there is one, and so that is what a run is read as.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict

from zoe_jax import config as configs
from zoe_jax.config import ConfigError, ZoeDepthConfig
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.tensors import Tensors
from zoe_jax.models.zoedepth import Params, parameter_shapes

FORMAT_VERSION = 1
BEST_METRIC = "abs_rel"

Item = Literal["params", "ema"]
"""The parameters of a run themselves, or their moving average."""


@dataclass(frozen=True)
class Origin:
    """Where converted parameters came from, so that a conversion back gives the same file."""

    family: str | None = None
    wrapper: str = "model"
    """Key that holds the state dict in a `.pt` file; empty for a bare one."""
    prefix: str = ""


def is_folder(path: Path) -> bool:
    """Whether the path is a folder of ours."""
    return (path / "config.json").is_file() and (path / "checkpoints").is_dir()


def write_folder(path: Path, config: ZoeDepthConfig, params: Params, unused: Tensors, origin: Origin) -> None:
    """Writes a converted model; the folder appears under its name only when it is whole.

    Raises:
        CheckpointError: the folder exists, or cannot be written.
    """
    if path.exists():
        raise CheckpointError("exists already; remove it or choose another name", file=path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        items: dict[str, Any] = {"params": ocp.args.StandardSave(params)}
        if unused:
            items["unused"] = ocp.args.StandardSave(_nested(unused))
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
        with ocp.CheckpointManager((partial / "checkpoints").absolute(), options=options) as manager:
            manager.save(0, args=ocp.args.Composite(**items))
        description = {"version": FORMAT_VERSION, "model": configs.to_dict(config), "origin": asdict(origin)}
        (partial / "config.json").write_text(json.dumps(description, indent=2) + "\n")
        partial.rename(path)
    except (OSError, ValueError) as error:  # Orbax's storage layer has ValueError for a full disk
        raise CheckpointError(f"cannot be written: {_first_line(error)}", file=path) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_description(path: Path) -> tuple[ZoeDepthConfig, Origin]:
    """Configuration and origin of a folder.

    Raises:
        CheckpointError: config.json is damaged, or of a version this release does not read.
    """
    file = path / "config.json"
    try:
        description = json.loads(file.read_text())
        version = description["version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(f"is of version {version}; this release reads {FORMAT_VERSION}", file=file)
        return configs.from_dict(description["model"]), Origin(**description.get("origin") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"is not the config.json of a zoe_jax checkpoint: {error!r}", file=file) from None
    except ConfigError as error:
        raise CheckpointError(f"describes no model of this release: {error}", file=file) from None


def all_steps(path: Path) -> tuple[int, ...]:
    """The steps of the finished checkpoints, ascending."""
    with _manager(path) as manager:
        return tuple(sorted(manager.all_steps()))


def choose_step(path: Path, step: int | None = None) -> int:
    """The given step, else the best by validation abs_rel, else the latest.

    Raises:
        CheckpointError: there is no such checkpoint, or none.
    """
    with _manager(path) as manager:
        steps, best = sorted(manager.all_steps()), manager.best_step()
    if not steps or (step is not None and step not in steps):
        problem = "has no checkpoint" if step is None else f"has no checkpoint of step {step}; it has {steps}"
        raise CheckpointError(problem, file=path)
    if step is None:
        step = steps[-1] if best is None else best
    return step


@contextlib.contextmanager
def _manager(path: Path) -> Iterator[ocp.CheckpointManager]:
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics[BEST_METRIC],
        best_mode="min",
        read_only=True,
        create=False,
        save_interval_steps=0,
    )
    with _quiet_absl(), ocp.CheckpointManager((path / "checkpoints").absolute(), options=options) as manager:
        yield manager


def read_params(
    path: Path, config: ZoeDepthConfig, step: int, item: Item | None = None, sharding: Any = None
) -> Params:
    """Parameters of the step in `config.param_dtype`, whatever type and mesh they were saved from.

    Args:
        path: the folder.
        config: the model; its parameter shapes must be those of the folder.
        step: as `choose_step` gave it.
        item: which of the two; by default `ema` where there is one.
        sharding: one for all leaves, or a tree of shardings; the default device otherwise.

    Raises:
        CheckpointError: the item is missing, damaged, or holds other parameters.
    """
    saved = path / "checkpoints" / str(step)
    folder = saved / (item or ("ema" if (saved / "ema").is_dir() else "params"))
    shapes = parameter_shapes(config)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer, _quiet_absl():
        try:
            stored: Any = flatten_dict(checkpointer.metadata(folder.absolute()).item_metadata.tree, sep="/")
            found = {key: tuple(leaf.shape) for key, leaf in stored.items()}
        except Exception as error:  # Orbax raises whatever its storage layer raised
            raise CheckpointError(f"cannot be read: {_first_line(error)}", file=folder) from error
        wanted = {key: leaf.shape for key, leaf in shapes.items()}
        for key in sorted(found.keys() ^ wanted.keys()):
            raise CheckpointError("is missing" if key in wanted else "belongs to no model", file=folder, tensor=key)
        for key, shape in wanted.items():
            if found[key] != shape:
                raise CheckpointError(f"has shape {found[key]} instead of {shape}", file=folder, tensor=key)
        tree = unflatten_dict(shapes, sep="/")
        shardings = sharding if isinstance(sharding, dict) else jax.tree.map(lambda _: sharding, tree)
        target = jax.tree.map(lambda s, d: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=d), tree, shardings)
        try:
            return checkpointer.restore(folder.absolute(), target)
        except Exception as error:  # as above
            raise CheckpointError(f"cannot be read: {_first_line(error)}", file=folder) from error


def read_unused(path: Path, step: int) -> dict[str, np.ndarray]:
    """The tensors that no model uses; none for a run."""
    folder = path / "checkpoints" / str(step) / "unused"
    if not folder.is_dir():
        return {}
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            return {".".join(key): np.asarray(value) for key, value in _flat(checkpointer.restore(folder.absolute()))}
        except Exception as error:  # as above
            raise CheckpointError(f"cannot be read: {_first_line(error)}", file=folder) from error


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Orbax warns that an item read on its own has no metadata of a whole step."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _nested(tensors: Tensors) -> dict[str, Any]:
    return unflatten_dict({tuple(name.split(".")): np.asarray(tensor) for name, tensor in tensors.items()})


def _flat(tree: dict[str, Any]) -> Any:
    return flatten_dict(tree).items()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
