import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train import tiny
from tests.train.tiny import MODEL_NK
from zoe_jax.config import ConfigError, ZoeDepthConfig, override, preset
from zoe_jax.evaluate.metrics import mean_over_images
from zoe_jax.input.source import Batch
from zoe_jax.models.zoedepth import Params, forward, init, network_images
from zoe_jax.train.objective import ObjectiveConfig, objective_loss
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.state import TrainState, init_state
from zoe_jax.train.step import StepReport, TrainStep, ValidationConfig, make_eval_step, make_train_step

pytestmark = pytest.mark.usefixtures("quick_compilation")

NYU, KITTI = 0, 1
BATCH_SIZE = 4


def batch(step: int) -> Batch:
    return tiny.batch(step, [NYU, KITTI, KITTI, NYU])


@pytest.fixture(scope="module")
def params() -> Params:
    return jax.device_get(init(MODEL_NK, jax.random.key(0)))


class Training(NamedTuple):
    start: Callable[[], TrainState]
    step: TrainStep


@pytest.fixture(scope="module")
def training(params: Params) -> Training:
    """Two heads and a router trained on labels, an average, two micro-batches: one compilation for all tests."""
    model = MODEL_NK
    objective = ObjectiveConfig(router="trained", router_weight=1.0, head_choice="label", gradient_weight=0.01)
    optimizer = OptimizerConfig(learning_rate=1e-3, ema_decay=0.9, accumulation_steps=2)
    step = make_train_step(model, objective, optimizer, 10)
    return Training(lambda: init_state(model, objective, optimizer, jax.device_put(params)), step)


def test_a_step_reports_what_it_did(training: Training) -> None:
    state, report = training.step(training.start(), batch(0), jax.random.key(0))
    assert set(report.losses) == {"silog", "gradient", "router"}
    weighted = report.losses["silog"] + 0.01 * report.losses["gradient"] + report.losses["router"]
    np.testing.assert_allclose(report.loss, weighted, rtol=1e-6)
    assert report.accepted
    assert report.grad_norm > 0
    assert int(state.step) == 1
    # micro-batches are interleaved, and their reports put back in the order of the batch
    np.testing.assert_array_equal(report.domain, batch(0)["domain"])
    assert report.domain_logits is not None
    assert report.domain_logits.shape == (BATCH_SIZE, 2)
    np.testing.assert_array_equal(report.routed, [True, True])


def test_a_run_continued_from_a_saved_state_is_bit_equal(training: Training) -> None:
    rng = jax.random.key(3)

    def run(state: TrainState, steps: range) -> tuple[TrainState, list[StepReport]]:
        reports = []
        for i in steps:
            state, report = training.step(state, batch(i), rng)
            reports.append(report)
        return jax.device_get(state), reports

    whole, reports = run(training.start(), range(4))
    half, _ = run(training.start(), range(2))
    resumed, later = run(jax.device_put(half), range(2, 4))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    jax.tree.map(np.testing.assert_array_equal, later, reports[2:])


def test_dropout_differs_from_step_to_step(training: Training) -> None:
    first = jax.device_get(training.step(training.start(), batch(0), jax.random.key(0))[1])
    same = jax.device_get(training.step(training.start(), batch(0), jax.random.key(0))[1])
    state = training.start()
    later = state._replace(opt_state=state.opt_state._replace(step=jnp.int32(1)))
    other = jax.device_get(training.step(later, batch(0), jax.random.key(0))[1])
    np.testing.assert_array_equal(first.domain_logits, same.domain_logits)
    assert np.any(first.domain_logits != other.domain_logits)


def test_what_is_not_finite_changes_nothing_and_is_counted(training: Training) -> None:
    before = jax.device_get(training.step(training.start(), batch(0), jax.random.key(0))[0])
    broken = batch(1)
    broken["depth_m"] = np.where(broken["valid_mask"], np.nan, broken["depth_m"])
    state, report = training.step(jax.device_put(before), broken, jax.random.key(0))
    assert not report.accepted
    state, _ = training.step(state, broken, jax.random.key(0))
    after = jax.device_get(state)
    for kept in ("params", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, kept), getattr(before, kept))
    jax.tree.map(np.testing.assert_array_equal, after.opt_state[1:], before.opt_state[1:])
    assert (int(after.step), int(after.nonfinite_in_a_row), int(after.nonfinite_total)) == (3, 2, 2)
    state, report = training.step(state, batch(2), jax.random.key(0))
    assert report.accepted
    assert (int(state.nonfinite_in_a_row), int(state.nonfinite_total)) == (0, 2)


def test_rows_of_padding_leave_no_trace(training: Training) -> None:
    other: Any = batch(0)
    padding = ~other["example_mask"]
    assert padding.any()
    garbage: Batch = dict(other)  # pyright: ignore[reportAssignmentType]
    garbage["image"] = np.where(padding[:, None, None, None], 0.9, other["image"]).astype(np.float32)
    garbage["depth_m"] = np.where(padding[:, None, None], np.nan, other["depth_m"]).astype(np.float32)
    ours, theirs = (training.step(training.start(), b, jax.random.key(0)) for b in (other, garbage))
    jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])
    assert float(ours[1].loss) == float(theirs[1].loss)


def test_a_head_without_an_image_stays_as_it_is(training: Training, params: Params) -> None:
    only_nyu = batch(0)
    only_nyu["domain"] = np.zeros(BATCH_SIZE, np.int32)
    state, report = training.step(training.start(), only_nyu, jax.random.key(0))
    np.testing.assert_array_equal(report.routed, [True, False])
    before, after = (p["metric_head"]["seed_bins"]["fc1"]["kernel"] for p in (params, state.params))
    np.testing.assert_array_equal(after[KITTI], before[KITTI])
    assert np.all(np.any(after[NYU] != before[NYU], axis=0))
    counts = state.opt_state.counts["metric_head"]["seed_bins"]["fc1"]["kernel"]
    np.testing.assert_array_equal(counts, [1, 0])


def test_validation_is_exact_with_padding(params: Params) -> None:
    model = MODEL_NK
    validate = make_eval_step(model, ObjectiveConfig(), ValidationConfig(max_depth_m=8.0))
    padded = batch(0)
    report = validate(params, padded)
    real = int(padded["example_mask"].sum())
    assert int(report.sums.images) == real
    garbage = padded | {"depth_m": np.where(padded["example_mask"][:, None, None], padded["depth_m"], np.nan)}
    jax.tree.map(np.testing.assert_array_equal, validate(params, garbage).sums, report.sums)
    assert report.metric_depth.shape == (BATCH_SIZE, *model.network_size)
    assert 0 < float(mean_over_images(report.sums).abs_rel) < 10


@functools.cache
def mixture_config() -> ZoeDepthConfig:
    return override(MODEL_NK, {"routing": "mixture", "dropout_rate": 0.0})


def test_a_mixture_is_the_mean_of_the_heads_weighted_by_the_router(params: Params) -> None:
    model, images = mixture_config(), jnp.asarray(batch(0)["image"])

    @jax.jit
    def run(params: Params) -> Any:
        mixed = forward(model, params, images, train=True, rngs={"dropout": jax.random.key(0)}, intermediates=True)
        heads = [forward(model, params, images, jnp.full(BATCH_SIZE, i)).metric_depth for i in (NYU, KITTI)]
        return mixed, jnp.stack(heads), forward(model, params, images)

    mixed, heads, inferred = run(params)
    weights = jax.nn.softmax(mixed.domain_logits).T[:, :, None, None]
    np.testing.assert_allclose(mixed.metric_depth, np.sum(weights * heads, axis=0), rtol=1e-5)
    # one distribution over the bins of both heads, whose mean is the depth
    np.testing.assert_allclose(np.sum(mixed.bin_probabilities, axis=-1), 1, rtol=1e-5)
    mean = np.sum(mixed.bin_probabilities * mixed.bin_centers, axis=-1)
    np.testing.assert_allclose(mean, mixed.metric_depth, rtol=1e-5)
    assert mixed.intermediates["seed_bins"].shape[:2] == (2, BATCH_SIZE)
    # at inference the likeliest head alone
    chosen = np.argmax(inferred.domain_logits, axis=1)
    np.testing.assert_array_equal(inferred.domain, chosen)
    np.testing.assert_allclose(inferred.metric_depth, heads[chosen, np.arange(BATCH_SIZE)], rtol=1e-5)


def test_auto_trains_router_and_both_heads_without_labels(params: Params) -> None:
    objective = ObjectiveConfig(router="auto")
    seen = jax.tree.map(jnp.asarray, batch(0))

    def loss(params: Params, domain: jax.Array) -> jax.Array:
        labelled: Any = seen | {"domain": domain}
        return objective_loss(MODEL_NK, objective, params, labelled, jax.random.key(0))[0]

    gradient = jax.jit(jax.grad(loss))
    found = gradient(params, jnp.zeros(BATCH_SIZE, jnp.int32))
    kernels = found["metric_head"]["log_binomial"]["fc1"]["kernel"]
    assert np.all(np.any(kernels != 0, axis=(1, 2)))
    assert np.any(found["router"]["fc2"]["kernel"] != 0)
    jax.tree.map(np.testing.assert_array_equal, gradient(params, jnp.ones(BATCH_SIZE, jnp.int32)), found)


def test_images_come_to_the_network_size_and_range() -> None:
    model = preset("reference_n")
    image = np.full((1, 30, 50, 3), 255, np.uint8)
    np.testing.assert_allclose(network_images(model, jnp.asarray(image)), np.ones((1, 64, 96, 3)), rtol=1e-6)


@pytest.mark.parametrize("field", ["silog_weight", "gradient_weight", "router_weight"])
def test_a_negative_weight_is_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} is -1"):
        dataclasses.replace(ObjectiveConfig(), **{field: -1.0})


def test_a_validation_without_a_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"depth range 8\.0\.\.8\.0 m of validation is empty"):
        ValidationConfig(min_depth_m=8.0, max_depth_m=8.0)


def test_an_objective_needs_what_it_trains() -> None:
    with pytest.raises(ConfigError, match="both 0"):
        ObjectiveConfig(silog_weight=0)
    with pytest.raises(ConfigError, match="no router"):
        make_train_step(preset("reference_n"), ObjectiveConfig(router="auto"), OptimizerConfig(), 10)
    headless = dataclasses.replace(preset("reference_n"), head=None)
    with pytest.raises(ConfigError, match="no metric head"):
        make_train_step(headless, ObjectiveConfig(), OptimizerConfig(), 10)
    with pytest.raises(ConfigError, match="needs a router"):
        override(preset("reference_n"), {"routing": "mixture"})
