"""The language of the conversion tables: a rule a parameter, expanded for a configuration to one slot a tensor."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.errors import CheckpointError


@dataclass(frozen=True)
class Layout:
    """How an array of PyTorch lies in JAX: axes permuted, then reshaped by `to_jax`; `to_torch` inverts it."""

    to_jax: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
DENSE = Layout(lambda x: x.T, lambda x: x.T)
"""[out, in] <-> [in, out]."""
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
"""OIHW <-> HWIO."""
CONV_1X1 = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])
"""OI11 <-> [in, out]."""
CONV_TRANSPOSE = Layout(lambda x: x.transpose(0, 2, 3, 1), lambda x: x.transpose(0, 3, 1, 2))
"""IOHW <-> IHWO."""


def patch_embedding(patch_size: int) -> Layout:
    """OIHW of a convolution with stride equal to its size <-> [patch rows, patch columns, in] flattened, out."""

    def to_torch(x: np.ndarray) -> np.ndarray:
        return x.reshape(patch_size, patch_size, -1, x.shape[-1]).transpose(3, 2, 0, 1)

    return Layout(lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]), to_torch)


@dataclass(frozen=True)
class Slot:
    """One tensor of PyTorch and the part of one JAX parameter that it is."""

    name: str
    path: str
    layout: Layout
    index: tuple[int, ...] = ()
    """Position along the leading (layer or domain) axis of the parameter."""
    part: tuple[int, int] | None = None
    """(i, n): the i-th of n equal parts of the parameter's last axis."""

    def view(self, parameter: np.ndarray) -> np.ndarray:
        """The region of the JAX parameter that this tensor fills."""
        region = parameter[self.index]
        if self.part is not None:
            i, n = self.part
            width = region.shape[-1] // n
            region = region[..., i * width : (i + 1) * width]
        return region


@dataclass(frozen=True)
class Rule:
    """A line of a conversion table. Names in braces run over their values; see `expand`."""

    name: str
    path: str
    layout: Layout = SAME
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Family:
    """A layout of checkpoint files: its table, and what it carries that no model uses."""

    name: str
    rules: Callable[[ZoeDepthConfig], Iterable[Rule]]
    first_residual: str
    """Names, with {conv} for 1 and 2, of the residual unit that every DPT file carries and no model uses."""
    unused: tuple[tuple[str, str], ...]
    """(regular expression of names, why no model uses them)."""
    constants: Callable[[ZoeDepthConfig], dict[str, np.ndarray]] = lambda config: {}
    """Tensors that readers of this family demand beyond the model, by value."""
    part: str = ""
    """Beginning of the paths of the parameters that a file of this family has; empty for those of a whole model."""

    def slots(self, config: ZoeDepthConfig) -> list[Slot]:
        """One slot for each tensor of this family that a model of `config` uses.

        Raises:
            CheckpointError: the original has no such model.
        """
        if (difference := beyond_pytorch(config)) is not None:
            raise CheckpointError(f"a model with {difference} has no layout in PyTorch; keep it as an Orbax folder")
        return [slot for rule in self.rules(config) for slot in expand(rule, config)]

    def why_unused(self, name: str) -> str | None:
        """The reason why no model uses the tensor; None where the name is not known as unused."""
        return next((why for pattern, why in self.unused if re.fullmatch(pattern, name)), None)


def expand(rule: Rule, config: ZoeDepthConfig) -> Iterator[Slot]:
    """The slots of one rule.

    Placeholders in a rule's name and path, with what they run over:
        block: blocks of the encoder, from 0; in the path `{stage}` is its stage, and its place there is the index.
        tap, tap0: taps from 1 and from 0, and so the reassembling layers.
        scale, scale0: projectors and attractors from 1 and from 0, coarse to fine.
        fusion: fusions 4 to 1; fusion0: the same counted 0 to 3, coarse to fine.
        head: "" for a single metric head, else "." and the name of the domain, which is the index.
        plural: "" or "s", as `head` is empty or not.
        layer: layers of the router, from 0, the index.
    """
    axes: list[list[tuple[dict[str, str], tuple[int, ...]]]] = []
    if "{block}" in rule.name:
        starts = [0, *(tap + 1 for tap in config.encoder.taps)]
        axes.append(
            [
                ({"block": str(block), "stage": str(stage)}, (block - starts[stage],))
                for stage in range(4)
                for block in range(starts[stage], starts[stage + 1])
            ]
        )
    for axis in ("tap", "scale"):
        if f"{{{axis}" in rule.name:
            axes.append([({axis: str(i), f"{axis}0": str(i - 1)}, ()) for i in (1, 2, 3, 4)])
    if "{fusion" in rule.name:
        axes.append([({"fusion": str(i), "fusion0": str(4 - i)}, ()) for i in (4, 3, 2, 1)])
    if "{head}" in rule.name:
        heads = [""] if len(config.domains) == 1 else [f".{domain}" for domain in config.domains]
        axes.append([({"head": head, "plural": "s" if head else ""}, (i,)) for i, head in enumerate(heads)])
    if "{layer}" in rule.name and config.router is not None:
        axes.append([({"layer": str(i)}, (i,)) for i in range(config.router.depth)])
    for choice in itertools.product(*axes):
        values = {key: value for names, _ in choice for key, value in names.items()}
        index = tuple(i for _, indices in choice for i in indices)
        yield Slot(rule.name.format(**values), rule.path.format(**values), rule.layout, index, rule.part)


def beyond_pytorch(config: ZoeDepthConfig) -> str | None:
    """The field by which a model is one that the original code cannot build; None if it can."""
    if config.encoder.stem:
        return f"encoder.stem={config.encoder.stem}"
    if config.decoder.output_stride != 1:
        return f"decoder.output_stride={config.decoder.output_stride}"
    if config.head is not None and config.head.probabilities != "log_binomial":
        return f"head.probabilities={config.head.probabilities!r}"
    return None


def with_bias(name: str, path: str, layout: Layout, part: tuple[int, int] | None = None) -> tuple[Rule, Rule]:
    """The two rules of a layer with `weight` and `bias`."""
    return (
        Rule(f"{name}.weight", f"{path}/kernel", layout, part),
        Rule(f"{name}.bias", f"{path}/bias", SAME, part),
    )


def norm(name: str, path: str) -> tuple[Rule, Rule]:
    """The two rules of a layer norm."""
    return Rule(f"{name}.weight", f"{path}/scale"), Rule(f"{name}.bias", f"{path}/bias")
