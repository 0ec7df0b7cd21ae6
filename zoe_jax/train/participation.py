"""Which parameters take part in a step, and therefore move, decay and count it.

The original leaves a parameter alone where its gradient is None: a head that no image was sent to, a layer whose output
nothing reads, a frozen weight. A gradient of JAX is never None, and zeros are not the same to Adam (the moments would
decay and so would the weight), so who takes part is told beside the gradients, in a tree of the parameters' structure:

- `False`: never, known before compilation; the optimiser keeps no state for it;
- `True`: always, known before compilation;
- a bool array []: as it says, step by step;
- a bool array [d]: the same for each slice of the leading axis, which is the domain axis of stacked heads.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from zoe_jax.config import ZoeDepthConfig
from zoe_jax.train.path_rules import select

STACKED_HEADS = r"metric_head/(seed_bins|attractor_\d+|log_binomial|softmax)/.*"
"""Parameters with a leading domain axis."""
RELATIVE_DEPTH = r"decoder/head/conv3/.*"
"""The layer that only the relative depth goes through."""
ROUTER = r"router/.*"

Participates = bool | np.bool | Bool[Array, ""] | Bool[Array, "d"]


@dataclass(frozen=True)
class ParticipationRules:
    """Patterns of whole parameter paths (see `path_rules`) that can stay out of a step; all others always take part."""

    routed: tuple[str, ...] = ()
    """Stacked over domains: a slice takes part where an image was sent to it."""
    never: tuple[str, ...] = ()
    """Frozen, or not used by the loss."""


def participation_rules(
    model: ZoeDepthConfig,
    *,
    freeze: tuple[str, ...] = (),
    skip_untouched: bool = True,
    soft_mixture: bool = False,
    router_loss: bool = True,
) -> ParticipationRules:
    """What the architecture and the way it is trained say about participation.

    Args:
        model: the architecture.
        freeze: patterns of parameters that stay as they are.
        skip_untouched: with False only frozen parameters stay out; the others see their zero gradients.
        soft_mixture: every image goes through every head in training.
        router_loss: the loss contains the router's cross-entropy.
    """
    if model.head is None or not skip_untouched:
        return ParticipationRules(never=freeze)
    never = list(freeze)
    if not model.head.condition_on_relative_depth:
        never.append(RELATIVE_DEPTH)
    if model.router is not None and not (router_loss or soft_mixture):
        never.append(ROUTER)
    one_head_an_image = len(model.head.domains) > 1 and not soft_mixture
    return ParticipationRules((STACKED_HEADS,) if one_head_an_image else (), tuple(never))


def routed_domains(
    domain: Int[Array, "b"], n_domains: int, example_mask: Bool[Array, "b"] | None = None
) -> Bool[Array, "d"]:
    """Which of `n_domains` heads made the depth of at least one image.

    Args:
        domain: the head of each image.
        n_domains: how many heads there are.
        example_mask: False for rows that pad the batch; None means that all count.
    """
    used = domain[:, None] == jnp.arange(n_domains)
    return jnp.any(used if example_mask is None else used & example_mask[:, None], axis=0)


def participation(params: PyTree, rules: ParticipationRules, routed: Bool[Array, "d"] | None = None) -> PyTree:
    """The tree described above.

    Args:
        params: the parameters, or anything of their structure.
        rules: who can stay out of a step.
        routed: the heads in use, from `routed_domains`; None means all.

    Raises:
        PathRuleError: a pattern matches no parameter.
    """
    never = select(rules.never, params, purpose="parameters that take no part")
    stacked = select(rules.routed, params, purpose="routed parameters")
    for_stacked = True if routed is None else routed
    return jax.tree.map(lambda out, by_domain: not out and (for_stacked if by_domain else True), never, stacked)


def gradient_norm(gradients: PyTree, participates: PyTree | None = None) -> Float[Array, ""]:
    """Euclidean norm over all that takes part, which is what torch's clipping sees; in at least float32.

    Args:
        gradients: of the parameters' structure.
        participates: the tree described above; None means that everything takes part.
    """
    flat, treedef = jax.tree.flatten(gradients)
    masks = [True] * len(flat) if participates is None else treedef.flatten_up_to(participates)
    squares = [_square_sum(g, mask) for g, mask in zip(flat, masks, strict=True) if not is_known(mask, False)]
    return jnp.sqrt(sum(squares, jnp.zeros(())))


def is_known(participates: Participates, value: bool) -> bool:
    """Whether it is known before compilation that `participates` is `value` throughout."""
    return isinstance(participates, bool | np.bool) and bool(participates) is value


def along_leading_axis(values: Array, like: Array) -> Array:
    """[] as it is; [d] with axes of length 1 behind it, so that it meets the leading axis of `like`.

    Raises:
        ValueError: the leading axis has another length.
    """
    if values.ndim == 0:
        return values
    if values.ndim > 1 or values.shape != like.shape[:1]:
        raise ValueError(f"{values.shape} does not fit the leading axis of a parameter of shape {like.shape}")
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def _square_sum(gradient: Array, participates: Participates) -> Float[Array, ""]:
    g = gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32))
    if not is_known(participates, True):
        g = jnp.where(along_leading_axis(jnp.asarray(participates), g), g, 0)
    return jnp.sum(jnp.square(g))
