import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from zoe_jax.config import ConfigError, from_dict, to_dict
from zoe_jax.train.losses import silog_loss
from zoe_jax.train.optimizer import OptimizerConfig, make_optimizer, state_of
from zoe_jax.train.participation import ParticipationRules, gradient_norm, participation
from zoe_jax.train.path_rules import PathRuleError, paths
from zoe_jax.train.schedule import ScheduleConfig

CONSTANT = ScheduleConfig(kind="constant")


def nested(flat):
    tree = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def largest_difference(tree, other):
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), tree, other)))


class SmallProblem:
    """Two convolutions and two 1x1 heads that the original's set-up trained; heads apart, as torch has them."""

    def __init__(self, folder, dtype):
        self.arrays = np.load(folder / "optim.npz")
        self.traces = {t["name"]: t for t in json.loads((folder / "optim.json").read_text())["traces"]}
        self.dtype = dtype
        self.x = jnp.asarray(self.arrays["data/x"], dtype)
        self.truth = jnp.asarray(self.arrays["data/target"], dtype)[:, :, 0]
        self.mask = jnp.asarray(self.arrays["data/mask"])[:, :, 0]

    def params(self, prefix):
        names = [name for name in self.arrays if name.startswith(f"{prefix}/")]
        return nested({name.removeprefix(f"{prefix}/"): jnp.asarray(self.arrays[name], self.dtype) for name in names})

    def stored_on_the_way(self, trace, step):
        return {path.replace(".", "/"): value for path, value in self._flat(f"{trace}/step{step}/")}

    def _flat(self, prefix):
        return [(name.removeprefix(prefix), self.arrays[name]) for name in self.arrays if name.startswith(prefix)]

    @staticmethod
    def predict(params, x, head):
        def conv(x, layer, stride, padding):
            layout = ("NCHW", "OIHW", "NCHW")
            y = jax.lax.conv_general_dilated(
                x, layer["weight"], (stride,) * 2, [(padding,) * 2] * 2, None, None, layout
            )
            return y + layer["bias"][:, None, None]

        x = jnp.tanh(conv(x, params["conv1"], 2, 1) + params["rel"][:, None, None])
        x = jnp.tanh(conv(x, params["conv2"], 1, 1))
        return jax.nn.softplus(conv(x, head, 1, 0))[:, 0] + 0.1


def replay(problem, name, *, stacked):
    """The parameters after every step of a stored trace, losses and norms; heads apart or as slices of one leaf."""
    trace = problem.traces[name]
    config = OptimizerConfig(
        learning_rate=trace["lr"],
        clip_norm=trace["clip"] or None,
        groups=(("conv1/.*|rel", 1 / trace["lr_divisors"][0]), ("conv2/.*", 1 / trace["lr_divisors"][2])),
    )
    rules = ParticipationRules(routed=("heads/.*",) if stacked else (), never=("unused",))
    optimizer = make_optimizer(config, trace["steps"], rules)
    params = problem.params("init")
    if stacked:
        params = to_stacked(params)

    @jax.jit
    def step(params, state, batch, head):
        def loss(params):
            heads = params["heads"] if stacked else to_stacked(params)["heads"]
            chosen = jax.tree.map(lambda stack: stack[head], heads)
            prediction = problem.predict(params, problem.x[batch], chosen)
            return silog_loss(prediction, problem.truth[batch], problem.mask[batch])

        value, gradients = jax.value_and_grad(loss)(params)
        takes_part = participation(params, rules, jnp.arange(2) == head)
        if not stacked:
            for i, name in enumerate(("headA", "headB")):
                takes_part[name] = jax.tree.map(lambda _, i=i: head == i, takes_part[name])
        norm = gradient_norm(gradients, takes_part)
        updates, state = optimizer.update(gradients, state, params, participates=takes_part, norm=norm)
        return optax.apply_updates(params, updates), state, value, norm

    state = optimizer.init(params)
    history = []
    for row in trace["rows"]:
        params, state, value, norm = step(params, state, row["batch"], "AB".index(row["head"]))
        history.append((from_stacked(params) if stacked else params, float(value), float(norm)))
    return trace, history, state


def to_stacked(params):
    rest = {name: value for name, value in params.items() if not name.startswith("head")}
    return rest | {"heads": jax.tree.map(lambda a, b: jnp.stack([a, b]), params["headA"], params["headB"])}


def from_stacked(params):
    rest = {name: value for name, value in params.items() if name != "heads"}
    return rest | {f"head{'AB'[i]}": jax.tree.map(lambda stack, i=i: stack[i], params["heads"]) for i in range(2)}


NK_TRACE = "lr0.02_NK_two_heads_alternating"


@pytest.mark.parametrize(
    ("name", "stacked"),
    [("official_lr_N", True), ("lr0.02_N", True), ("lr0.02_N_noclip", True), (NK_TRACE, True), (NK_TRACE, False)],
)
def test_twenty_steps_of_the_original_are_repeated_to_ten_digits(name, stacked, reference, x64):
    problem = SmallProblem(reference / "train/optim", jnp.float64)
    trace, history, state = replay(problem, name, stacked=stacked)
    compared = 0
    for i, (row, (params, value, norm)) in enumerate(zip(trace["rows"], history, strict=True)):
        assert value == pytest.approx(row["loss"], rel=1e-10)
        if trace["clip"]:
            assert norm == pytest.approx(row["grad_norm_before_clip"], rel=1e-10)
        by_path = dict(zip(paths(params), jax.tree.leaves(params), strict=True))
        for path, stored in problem.stored_on_the_way(name, i).items():
            np.testing.assert_allclose(by_path[path], stored, rtol=0, atol=1e-10)
            compared += 1
    assert compared == (6 * trace["steps"] if trace["clip"] else 0)  # without clip only the last step is stored
    assert largest_difference(history[-1][0], problem.params(f"{name}/final")) < 1e-10
    counts = trace["adam_step_count_per_param"]
    assert state.counts["conv1"]["bias"] == counts["conv1.bias"] == 20
    assert state.counts["unused"] is None
    heads = [counts["headA.weight"], counts["headB.weight"]]
    if stacked:
        np.testing.assert_array_equal(state.counts["heads"]["weight"], heads)
    else:
        assert [int(state.counts[head]["weight"]) for head in ("headA", "headB")] == heads


def test_twenty_steps_in_float32_are_those_of_the_original_in_float32(reference):
    problem = SmallProblem(reference / "train/optim", jnp.float32)
    trace, history, _ = replay(problem, "lr0.02_N_f32", stacked=True)
    for row, (_, value, norm) in zip(trace["rows"], history, strict=True):
        assert value == pytest.approx(row["loss"], rel=1e-5)
        assert norm == pytest.approx(row["grad_norm_before_clip"], rel=1e-4)
    # 20 updates of up to 0.02: a float32 parameter near 1 keeps 6e-8 of each
    assert largest_difference(history[-1][0], problem.params("lr0.02_N_f32/final")) < 5e-6


@pytest.mark.parametrize("name", ["adamw_only", "adamw_only_q_skipped_on_odd_steps"])
def test_given_gradients_move_parameters_as_torch_does(name, reference, x64):
    stored = {
        key: jnp.asarray(value) for key, value in np.load(reference / "train/optim/optim.npz").items() if name in key
    }
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.01, groups=(("q", 0.1),)), 30)
    params = {"p": stored[f"{name}/p0"], "q": stored[f"{name}/p0"]}
    state = optimizer.init(params)

    @jax.jit
    def step(gradient, state, params, q_takes_part):
        gradients = {"p": gradient, "q": 2 * gradient}
        updates, state = optimizer.update(gradients, state, params, participates={"p": True, "q": q_takes_part})
        return optax.apply_updates(params, updates), state

    for i, gradient in enumerate(stored[f"{name}/grads_p"]):
        params, state = step(gradient, state, params, jnp.array(name == "adamw_only" or i % 2 == 0))
        for key in params:
            np.testing.assert_allclose(params[key], stored[f"{name}/{key}_after"][i], rtol=0, atol=1e-10)


def test_clipping_is_torchs(reference, x64):
    stored = json.loads((reference / "train/optim/optim.json").read_text())["clip"]
    direction = jnp.array([0.6, 0.8])
    for row in stored["rows"]:
        gradients = {"w": direction * row["norm_before"]}
        assert gradient_norm(gradients) == pytest.approx(row["norm_before"], rel=1e-12)
        # after one step from zero the first moment is (1 - beta1) times the clipped gradient
        optimizer = make_optimizer(OptimizerConfig(clip_norm=stored["max_norm"], schedule=CONSTANT), 10)
        _, state = optimizer.update(gradients, optimizer.init(gradients), gradients)
        clipped = jnp.linalg.norm(state.first_moment["w"]) / (1 - CONSTANT.beta1)
        assert clipped == pytest.approx(row["norm_after"], rel=1e-12)


def random_tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = {"encoder": {"kernel": (3, 4), "bias": (4,)}, "heads": {"kernel": (2, 4, 5), "bias": (2, 5)}}
    draw = lambda shape: jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)  # noqa: E731
    return jax.tree.map(draw, shapes, is_leaf=lambda x: isinstance(x, tuple))


def steps_of(optimizer, params, gradients):
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_without_skipping_and_cycling_it_is_optax():
    gradients = [random_tree(seed) for seed in range(5)]
    config = OptimizerConfig(learning_rate=0.01, clip_norm=None, schedule=CONSTANT)
    ours, _ = steps_of(make_optimizer(config, 5), random_tree(9), gradients)
    theirs, _ = steps_of(optax.adamw(0.01, weight_decay=0.01), random_tree(9), gradients)
    # float32: optax forms 1 - 0.999^t by subtraction, which keeps four digits of it at t = 1
    assert largest_difference(ours, theirs) < 1e-5


def test_float32_bias_correction_keeps_the_first_step_exact():
    # at t = 1 every parameter moves by the learning rate, whatever its gradient; 1 - 0.999 by subtraction is 5e-5 off
    config = OptimizerConfig(learning_rate=1.0, clip_norm=None, weight_decay=0.0, schedule=CONSTANT)
    params = {"w": jnp.zeros(3)}
    optimizer = make_optimizer(config, 10)
    updates, _ = optimizer.update({"w": jnp.array([1.0, -3.0, 100.0])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["w"], [-1, 1, -1], rtol=2e-6)


def test_what_takes_no_part_keeps_value_moments_and_count():
    rules = ParticipationRules(routed=("heads/.*",))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10, rules)
    params, state = steps_of(optimizer, random_tree(0), [random_tree(1)])
    takes_part = participation(params, rules, jnp.array([False, True]))
    updates, after = optimizer.update(random_tree(2), state, params, participates=takes_part)
    np.testing.assert_array_equal(updates["heads"]["kernel"][0], 0)
    assert np.all(np.asarray(updates["heads"]["kernel"][1]) != 0)
    for moment in ("first_moment", "second_moment"):
        before, now = (getattr(s, moment)["heads"]["bias"] for s in (state, after))
        np.testing.assert_array_equal(now[0], before[0])
        assert np.all(np.asarray(now[1]) != np.asarray(before[1]))
    np.testing.assert_array_equal(after.counts["heads"]["bias"], [1, 2])
    assert after.counts["encoder"]["bias"] == 2


def test_a_zero_gradient_still_decays_what_takes_part():
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
    params = random_tree(0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, state = optimizer.update(zeros, optimizer.init(params), params)
    assert largest_difference(updates, jax.tree.map(lambda p: -0.1 * 0.01 * p, params)) < 1e-8
    assert all(count == 1 and count.shape == () for count in jax.tree.leaves(state.counts))


def test_frozen_parameters_have_no_state_and_no_part_in_the_norm():
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10, ParticipationRules(never=("encoder/.*",)))
    params = random_tree(0)
    huge = random_tree(1) | {"encoder": jax.tree.map(lambda p: p * jnp.inf, params["encoder"])}
    updates, state = optimizer.update(huge, optimizer.init(params), params)
    assert largest_difference(updates["encoder"], jax.tree.map(jnp.zeros_like, params["encoder"])) == 0
    assert state.first_moment["encoder"] == {"kernel": None, "bias": None} == state.counts["encoder"]
    alone = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
    heads = {"heads": params["heads"]}
    expected, _ = alone.update({"heads": huge["heads"]}, alone.init(heads), heads)
    assert largest_difference(updates["heads"], expected["heads"]) == 0


def test_groups_multiply_the_rate_and_the_decay_with_it():
    params, gradients = random_tree(0), random_tree(1)
    config = OptimizerConfig(learning_rate=0.1, groups=(("encoder/bias", 0.5), ("encoder/.*", 0.1)))
    updates, _ = make_optimizer(config, 10).update(gradients, make_optimizer(config, 10).init(params), params)
    plain = make_optimizer(OptimizerConfig(learning_rate=0.1), 10)
    expected, _ = plain.update(gradients, plain.init(params), params)
    factors = {"encoder": {"kernel": 0.1, "bias": 0.5}, "heads": {"kernel": 1.0, "bias": 1.0}}
    assert largest_difference(updates, jax.tree.map(lambda u, f: u * f, expected, factors)) < 1e-8


def test_a_group_that_matches_nothing_is_an_error():
    config = OptimizerConfig(groups=(("encodr/.*", 0.1),))
    params = random_tree(0)
    optimizer = make_optimizer(config, 10)
    with pytest.raises(PathRuleError, match="learning-rate groups: 'encodr"):
        optimizer.update(params, optimizer.init(params), params)


def test_a_refused_update_changes_only_the_place_in_the_schedule():
    rules = ParticipationRules(routed=("heads/.*",))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10, rules)
    params, state = steps_of(optimizer, random_tree(0), [random_tree(1)])
    broken = jax.tree.map(lambda p: p * jnp.nan, params)
    takes_part = participation(params, rules, jnp.array([True, False]))
    updates, after = optimizer.update(broken, state, params, participates=takes_part, accept=jnp.array(False))
    assert largest_difference(updates, jax.tree.map(jnp.zeros_like, params)) == 0
    assert largest_difference(state._replace(step=after.step), after) == 0
    assert after.step == 2
    accepted, _ = optimizer.update(params, state, params, participates=takes_part, accept=jnp.array(True))
    plain, _ = optimizer.update(params, state, params, participates=takes_part)
    assert largest_difference(accepted, plain) == 0


def test_it_compiles_once_updates_in_place_and_needs_no_memory_beside():
    rules = ParticipationRules(routed=("heads/.*",))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10, rules)
    params = {"encoder": {"kernel": jnp.ones((512, 512))}, "heads": {"kernel": jnp.ones((2, 64, 64))}}
    compilations = []

    def step(params, state, gradients, routed, accept):
        compilations.append(1)
        takes_part = participation(params, rules, routed)
        updates, state = optimizer.update(gradients, state, params, participates=takes_part, accept=accept)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    state = optimizer.init(params)
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    gradients = jax.tree.map(jnp.ones_like, params)
    compiled = step.lower(params, state, gradients, jnp.array([True, False]), jnp.array(True)).compile()
    analysis = compiled.memory_analysis()
    assert analysis.alias_size_in_bytes >= 3 * n_bytes  # parameters and both moments
    # optax.adamw has a second copy of all parameters here; ours may copy a leaf of the small stacked heads
    assert analysis.temp_size_in_bytes < n_bytes / 10
    compilations.clear()
    for i in range(4):
        old = jax.tree.leaves((params, state))
        params, state = step(params, state, gradients, jnp.array([i % 2 == 0, True]), jnp.array(i != 2))
        assert all(leaf.is_deleted() for leaf in old)
    assert len(compilations) <= 1


def test_the_state_shards_like_the_parameters_and_counts_stay_whole():
    rules = ParticipationRules(routed=("heads/.*",), never=("encoder/bias",))
    optimizer = make_optimizer(OptimizerConfig(), 10, rules)
    state = jax.eval_shape(optimizer.init, random_tree(0))
    shardings = {"encoder": {"kernel": "rows", "bias": "columns"}, "heads": {"kernel": "fsdp", "bias": "whole"}}
    spread = state_of(shardings, state, "replicated")
    assert spread.first_moment == shardings | {"encoder": {"kernel": "rows", "bias": None}} == spread.second_moment
    assert set(jax.tree.leaves(spread.counts)) == {"replicated"}
    assert jax.tree.structure(spread) == jax.tree.structure(state)


def test_orbax_restores_the_state_bit_for_bit(tmp_path):
    rules = ParticipationRules(routed=("heads/.*",), never=("encoder/bias",))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 10, rules)
    _, state = steps_of(optimizer, random_tree(0), [random_tree(1), random_tree(2)])
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", jax.eval_shape(lambda: state))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_bfloat16_parameters_have_float32_moments():
    params = {"w": jnp.ones(4, jnp.bfloat16)}
    optimizer = make_optimizer(OptimizerConfig(), 10)
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert updates["w"].dtype == jnp.bfloat16
    assert state.first_moment["w"].dtype == state.second_moment["w"].dtype == jnp.float32


def test_float32_parameters_stay_float32_under_x64(x64):
    params = {"w": jnp.ones(4, jnp.float32)}
    optimizer = make_optimizer(OptimizerConfig(), 10)
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert updates["w"].dtype == state.first_moment["w"].dtype == state.second_moment["w"].dtype == jnp.float32


def test_the_parameters_are_needed():
    params = random_tree(0)
    optimizer = make_optimizer(OptimizerConfig(), 10)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(params, optimizer.init(params))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0"),
        ({"weight_decay": -0.1}, "weight_decay is"),
        ({"eps": 0.0}, "eps is"),
        ({"b2": 1.0}, "b2 is"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be positive, or None"),
        ({"ema_decay": 1.0}, "ema_decay is"),
        ({"accumulation_steps": 0}, "accumulation_steps is 0"),
        ({"groups": (("encoder/.*", -0.1),)}, "learning-rate factor of 'encoder"),
        ({"learning_rat": 0.1}, "no field 'learning_rat'"),
    ],
)
def test_an_option_out_of_range_is_an_error(fields, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(fields, OptimizerConfig)


def test_the_options_survive_json():
    config = OptimizerConfig(
        groups=(("encoder/.*", 0.1),), freeze=("decoder/.*",), clip_norm=None, ema_decay=0.999, schedule=CONSTANT
    )
    assert from_dict(json.loads(json.dumps(to_dict(config))), OptimizerConfig) == config
