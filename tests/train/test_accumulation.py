import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoe_jax.train.accumulation import accumulate_gradients, moving_average
from zoe_jax.train.losses import silog_loss


def squared_error(params, batch, index):
    error = batch["x"] @ params["w"] - batch["y"]
    return jnp.mean(error**2), {"index": index, "examples": batch["x"][:, 0]}


value_and_grad = jax.value_and_grad(squared_error, has_aux=True)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    batch = {"x": jnp.asarray(rng.standard_normal((12, 3))), "y": jnp.asarray(rng.standard_normal(12))}
    return {"w": jnp.asarray(rng.standard_normal(3))}, batch


@pytest.mark.parametrize("steps", [1, 2, 4, 12])
def test_for_a_mean_over_images_it_is_the_gradient_of_the_whole_batch(problem, steps):
    params, batch = problem
    (loss, _), gradients = jax.jit(lambda p, b: accumulate_gradients(value_and_grad, p, b, steps))(params, batch)
    (expected, _), expected_gradients = value_and_grad(params, batch, 0)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients["w"], expected_gradients["w"], rtol=1e-5)


def test_for_silog_it_is_the_mean_of_the_micro_batches_losses():
    rng = np.random.default_rng(0)
    batch = {name: jnp.asarray(rng.uniform(1, 5, (4, 6, 8)), jnp.float32) for name in ("relative", "truth")}

    def loss(params, batch, _):
        return silog_loss(params["scale"] * batch["relative"], batch["truth"]), None

    params = {"scale": jnp.float32(1.3)}
    (mean, _), gradients = accumulate_gradients(jax.value_and_grad(loss, has_aux=True), params, batch, 2)
    halves = [jax.tree.map(lambda x, i=i: x[i::2], batch) for i in range(2)]
    expected = jax.grad(lambda p: sum(loss(p, half, 0)[0] for half in halves) / 2)(params)
    assert mean == pytest.approx(np.mean([loss(params, half, 0)[0] for half in halves]), rel=1e-6)
    assert gradients["scale"] == pytest.approx(float(expected["scale"]), rel=1e-5)
    assert abs(float(mean - loss(params, batch, 0)[0])) > 1e-3  # the whole batch has another loss


def test_micro_batches_take_every_nth_example_and_know_their_index(problem):
    params, batch = problem
    (_, auxiliary), _ = accumulate_gradients(value_and_grad, params, batch, 4)
    np.testing.assert_array_equal(auxiliary["index"], [0, 1, 2, 3])
    np.testing.assert_array_equal(auxiliary["examples"], np.asarray(batch["x"][:, 0]).reshape(3, 4).T)


def test_a_single_step_has_the_same_structure(problem):
    params, batch = problem
    (_, auxiliary), _ = accumulate_gradients(value_and_grad, params, batch, 1)
    assert auxiliary["examples"].shape == (1, 12)


def test_bfloat16_gradients_are_summed_in_float32():
    # 1 + 1/256 is not a bfloat16: added one by one in that type, 256 such terms would stand still early
    params = {"w": jnp.ones((), jnp.bfloat16)}
    loss = jax.value_and_grad(lambda p, b, _: (jnp.sum(p["w"] * b), None), has_aux=True)
    _, gradients = accumulate_gradients(loss, params, jnp.ones(512, jnp.bfloat16), 512)
    assert gradients["w"].dtype == jnp.bfloat16
    assert gradients["w"] == 1


def test_a_batch_that_does_not_divide_is_an_error(problem):
    with pytest.raises(ValueError, match="a batch of 12 does not divide into 5 micro-batches"):
        accumulate_gradients(value_and_grad, *problem, 5)


def test_the_moving_average_keeps_its_share_and_its_type():
    average = moving_average({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 2.0], jnp.bfloat16)}, 0.75)
    np.testing.assert_allclose(average["w"], [1.5, 2.0])
    assert average["w"].dtype == jnp.float32
