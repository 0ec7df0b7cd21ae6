import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.config import preset
from zoe_jax.models import zoedepth
from zoe_jax.train.participation import (
    ParticipationRules,
    gradient_norm,
    participation,
    participation_rules,
    routed_domains,
)
from zoe_jax.train.path_rules import PathRuleError, paths


def shapes(name):
    return jax.eval_shape(lambda: zoedepth.init(preset(name), jax.random.key(0)))


def by_path(tree, values):
    return dict(zip(paths(tree), jax.tree.structure(tree).flatten_up_to(values), strict=True))


def test_a_single_head_always_takes_part_as_a_whole():
    rules = participation_rules(preset("reference_n"))
    assert rules == ParticipationRules()
    assert all(value is True for value in jax.tree.leaves(participation(shapes("reference_n"), rules)))


def test_in_nk_heads_take_part_by_domain_and_the_relative_depth_never():
    params = shapes("reference_nk")
    routed = jnp.array([False, True])
    takes_part = by_path(params, participation(params, participation_rules(preset("reference_nk")), routed))
    never = [path for path, value in takes_part.items() if value is False]
    assert never == ["decoder/head/conv3/bias", "decoder/head/conv3/kernel"]
    stacked = {path: leaf for path, leaf in by_path(params, params).items() if takes_part[path] is routed}
    # seed bins, four attractors and the log-binomial, each of two layers with kernel and bias
    assert len(stacked) == 6 * 4
    assert all(leaf.shape[0] == 2 for leaf in stacked.values())
    assert {path.split("/")[0] for path in stacked} == {"metric_head"}
    assert all(takes_part[path] is True for path in takes_part if path not in stacked and path not in never)


@pytest.mark.slow  # compiles the gradient of a whole model
def test_what_is_called_never_gets_no_gradient_and_all_else_gets_one():
    config = dataclasses.replace(preset("reference_nk"), routing="label")
    params = zoedepth.init(config, jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (1, 64, 96, 3))
    domain = jnp.array([1])

    def loss(params, domain):
        out = zoedepth.forward(config, params, images, domain)
        return jnp.sum(out.metric_depth**2) + jnp.sum(out.domain_logits**2)

    gradients = jax.jit(jax.grad(loss))(params, domain)
    routed = routed_domains(domain, len(config.domains))
    takes_part = by_path(params, participation(params, participation_rules(config), routed))
    for path, gradient in by_path(params, gradients).items():
        mask = np.asarray(takes_part[path])
        for moved, part in zip(gradient if mask.ndim else [gradient], np.atleast_1d(mask), strict=True):
            assert bool(jnp.any(moved != 0)) == part, path


def test_a_soft_mixture_trains_every_head():
    rules = participation_rules(preset("reference_nk"), soft_mixture=True, router_loss=False)
    assert rules.routed == ()
    assert not any("router" in pattern for pattern in rules.never)


def test_without_its_loss_the_router_never_takes_part():
    params = shapes("reference_nk")
    rules = participation_rules(preset("reference_nk"), router_loss=False)
    takes_part = by_path(params, participation(params, rules))
    assert all(
        (value is False) == path.startswith(("router/", "decoder/head/conv3/")) for path, value in takes_part.items()
    )


def test_frozen_parameters_stay_out_even_if_nothing_is_skipped():
    config = preset("reference_nk")
    rules = participation_rules(config, freeze=("encoder/.*",), skip_untouched=False)
    assert rules == ParticipationRules(never=("encoder/.*",))
    assert participation_rules(config, freeze=("encoder/.*",)).never[0] == "encoder/.*"
    relative = dataclasses.replace(preset("reference_n"), head=None)
    assert participation_rules(relative, freeze=("encoder/.*",)) == ParticipationRules(never=("encoder/.*",))


def test_a_pattern_that_matches_nothing_is_an_error():
    with pytest.raises(PathRuleError, match="take no part: 'encodr/"):
        participation({"encoder": {"kernel": 0}}, ParticipationRules(never=("encodr/.*",)))


def test_a_head_is_routed_where_a_real_image_took_it():
    domain = jnp.array([1, 1, 0])
    np.testing.assert_array_equal(routed_domains(domain, 3), [True, True, False])
    np.testing.assert_array_equal(routed_domains(domain, 3, jnp.array([True, True, False])), [False, True, False])
    np.testing.assert_array_equal(routed_domains(domain, 3, jnp.zeros(3, bool)), [False] * 3)


def test_the_norm_runs_over_what_takes_part_and_ignores_nan_elsewhere():
    gradients = {
        "heads": jnp.array([[3.0, 4.0], [jnp.nan, 1.0]]),
        "never": jnp.array([jnp.inf]),
        "sometimes": jnp.array([jnp.nan]),
        "always": jnp.array([[12.0]]),
    }
    takes_part = {"heads": jnp.array([True, False]), "never": False, "sometimes": jnp.array(False), "always": True}
    assert gradient_norm(gradients, takes_part) == 13
    assert jnp.isnan(gradient_norm(gradients))
    assert gradient_norm({}, {}) == 0


def test_the_norm_of_bfloat16_gradients_is_summed_in_float32():
    gradients = {"kernel": jnp.full(100_000, 0.01, jnp.bfloat16)}
    expected = np.float64(jnp.bfloat16(0.01)) * np.sqrt(100_000)
    norm = gradient_norm(gradients)
    assert norm.dtype == jnp.float32
    assert norm == pytest.approx(expected, rel=1e-5)  # float32 sum of 1e5 equal terms


def test_a_mask_must_fit_the_leading_axis():
    with pytest.raises(ValueError, match=r"\(3,\) does not fit the leading axis of a parameter of shape \(2, 5\)"):
        gradient_norm({"heads": jnp.ones((2, 5))}, {"heads": jnp.ones(3, bool)})
