"""What a checkpoint is, told without loading it: family, preset, parameters by part, configuration, unused tensors."""

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from zoe_jax import config as configs
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert import orbax_folder
from zoe_jax.convert.checkpoint import identify, read_tensor_file
from zoe_jax.convert.families import FAMILIES
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.models.zoedepth import parameter_shapes


@dataclass(frozen=True)
class Inspection:
    """Facts of one checkpoint; `str()` of it is the report."""

    path: Path
    layout: str
    preset: str | None
    """The preset that the configuration is, apart from the type of its parameters and what the file overrides."""
    config: ZoeDepthConfig
    origin: Origin
    parts: dict[str, int]
    """Number of parameters of encoder, decoder, head, ..."""
    unused: dict[str, str]
    """Tensors that no model uses, with the reason."""
    steps: tuple[int, ...] = ()
    """Checkpoints of a folder of ours."""

    def __str__(self) -> str:
        """The report, a few lines for each fact."""
        lines = [f"{self.path}", f"layout      {self.layout}", f"preset      {self.preset or 'none'}"]
        if self.origin.family:
            lines.append(f"origin      {self.origin.family}")
        if self.steps:
            lines.append(f"steps       {', '.join(map(str, self.steps))}")
        lines.append(f"parameters  {sum(self.parts.values()):,}")
        lines += [f"  {part:<24}{count:>14,}" for part, count in self.parts.items()]
        reasons = Counter(self.unused.values())
        lines.append(f"unused      {len(self.unused)} tensors")
        lines += [f"  {count:>4} {why}" for why, count in reasons.items()]
        lines += ["configuration", json.dumps(configs.to_dict(self.config), indent=2)]
        return "\n".join(lines)


def inspect(path: Path, preset: str | None = None) -> Inspection:
    """Reads names, shapes and configuration only.

    Raises:
        CheckpointError: the checkpoint is damaged or of no known model.
    """
    if orbax_folder.is_folder(path):
        config, origin = orbax_folder.read_description(path)
        steps = orbax_folder.all_steps(path)
        unused = orbax_folder.read_unused(path, orbax_folder.choose_step(path))
        return Inspection(
            path, "zoe_jax", _preset_name(config), config, origin, _parts(config), _reasons(unused, origin), steps
        )
    file = read_tensor_file(path)
    family, preset, config = identify(file, path, preset)
    names = {slot.name for slot in family.slots(config)}
    origin = replace(file.origin, family=family.name)
    unused = _reasons([name for name in file.tensors if name not in names], origin)
    return Inspection(path, family.name, preset, config, origin, _parts(config), unused)


def _parts(config: ZoeDepthConfig) -> dict[str, int]:
    parts: Counter[str] = Counter()
    for name, leaf in parameter_shapes(config).items():
        parts[name.split("/")[0]] += math.prod(leaf.shape)
    return dict(parts)


def _reasons(names: list[str] | dict, origin: Origin) -> dict[str, str]:
    family = FAMILIES.get(origin.family or "")
    return {name: (family.why_unused(name) if family else None) or "not known" for name in names}


def _preset_name(config: ZoeDepthConfig) -> str | None:
    for name, candidate in configs.PRESETS.items():
        if replace(candidate, dtype=config.dtype, param_dtype=config.param_dtype) == config:
            return name
    return None
