import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoe_jax.config import ConfigError, from_dict, to_dict
from zoe_jax.train.schedule import ScheduleConfig, schedule_values

jitted = jax.jit(schedule_values, static_argnums=(0, 1))


@pytest.fixture
def stored_schedules(reference):
    return json.loads((reference / "train/optim/optim.json").read_text())["schedules"]


def test_one_cycle_is_the_originals_to_twelve_digits(stored_schedules, x64):
    assert {len(schedule["rows"]) for schedule in stored_schedules} == {3, 10, 37, 50}
    for schedule in stored_schedules:
        rows = schedule["rows"]
        now = jitted(ScheduleConfig(), len(rows), jnp.arange(len(rows)))
        peak_rates = schedule["base_lr"] / np.array(schedule["lr_divisors"])
        rates = np.asarray(now.learning_rate_scale)[:, None] * peak_rates
        np.testing.assert_allclose(rates, [row["lr"] for row in rows], rtol=1e-12, atol=0)
        np.testing.assert_allclose(now.beta1, [row["beta1"] for row in rows], rtol=1e-12, atol=0)


def test_one_cycle_in_float32_keeps_the_rate_to_the_last_step(stored_schedules):
    # next to the end the rate is the small difference of a cosine from -1: 1e-5 is what float32 leaves of it
    for schedule in stored_schedules:
        rows = schedule["rows"]
        now = jitted(ScheduleConfig(), len(rows), jnp.arange(len(rows)))
        expected = [row["lr"][-1] / schedule["base_lr"] for row in rows]
        np.testing.assert_allclose(now.learning_rate_scale, expected, rtol=1e-5)


def test_optax_one_cycle_is_another_schedule(x64):
    # the reason why this module exists: without it the last step would be a hundred times too long
    theirs = optax.cosine_onecycle_schedule(50, 1.0, pct_start=0.7, div_factor=1.0, final_div_factor=1e4)
    ours = schedule_values(ScheduleConfig(), 50, jnp.int32(49)).learning_rate_scale
    assert float(theirs(49)) > 50 * float(ours)


def test_one_cycle_can_rise():
    config = ScheduleConfig(start_scale=0.1, peak_fraction=0.5)
    scale, beta1 = schedule_values(config, 21, jnp.array([0, 9, 10, 20]))
    assert scale[0] == pytest.approx(0.1)
    assert scale[1] == pytest.approx(1.0, abs=0.02)  # the phases meet at the fractional step 9.5
    assert scale[3] == pytest.approx(1e-4)
    assert beta1[0] == pytest.approx(0.95)
    assert beta1[3] == pytest.approx(0.95)
    assert beta1[2] < 0.86


def test_steps_after_the_last_keep_its_values():
    last, later = (schedule_values(ScheduleConfig(), 10, jnp.int32(step)) for step in (9, 1000))
    assert last == later


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 64), st.floats(0.01, 0.99))
def test_one_cycle_is_finite_and_in_range_for_every_length(total_steps, peak_fraction):
    config = ScheduleConfig(peak_fraction=peak_fraction)
    scale, beta1 = schedule_values(config, total_steps, jnp.minimum(jnp.arange(64), total_steps - 1))
    assert np.all((np.asarray(scale) >= 1e-4 - 1e-7) & (np.asarray(scale) <= 1 + 1e-6))
    assert np.all((np.asarray(beta1) >= 0.85 - 1e-6) & (np.asarray(beta1) <= 0.95 + 1e-6))
    assert scale[-1] == pytest.approx(1e-4, rel=1e-3)


def test_warm_up_rises_linearly_to_the_peak_and_falls_to_the_end():
    config = ScheduleConfig(kind="warmup_cosine", warmup_steps=4, end_scale=0.01, beta1=0.8)
    scale, beta1 = schedule_values(config, 25, jnp.arange(25))
    np.testing.assert_allclose(scale[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
    assert scale[14] == pytest.approx(0.505)  # half way down, from step 4 to step 24
    assert scale[24] == pytest.approx(0.01)
    assert np.all(np.diff(scale[4:]) < 0)
    assert np.all(np.asarray(beta1) == np.float32(0.8))


def test_constant_is_constant():
    scale, beta1 = schedule_values(ScheduleConfig(kind="constant"), 7, jnp.arange(9))
    assert np.all(np.asarray(scale) == 1)
    assert np.all(np.asarray(beta1) == np.float32(0.9))


def test_a_traced_step_gives_what_an_array_of_steps_gives():
    for i, values in enumerate(zip(*schedule_values(ScheduleConfig(), 20, jnp.arange(20)), strict=True)):
        np.testing.assert_allclose(jitted(ScheduleConfig(), 20, jnp.int32(i)), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "cyclic"}, "kind is 'cyclic'; it can be 'one_cycle'"),
        ({"warmup_steps": 100}, "kind 'one_cycle' does not use warmup_steps"),
        ({"kind": "constant", "end_scale": 0.1}, "kind 'constant' does not use end_scale"),
        ({"peak_fraction": 1.0}, r"peak_fraction is 1\.0"),
        ({"kind": "warmup_cosine", "warmup_steps": -1}, "cannot be negative"),
        ({"beta1_low": 1.0}, r"beta1_low is 1\.0"),
    ],
)
def test_a_contradiction_in_the_options_is_an_error(fields, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(fields, ScheduleConfig)


def test_a_warm_up_as_long_as_the_run_is_an_error():
    with pytest.raises(ConfigError, match="warmup_steps 10 must be fewer than the run's 10 steps"):
        schedule_values(ScheduleConfig(kind="warmup_cosine", warmup_steps=10), 10, jnp.int32(0))
    with pytest.raises(ConfigError, match="at least 1"):
        schedule_values(ScheduleConfig(), 0, jnp.int32(0))


def test_the_options_survive_json_and_refuse_unknown_fields():
    config = ScheduleConfig(kind="warmup_cosine", warmup_steps=3)
    assert from_dict(json.loads(json.dumps(to_dict(config))), ScheduleConfig) == config
    with pytest.raises(ConfigError, match="no field 'warmup'"):
        from_dict({"warmup": 3}, ScheduleConfig)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.kind = "constant"
