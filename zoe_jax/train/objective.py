"""What training minimises: the losses, their weights, and how images find their heads."""

import typing
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from zoe_jax.config import ConfigError, ZoeDepthConfig
from zoe_jax.input.source import Batch
from zoe_jax.models.zoedepth import Params, forward, network_images
from zoe_jax.train.losses import gradient_loss, router_loss, silog_loss
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.participation import ParticipationRules, participation_rules


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss, a weighted sum, and the use of domain labels; the defaults are the paper's for one data set."""

    silog_weight: float = 1.0
    gradient_weight: float = 0.0
    """Of the L1 distance of image gradients, which none of the released models was trained with."""
    router: Literal["labelled", "trained", "auto"] = "labelled"
    """The three ways of section 3.3 of the paper. `labelled`: each image takes the head of its label, now and later,
    and no router is trained (with one domain there is nothing to choose). `trained`: the router learns the labels.
    `auto`: no label is read; an image's depth is the mean of all heads' depths, weighted by the router's
    probabilities, and at inference that of the likeliest head."""
    router_weight: float = 100.0
    """`trained`: of the router's cross-entropy (w_domain in the original's NK configuration)."""
    head_choice: Literal["router", "label"] = "router"
    """`trained`: what sends a batch to its head. `router` is the original's way, the vote of the whole batch (of each
    micro-batch under accumulation), so that a wrong router trains the wrong head, and right only where a batch has one
    domain; `label` sends each image to its own, also in mixed batches."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a weight is negative or none is positive."""
        for name in ("silog_weight", "gradient_weight", "router_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it cannot be negative")
        if not self.silog_weight + self.gradient_weight > 0:
            raise ConfigError("silog_weight and gradient_weight are both 0: no depth would be learnt")


class Outcome(typing.NamedTuple):
    """What else a forward pass of training tells."""

    losses: dict[str, Float[Array, ""]]
    """Each term without its weight, under `silog`, `gradient` and `router`; terms that have no weight are absent."""
    domain: Int[Array, "b"]
    """The head of each image; for `auto` the likeliest."""
    domain_logits: Float[Array, "b domains"] | None


def check_objective(model: ZoeDepthConfig, objective: ObjectiveConfig) -> None:
    """Raises ConfigError where the model cannot be trained so: it has no metric head, or no router to train."""
    if model.head is None:
        raise ConfigError("a relative-depth model has no metric head to train: give the model a head")
    if objective.router != "labelled" and model.router is None:
        raise ConfigError(f"objective.router is {objective.router!r}, but the model has no router: give it one")


def training_rules(model: ZoeDepthConfig, objective: ObjectiveConfig, optimizer: OptimizerConfig) -> ParticipationRules:
    """Which parameters can stay out of a step.

    Raises:
        ConfigError: as `check_objective`.
    """
    check_objective(model, objective)
    return participation_rules(
        model,
        freeze=optimizer.freeze,
        skip_untouched=optimizer.skip_untouched,
        soft_mixture=objective.router == "auto",
        router_loss=_router_weight(objective) > 0,
    )


def objective_loss(
    model: ZoeDepthConfig, objective: ObjectiveConfig, params: Params, batch: Batch, dropout_rng: Array
) -> tuple[Float[Array, ""], Outcome]:
    """The number to minimise over one batch, and what led to it.

    SILog takes its statistics over all valid pixels of the batch together, whatever devices they lie on. The router's
    cross-entropy is the mean over the images, each with its own label; the original labels a whole batch by its first
    image, which is the same number for the batches of one domain that it trains with.

    Args:
        model: the architecture; `model.routing` is for inference and not used here.
        objective: the options.
        params: what is differentiated.
        batch: one (micro-)batch.
        dropout_rng: for the router's dropout.
    """
    choice: dict[str, Any] = {"domain": None}
    if objective.router == "auto":
        model = replace(model, routing="mixture")
    elif objective.router == "trained" and objective.head_choice == "router":
        model = replace(model, routing="batch")
    else:
        choice = {"domain": batch["domain"]}
    out = forward(
        model,
        params,
        network_images(model, batch["image"]),
        example_mask=batch["example_mask"],
        train=True,
        rngs={"dropout": dropout_rng},
        **choice,
    )
    depth_m, logits = typing.cast(Any, (out.metric_depth, out.domain_logits))  # there, says `check_objective`
    valid = batch["valid_mask"] & batch["example_mask"][:, None, None]
    terms = {
        "silog": (objective.silog_weight, lambda: silog_loss(depth_m, batch["depth_m"], valid)),
        "gradient": (objective.gradient_weight, lambda: gradient_loss(depth_m, batch["depth_m"], valid)),
        "router": (
            _router_weight(objective),
            lambda: router_loss(logits, batch["domain"], batch["example_mask"]),
        ),
    }
    losses = {name: loss() for name, (weight, loss) in terms.items() if weight > 0}
    total = sum(terms[name][0] * loss for name, loss in losses.items())
    return jnp.asarray(total), Outcome(losses, out.domain, out.domain_logits)


def _router_weight(objective: ObjectiveConfig) -> float:
    return objective.router_weight if objective.router == "trained" else 0.0
