"""Tensors of a checkpoint file to parameters and back, totally: nothing unmatched, nothing filled twice."""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoe_jax.config import PRESETS, ZoeDepthConfig
from zoe_jax.convert.arrays import aligned_empty
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.families import FAMILIES
from zoe_jax.convert.rules import Family, Slot, beyond_pytorch
from zoe_jax.models.zoedepth import Params, parameter_shapes

log = logging.getLogger(__name__)

Tensors = Mapping[str, np.ndarray]


def tensor_shapes(family: Family, config: ZoeDepthConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that a file of the family must hold for a model of `config`."""
    shapes = parameter_shapes(config)
    # a broadcast scalar has every shape and no memory
    empty = {path: np.broadcast_to(np.float32(0), leaf.shape) for path, leaf in shapes.items()}
    return {slot.name: slot.layout.to_torch(slot.view(empty[slot.path])).shape for slot in family.slots(config)}


def detect(tensors: Tensors, source: str) -> tuple[Family, str]:
    """The family and the preset whose names and shapes the tensors match exactly.

    Raises:
        CheckpointError: none or several match; the message lists candidates and the first differences.
    """
    matches, closest = [], []
    for family in FAMILIES.values():
        for name, config in PRESETS.items():
            if beyond_pytorch(config):
                continue
            difference = first_difference(tensors, family, config)
            if difference is None:
                matches.append((family, name))
            else:
                closest.append((difference[0], f"{family.name} {name} ({difference[1]})"))
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(name for _, name in matches)
        raise CheckpointError(f"fits several presets, {names}; name one with preset=", file=source)
    candidates = "; ".join(text for _, text in sorted(closest, key=lambda c: c[0])[:3])
    raise CheckpointError(
        f"is no known model; the closest are {candidates}; else name a preset and overrides", file=source
    )


def detect_family(tensors: Tensors, config: ZoeDepthConfig, source: str) -> Family:
    """The family of a file whose architecture the caller names.

    Raises:
        CheckpointError: the file does not hold this architecture in any family; names the first difference.
    """
    differences = {}
    for family in FAMILIES.values():
        difference = first_difference(tensors, family, config)
        if difference is None:
            return family
        differences[difference] = family
    (_, text), family = min(differences.items(), key=lambda item: item[0][0])
    raise CheckpointError(f"does not fit the configuration as {family.name}: {text}", file=source)


def first_difference(tensors: Tensors, family: Family, config: ZoeDepthConfig) -> tuple[int, str] | None:
    """How many tensors are missing, left over or of another shape, and the first of them in words; None if none."""
    names = {slot.name for slot in family.slots(config)}
    missing = [name for name in sorted(names) if name not in tensors]
    extra = [name for name in tensors if name not in names and family.why_unused(name) is None]
    if missing or extra:
        parts = [f"{len(missing)} tensors missing, first {missing[0]}"] if missing else []
        parts += [f"{len(extra)} tensors unknown, first {extra[0]}"] if extra else []
        return len(missing) + len(extra), "; ".join(parts)
    misshapen = [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {shape}"
        for name, shape in tensor_shapes(family, config).items()
        if tuple(tensors[name].shape) != shape
    ]
    return (len(misshapen), misshapen[0]) if misshapen else None


def to_params(
    tensors: Tensors, family: Family, config: ZoeDepthConfig, source: str
) -> tuple[Params, dict[str, np.ndarray]]:
    """Parameters of `config.param_dtype` and the tensors that no model uses, as they stand in the file.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape or kind.
    """
    difference = first_difference(tensors, family, config)
    if difference is not None:
        raise CheckpointError(f"does not fit the configuration as {family.name}: {difference[1]}", file=source)
    by_path: dict[str, list[Slot]] = {}
    for slot in family.slots(config):
        by_path.setdefault(slot.path, []).append(slot)
    shapes = {path: leaf for path, leaf in parameter_shapes(config).items() if path.startswith(family.part)}
    if not by_path.keys() <= shapes.keys():
        raise AssertionError(f"the {family.name} table fills parameters that do not exist: {by_path.keys() - shapes}")

    def fill(path: str) -> np.ndarray:
        parameter = aligned_empty(shapes[path].shape, shapes[path].dtype)
        count = 0
        for slot in by_path.get(path, ()):
            tensor = tensors[slot.name]
            if not jnp.issubdtype(tensor.dtype, jnp.floating):
                raise CheckpointError(f"is {tensor.dtype}; it should be a float", file=source, tensor=slot.name)
            slot.view(parameter)[...] = slot.layout.to_jax(tensor)
            count += tensor.size
        if count != parameter.size:
            raise AssertionError(f"the {family.name} table fills {count} of {parameter.size} numbers of {path}")
        return parameter

    # reading and transposing a gigabyte is most of the work, and numpy leaves the interpreter free meanwhile
    with ThreadPoolExecutor() as pool:
        filled = zip(shapes, pool.map(fill, shapes), strict=True)
        params = {path: jax.device_put(parameter, may_alias=True) for path, parameter in filled}
    used = {slot.name for slot in family.slots(config)}
    unused = {name: np.array(tensor) for name, tensor in tensors.items() if name not in used}
    return unflatten_dict(params, sep="/"), unused


def to_tensors(
    params: Params, unused: Tensors, origin: str | None, family: Family, config: ZoeDepthConfig
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a file of the family, one by one in the order of its table.

    `origin` is the family that `unused` came from. If it is this one they follow as they were, so that the round
    trip is exact to the bit; else constants of the family take their place, and the residual unit that both
    families carry is translated.
    """
    leaves = flatten_dict(params, sep="/")
    for slot in family.slots(config):
        yield slot.name, np.ascontiguousarray(slot.layout.to_torch(slot.view(np.asarray(leaves[slot.path]))))
    if origin == family.name:
        yield from unused.items()
        return
    width = config.decoder.fusion_channels
    for conv in (1, 2):
        for leaf, shape in (("weight", (width, width, 3, 3)), ("bias", (width,))):
            theirs = f"{FAMILIES[origin].first_residual.format(conv=conv)}.{leaf}" if origin else ""
            ours = f"{family.first_residual.format(conv=conv)}.{leaf}"
            yield ours, unused[theirs] if theirs in unused else np.zeros(shape, np.float32)
    constants = family.constants(config)
    if constants:
        log.info("tensors that no model uses filled by the rules of the %s family: %d", family.name, len(constants))
    yield from constants.items()
