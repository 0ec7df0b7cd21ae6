"""One training step and one validation step, each a single compiled function."""

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zoe_jax.config import ConfigError, ZoeDepthConfig
from zoe_jax.evaluate.metrics import MetricSums, batch_sums, depth_metrics
from zoe_jax.evaluate.validity import Crop, crop_mask, prediction_for_evaluation
from zoe_jax.input.records import valid_depth
from zoe_jax.input.source import Batch
from zoe_jax.models.zoedepth import Params, forward, network_images
from zoe_jax.train.accumulation import accumulate_gradients, moving_average
from zoe_jax.train.objective import (
    ObjectiveConfig,
    objective_loss,
    training_rules,
)
from zoe_jax.train.optimizer import OptimizerConfig, make_optimizer
from zoe_jax.train.participation import gradient_norm, is_known, participation, routed_domains
from zoe_jax.train.schedule import schedule_values
from zoe_jax.train.sharding import Shardings, rows_stay_apart
from zoe_jax.train.state import TrainState


class StepReport(typing.NamedTuple):
    """What a step tells; scalars are the same on every device, the rest lies where the batch lies."""

    loss: Float[Array, ""]
    """The weighted sum that was minimised; under accumulation the mean over micro-batches, as every loss here."""
    losses: dict[str, Float[Array, ""]]
    """Its terms without their weights: `silog`, and `gradient` and `router` where they have a weight."""
    grad_norm: Float[Array, ""]
    """Of all that takes part, before clipping."""
    learning_rate: Float[Array, ""]
    """Of parameters without a group of their own."""
    beta1: Float[Array, ""]
    accepted: Bool[Array, ""]
    """False where loss or gradient was not finite: the step then changed no parameter, moment or average."""
    routed: Bool[Array, "domains"]
    """The heads that took part."""
    domain: Int[Array, "b"]
    """The head of each image; for `auto` the likeliest."""
    domain_logits: Float[Array, "b domains"] | None
    """None for a model without a router."""


@typing.runtime_checkable
class TrainStep(typing.Protocol):
    """What `make_train_step` returns: a jitted function, which can also be lowered from shapes alone."""

    def __call__(self, state: TrainState, batch: Batch, rng: Array, /) -> tuple[TrainState, StepReport]:
        """One step; the state is donated."""
        ...

    def lower(self, state: Any, batch: Any, rng: Any, /) -> Any:
        """As `jax.jit(...).lower`."""
        ...


def make_train_step(
    model: ZoeDepthConfig,
    objective: ObjectiveConfig,
    optimizer: OptimizerConfig,
    total_steps: int,
    shardings: Shardings | None = None,
) -> TrainStep:
    """A jitted function (state, batch, rng) -> (state, report) that donates the state.

    `rng` is one key for the whole run: the step folds its number and that of the micro-batch in, so that a resumed run
    draws what the uninterrupted one would have. A step whose loss or gradient is not finite is suppressed and counted;
    only the places in the schedule and in the stream of random numbers move on.

    Args:
        model: the architecture, with its types of computation and parameters and its remat policy.
        objective: what is minimised.
        optimizer: how.
        total_steps: length of the schedule.
        shardings: from `make_shardings`; None computes on one device, or follows the arguments.

    Raises:
        ConfigError: the model cannot be trained on this objective.
    """
    rules = training_rules(model, objective, optimizer)
    transform = make_optimizer(optimizer, total_steps, rules)
    n_domains = len(model.domains)

    def step(state: TrainState, batch: Batch, rng: Array) -> tuple[TrainState, StepReport]:
        step_rng = jax.random.fold_in(rng, state.step)

        def loss(params: Params, micro_batch: Batch, index: Int[Array, ""]):
            # no gradient is computed, and nothing kept for it, for what never takes part
            params = jax.tree.map(
                lambda p, takes_part: jax.lax.stop_gradient(p) if is_known(takes_part, False) else p,
                params,
                participation(params, rules),
            )
            with rows_stay_apart(shardings, len(micro_batch["image"])):
                return objective_loss(model, objective, params, micro_batch, jax.random.fold_in(step_rng, index))

        value_and_grad = jax.value_and_grad(loss, has_aux=True)
        (total, outcome), gradients = accumulate_gradients(
            value_and_grad, state.params, batch, optimizer.accumulation_steps
        )
        outcome = outcome._replace(
            losses=jax.tree.map(jnp.mean, outcome.losses),
            domain=_in_batch_order(outcome.domain),
            domain_logits=None if outcome.domain_logits is None else _in_batch_order(outcome.domain_logits),
        )
        routed = routed_domains(outcome.domain, n_domains, batch["example_mask"])
        participates = participation(state.params, rules, routed)
        norm = gradient_norm(gradients, participates)
        accepted = jnp.isfinite(total) & jnp.isfinite(norm)
        updates, opt_state = typing.cast(
            Any,
            transform.update(
                gradients, state.opt_state, state.params, participates=participates, norm=norm, accept=accepted
            ),
        )
        params = jax.tree.map(jnp.add, state.params, updates)
        now = schedule_values(optimizer.schedule, total_steps, state.opt_state.step)
        new_state = TrainState(
            params=params,
            opt_state=opt_state,
            ema=_next_average(state.ema, params, optimizer.ema_decay, accepted),
            nonfinite_in_a_row=jnp.where(accepted, 0, state.nonfinite_in_a_row + 1),
            nonfinite_total=state.nonfinite_total + ~accepted,
        )
        report = StepReport(
            loss=total,
            losses=outcome.losses,
            grad_norm=norm,
            learning_rate=optimizer.learning_rate * now.learning_rate_scale,
            beta1=now.beta1,
            accepted=accepted,
            routed=routed,
            domain=outcome.domain,
            domain_logits=outcome.domain_logits,
        )
        return new_state, report

    if shardings is None:
        return jax.jit(step, donate_argnums=0)
    everywhere: Any = shardings.replicated
    rows: Any = shardings.batch
    report = StepReport(*[everywhere] * len(StepReport._fields))._replace(domain=rows, domain_logits=rows)
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(shardings.state, rows, everywhere),
        out_shardings=(shardings.state, report),
    )


@dataclass(frozen=True)
class ValidationConfig:
    """Which pixels of a validation image count, beside its own mask."""

    min_depth_m: float = 1e-3
    max_depth_m: float = 10.0
    crop: Crop = "none"

    def __post_init__(self) -> None:
        """Raises ConfigError where no depth is in range."""
        if not self.min_depth_m < self.max_depth_m:
            raise ConfigError(
                f"depth range {self.min_depth_m}..{self.max_depth_m} m of validation is empty; min must be below max"
            )


class ValidationReport(typing.NamedTuple):
    """What a validation step tells."""

    sums: MetricSums
    """Add those of all batches up, then `mean_over_images`; padding leaves no trace."""
    metric_depth: Float[Array, "b h w"]
    """Metres, at network size, for pictures."""
    domain: Int[Array, "b"]


EvalStep = Callable[[Params, Batch], ValidationReport]


def make_eval_step(
    model: ZoeDepthConfig,
    objective: ObjectiveConfig,
    validation: ValidationConfig,
    shardings: Shardings | None = None,
) -> EvalStep:
    """A jitted function (params, batch) -> report; nothing is donated.

    One forward pass without the flipped image, as the original validates while it trains; the protocols of
    `zoe_jax.predict` are for final numbers. Images find their heads as at inference: by label for `labelled`, else by
    the router as `model.routing` says.

    Args:
        model: the architecture.
        objective: `labelled` reads the batch's labels.
        validation: range of depth and crop.
        shardings: as for `make_train_step`.
    """
    by_label = objective.router == "labelled"

    def step(params: Params, batch: Batch) -> ValidationReport:
        domain = batch["domain"] if by_label or model.routing == "label" else None
        out = forward(
            model, params, network_images(model, batch["image"]), domain=domain, example_mask=batch["example_mask"]
        )
        assert out.metric_depth is not None
        low, high = validation.min_depth_m, validation.max_depth_m
        truth = batch["depth_m"]
        height, width = truth.shape[1:]
        prediction = prediction_for_evaluation(out.metric_depth, (height, width), low, high)
        valid = batch["valid_mask"] & valid_depth(truth, low, high) & crop_mask(validation.crop, height, width)
        sums = batch_sums(depth_metrics(prediction, truth, valid), valid, batch["example_mask"])
        return ValidationReport(sums, out.metric_depth, out.domain)

    if shardings is None:
        return jax.jit(step)
    everywhere: Any = shardings.replicated
    rows: Any = shardings.batch
    return jax.jit(
        step,
        in_shardings=(shardings.state.params, rows),
        out_shardings=ValidationReport(everywhere, rows, rows),
    )


def _in_batch_order(micro_batches: Array) -> Array:
    """[steps, b, ...] of interleaved micro-batches (see `accumulate_gradients`) as [steps * b, ...]."""
    return jnp.moveaxis(micro_batches, 0, 1).reshape(-1, *micro_batches.shape[2:])


def _next_average(
    average: Params | None, params: Params, decay: float | None, accepted: Bool[Array, ""]
) -> Params | None:
    if average is None or decay is None:
        return None
    moved = moving_average(average, params, decay)
    return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, average)
