import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from tests.train.run_steps import OBJECTIVE, OPTIMIZER, model_config
from zoe_jax.config import PRESETS, ConfigError, preset
from zoe_jax.input.placement import local_rows, put, put_batch
from zoe_jax.models.zoedepth import Params, init
from zoe_jax.train.path_rules import PathRuleError
from zoe_jax.train.sharding import ShardingConfig, make_mesh, make_shardings, parameter_shardings
from zoe_jax.train.state import TrainState, init_state

MESH = AbstractMesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
"""Two by four devices that need not exist."""


@functools.cache
def shapes(name: str) -> Params:
    return jax.eval_shape(functools.partial(init, preset(name)), jax.random.key(0))


def specs(config: ShardingConfig, params: Params) -> dict[str, PartitionSpec]:
    found = jax.tree.leaves_with_path(parameter_shardings(config, MESH, params))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): sharding.spec for path, sharding in found}


def test_the_default_rules_split_output_features() -> None:
    found = specs(ShardingConfig(fsdp=4), shapes("zoed_nk"))
    assert found["encoder/stage_0/mlp/fc1/kernel"] == PartitionSpec(None, None, "fsdp")
    assert found["encoder/stage_3/attention/qkv"] == PartitionSpec(None, None, "fsdp")
    assert found["decoder/reassemble_4/resize/kernel"] == PartitionSpec(None, None, None, "fsdp")
    for repeated in ("encoder/stage_0/norm1/scale", "metric_head/seed_bins/fc1/kernel", "router/layers/qkv/kernel"):
        assert found[repeated] == PartitionSpec()


@pytest.mark.parametrize("name", PRESETS)
def test_the_default_rules_fit_every_model_and_never_split_layers_or_domains(name: str) -> None:
    params = shapes(name)
    found = specs(ShardingConfig(fsdp=4), params)
    split = sum(leaf.size for leaf, spec in zip(jax.tree.leaves(params), found.values(), strict=True) if "fsdp" in spec)
    whole = sum(leaf.size for leaf in jax.tree.leaves(params))
    # the released models; the small ones are mostly router
    assert split > 0.99 * whole or name.startswith("reference") or name == "zoed_tiny_nk"
    for path, spec in found.items():
        assert not ("stage_" in path and spec and spec[0]), path


@pytest.mark.parametrize("mesh", [{"fsdp": 0}, {"fsdp": -1}, {"data": 0}, {"data": -2}])
def test_a_mesh_without_devices_is_refused(mesh: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="they must be at least 1, or -1 for data"):
        ShardingConfig(**mesh)


def test_an_axis_that_does_not_divide_is_repeated() -> None:
    found = specs(ShardingConfig(fsdp=4), shapes("zoed_n"))
    assert found["decoder/head/conv3/kernel"] == PartitionSpec()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([(r"encoder/stage_.*/(kernel|qkv)", -3)], "counts layers or domains"),
        ([(r"metric_head/seed_bins/fc1/kernel", -3)], "counts layers or domains"),
        ([(r"router/layers/qkv/kernel", -3)], "counts layers or domains"),
        ([(r"decoder/head/conv3/kernel", -3)], "-1 to -2"),
        ([(r"decoder/head/conv3/kernel", 0)], "-1 to -2"),
    ],
)
def test_a_rule_cannot_split_layers_domains_or_axes_that_do_not_exist(rules: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        specs(ShardingConfig(fsdp=4, rules=tuple(rules)), shapes("zoed_nk"))


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(PathRuleError, match="swin"):
        specs(ShardingConfig(fsdp=4, rules=((r"swin/.*", -1),)), shapes("zoed_nk"))


def test_moments_and_average_lie_where_their_parameters_lie() -> None:
    model = model_config()
    params = jax.eval_shape(functools.partial(init, model), jax.random.key(0))
    state = jax.eval_shape(functools.partial(init_state, model, OBJECTIVE, OPTIMIZER), params)
    shardings: TrainState = make_shardings(ShardingConfig(fsdp=4), MESH, state).state
    assert jax.tree.structure(shardings) == jax.tree.structure(state)
    kernel = shardings.params["encoder"]["stage_0"]["mlp"]["fc1"]["kernel"]
    assert "fsdp" in kernel.spec
    assert shardings.ema is not None
    for tree in (shardings.ema, shardings.opt_state.first_moment, shardings.opt_state.second_moment):
        assert tree["encoder"]["stage_0"]["mlp"]["fc1"]["kernel"] == kernel
    assert shardings.opt_state.counts["encoder"]["stage_0"]["mlp"]["fc1"]["kernel"].spec == PartitionSpec()


def test_a_mesh_uses_every_device() -> None:
    mesh = make_mesh(ShardingConfig())
    assert dict(mesh.shape) == {"data": jax.device_count(), "fsdp": 1}
    assert set(mesh.axis_types) == {AxisType.Auto}
    with pytest.raises(ConfigError, match="data 3 x fsdp 5"):
        make_mesh(ShardingConfig(data=3, fsdp=5))
    with pytest.raises(ConfigError, match="data -1 x fsdp 7"):
        make_mesh(ShardingConfig(fsdp=7), devices=jax.devices()[:1])


def test_one_process_loads_every_row() -> None:
    sharding = NamedSharding(make_mesh(ShardingConfig()), PartitionSpec(("data", "fsdp")))
    rows = local_rows(sharding, 4 * jax.device_count())
    np.testing.assert_array_equal(rows, np.arange(4 * jax.device_count()))
    placed = put_batch({"depth_m": np.ones((len(rows), 2, 2))}, sharding)
    assert placed["depth_m"].sharding == sharding


def test_a_batch_must_divide() -> None:
    sharding = NamedSharding(MESH, PartitionSpec(("data", "fsdp")))
    with pytest.raises(ConfigError, match="a batch of 12 does not divide by 8 devices"):
        local_rows(sharding, 12)


def test_put_keeps_values_and_takes_one_sharding_for_all() -> None:
    replicated = NamedSharding(make_mesh(ShardingConfig()), PartitionSpec())
    tree = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": jnp.float32(2)}
    placed = put(tree, replicated)
    jax.tree.map(np.testing.assert_array_equal, placed, tree)
    assert placed["a"].sharding == replicated
