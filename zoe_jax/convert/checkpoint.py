"""A checkpoint of any family in memory: read from and written to every layout this project knows."""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from zoe_jax import config as configs
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert import orbax_folder
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.families import FAMILIES
from zoe_jax.convert.families.beit import BEIT, is_beit
from zoe_jax.convert.families.huggingface import HUGGINGFACE, apply_config_json, config_json
from zoe_jax.convert.families.midas import MIDAS
from zoe_jax.convert.families.official import OFFICIAL
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.convert.rules import Family
from zoe_jax.convert.safetensors_file import read_safetensors, write_safetensors
from zoe_jax.convert.tensors import Tensors, detect, detect_family, to_params, to_tensors
from zoe_jax.convert.torch_file import read_torch, write_torch
from zoe_jax.models.zoedepth import Params

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Parameters with their configuration, and what an exact conversion back needs."""

    config: ZoeDepthConfig
    params: Params
    unused: Tensors
    origin: Origin
    preset: str | None = None
    """Name of the preset that the file matched, if it was found so."""


@dataclass(frozen=True)
class TensorFile:
    """The tensors of a PyTorch file or folder, with what else the file said."""

    tensors: Tensors
    origin: Origin
    config_json: Mapping[str, Any] | None = None


def read_tensor_file(path: Path) -> TensorFile:
    """A `.pt` or `.safetensors` file, or a folder as Hugging Face lays it out, also by the name of its index.

    Raises:
        CheckpointError: it is none of these, or damaged.
    """
    if not path.exists():
        raise CheckpointError("does not exist", file=path)
    if path.is_dir() or path.suffix in (".safetensors", ".json"):
        tensors = read_safetensors(path)
        file = (path if path.is_dir() else path.parent) / "config.json"
        return TensorFile(tensors, Origin(), _read_json(file) if file.is_file() else None)
    torch_file = read_torch(path)
    return TensorFile(torch_file.tensors, Origin(wrapper=torch_file.wrapper, prefix=torch_file.prefix))


def read_checkpoint(
    path: Path,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    param_dtype: str | None = None,
    step: int | None = None,
) -> Checkpoint:
    """Reads a checkpoint of any layout.

    Args:
        path: `.pt`, `.safetensors`, a Hugging Face folder, or a folder of ours (a converted model or a run).
        preset: the architecture, where names and shapes do not tell.
        overrides: configuration fields by name.
        param_dtype: type of the parameters; by default that of the file.
        step: of a folder of ours; by default the best, else the latest.

    Raises:
        CheckpointError: the file is damaged, hostile, or of no known model.
        ConfigError: an override that does not exist.
    """
    overrides = dict(overrides or {})
    if orbax_folder.is_folder(path):
        config, origin = orbax_folder.read_description(path)
        if preset is not None:
            raise CheckpointError(f"carries its own configuration; leave out preset {preset!r}", file=path)
        config = configs.override(config, overrides | ({"param_dtype": param_dtype} if param_dtype else {}))
        step = orbax_folder.choose_step(path, step)
        params = orbax_folder.read_params(path, config, step)
        return Checkpoint(config, params, orbax_folder.read_unused(path, step), origin)

    file = read_tensor_file(path)
    family, preset, config = identify(file, path, preset, overrides)
    param_dtype = param_dtype or _float_type(file.tensors[slot.name] for slot in family.slots(config))
    config = replace(config, param_dtype=param_dtype)
    params, unused = to_params(file.tensors, family, config, str(path))
    return Checkpoint(config, params, unused, replace(file.origin, family=family.name), preset)


def read_encoder(path: Path, config: ZoeDepthConfig) -> Checkpoint:
    """A checkpoint for its encoder's sake: of a whole model, or timm's BEiT, of which the parameters have only that.

    Args:
        path: as for `read_checkpoint`.
        config: the model that the encoder is for.

    Raises:
        CheckpointError: as `read_checkpoint`, or the BEiT is not that of `config`.
    """
    if not orbax_folder.is_folder(path):
        tensors = read_tensor_file(path).tensors
        if is_beit(tensors):
            # what stands on the encoder may be what no file of PyTorch has
            alone = ZoeDepthConfig(
                config.encoder, head=None, network_size=config.network_size, param_dtype=config.param_dtype
            )
            params, unused = to_params(tensors, BEIT, alone, str(path))
            return Checkpoint(alone, params, unused, Origin())
    return read_checkpoint(path, param_dtype=config.param_dtype)


def identify(
    file: TensorFile, path: Path, preset: str | None = None, overrides: Mapping[str, Any] | None = None
) -> tuple[Family, str, ZoeDepthConfig]:
    """Family, preset and configuration of a file: of the preset if one is named, else by names and shapes.

    Raises:
        CheckpointError: the file does not fit, or fits no preset or several.
        ConfigError: an override that does not exist.
    """
    overrides = overrides or {}
    if is_beit(file.tensors):
        raise CheckpointError("is an encoder only; a training takes it with --init-part encoder", file=path)
    if preset is not None:
        config = configs.override(configs.preset(preset), overrides)
        return detect_family(file.tensors, config, str(path)), preset, config
    family, preset = detect(file.tensors, str(path))
    config = configs.preset(preset)
    if file.config_json is not None:
        config = _honour_config_json(config, file.config_json, path, overrides)
    return family, preset, configs.override(config, overrides)


def write_checkpoint(checkpoint: Checkpoint, destination: Path, layout: str) -> None:
    """Writes a checkpoint as `orbax`, `official` or `huggingface`, whole or not at all.

    `official` is one `.pt` file as the original code reads it: ZoeDepth's, or MiDaS's for a relative-depth model.

    Raises:
        CheckpointError: the destination exists or cannot be written, or the layout cannot hold this model.
    """
    if destination.exists():
        raise CheckpointError("exists already; remove it or choose another name", file=destination)
    if layout == "orbax":
        orbax_folder.write_folder(
            destination, checkpoint.config, checkpoint.params, checkpoint.unused, checkpoint.origin
        )
    elif layout == "official":
        family = _torch_family(checkpoint.config)
        origin = checkpoint.origin
        wrapper, prefix = (origin.wrapper, origin.prefix) if origin.family == family else ("model", "")
        write_torch(destination, dict(tensors_of(checkpoint, family)), wrapper=wrapper, prefix=prefix)
    elif layout == "huggingface":
        _write_huggingface(checkpoint, destination)
    else:
        raise CheckpointError(f"there is no layout {layout!r}; there are orbax, official, huggingface")


def tensors_of(checkpoint: Checkpoint, family: str) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors that a file of the family holds for this checkpoint."""
    return to_tensors(
        checkpoint.params, checkpoint.unused, checkpoint.origin.family, FAMILIES[family], checkpoint.config
    )


def verify(checkpoint: Checkpoint, destination: Path, layout: str) -> int:
    """Reads the destination back and compares every tensor, bit by bit; returns how many.

    Raises:
        CheckpointError: a tensor is missing or differs.
    """
    if layout == "orbax":
        wanted, written = (
            {name: np.asarray(leaf) for name, leaf in flatten_dict(c.params, sep="/").items()} | dict(c.unused)
            for c in (checkpoint, read_checkpoint(destination))
        )
    else:
        family = HUGGINGFACE.name if layout == HUGGINGFACE.name else _torch_family(checkpoint.config)
        wanted = dict(tensors_of(checkpoint, family))
        written = dict(read_tensor_file(destination).tensors)
    for name in wanted.keys() ^ written.keys():
        raise CheckpointError("is missing" if name in wanted else "is one too many", file=destination, tensor=name)
    for name, tensor in wanted.items():
        other = written[name]
        if tensor.dtype != other.dtype or tensor.shape != other.shape or tensor.tobytes() != other.tobytes():
            raise CheckpointError("differs from what was converted", file=destination, tensor=name)
    return len(wanted)


def _torch_family(config: ZoeDepthConfig) -> str:
    return MIDAS.name if config.head is None else OFFICIAL.name


def _write_huggingface(checkpoint: Checkpoint, destination: Path) -> None:
    description = json.dumps(config_json(checkpoint.config), indent=2) + "\n"
    partial = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        write_safetensors(partial, dict(tensors_of(checkpoint, HUGGINGFACE.name)))
        (partial / "config.json").write_text(description)
        partial.rename(destination)
    except CheckpointError as error:  # which names the partial folder
        raise CheckpointError(error.problem, file=destination, tensor=error.tensor) from error
    except OSError as error:
        raise CheckpointError(f"cannot be written: {error.strerror}", file=destination) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _honour_config_json(
    config: ZoeDepthConfig, json_config: Mapping[str, Any], path: Path, overrides: Mapping[str, Any]
) -> ZoeDepthConfig:
    told = apply_config_json(config, json_config, str(path))
    assert told.head is not None
    assert config.head is not None
    if told.head.max_depth_m != config.head.max_depth_m and not {"max_depth_m", "head.max_depth_m"} & set(overrides):
        log.warning(
            "%s: config.json says max_depth %s m where the paper evaluates with %s m; the file is honoured, "
            "overrides={'max_depth_m': %s} changes it",
            path,
            told.head.max_depth_m[0],
            config.head.max_depth_m[0],
            config.head.max_depth_m[0],
        )
    return told


def _float_type(used: Iterable[np.ndarray]) -> str:
    """The common type of the parameters, where JAX has it; float32 for a mixture."""
    types = {tensor.dtype.name for tensor in used}
    if types == {"float64"} and jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        return "float64"
    return "bfloat16" if types == {"bfloat16"} else "float32"


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"is not JSON: {error}", file=file) from None
    if not isinstance(content, dict):
        raise CheckpointError("holds no JSON object", file=file)
    return content
