"""One device against eight, and against two processes of four; and what the compiled step sends between devices."""

import functools
import math
import re
from collections.abc import Callable, Mapping

import jax
import numpy as np
import pytest

from tests.processes import run_processes
from tests.train.run_steps import HEIGHT, STEPS, WIDTH, model_config
from zoe_jax.models.zoedepth import init
from zoe_jax_experiments.benchmarks.collectives import Collective, collectives

pytestmark = pytest.mark.slow

Run = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Starts tests.train.run_steps in processes of their own, once for each set of arguments."""
    finished: dict[tuple[int, int, int], Run] = {}

    def start(devices: int = 1, fsdp: int = 1, processes: int = 1) -> Run:
        key = (devices, fsdp, processes)
        if key not in finished:
            file = tmp_path_factory.mktemp("run") / "result.npz"
            run_processes("tests.train.run_steps", file, "--fsdp", fsdp, devices=devices, processes=processes)
            with np.load(file) as result:
                finished[key] = dict(result)
        return finished[key]

    return start


@pytest.mark.parametrize(
    ("devices", "fsdp", "processes"),
    [(8, 1, 1), (8, 8, 1), (8, 4, 1), (8, 4, 2)],
    ids=["data 8", "fsdp 8", "data 2 fsdp 4", "2 processes of 4 devices"],
)
def test_as_on_one_device(run: Callable[..., Run], devices: int, fsdp: int, processes: int) -> None:
    """Domains are mixed, masks differ from image to image, dropout is on, and a row is padding."""
    one, many = run(), run(devices, fsdp, processes)
    assert one["reports"].shape == (STEPS, 3)
    loss, norm = [0, 1], 2
    # sums over devices are in another order: 1e-7 is seen
    np.testing.assert_allclose(many["reports"][:, loss], one["reports"][:, loss], rtol=1e-5)
    # 20 updates of Adam magnify what rounding leaves of gradients that are 0: 7e-6 is seen
    np.testing.assert_allclose(many["reports"][:, norm], one["reports"][:, norm], rtol=1e-4)
    assert np.mean(np.abs(many["params"] - one["params"])) < 1e-6
    assert np.mean(np.abs(one["params"])) > 1e-2


@pytest.fixture(params=[(8, 8), (8, 4)], ids=["fsdp 8", "data 2 fsdp 4"])
def compiled(request: pytest.FixtureRequest, run: Callable[..., Run]) -> tuple[list[Collective], int]:
    """The collectives of a step, and the devices along fsdp."""
    devices, fsdp = request.param
    return collectives(str(run(devices, fsdp)["hlo"]), devices), fsdp


def test_blocks_are_gathered_one_at_a_time_inside_the_loop(compiled: tuple[list[Collective], int]) -> None:
    gathers = [c for c in compiled[0] if c.kind == "all-gather"]
    assert {c.group_size for c in gathers} == {compiled[1]}
    layers = model_config().encoder.depth // 4
    of_blocks = [c for c in gathers if "encoder/while" in c.op_name]
    # qkv, proj, fc1 and fc2 of each of four stages, for the forward and for the backward pass
    assert len(of_blocks) == 4 * 4 * 2
    assert {c.times for c in of_blocks} == {layers}


def test_only_parameters_are_gathered(compiled: tuple[list[Collective], int]) -> None:
    """Neither a whole stack of blocks nor an activation: each result has the shape of one layer's kernel."""
    for gather in (c for c in compiled[0] if c.kind == "all-gather"):
        for _, shape in gather.shapes:
            assert len(shape) > 1
            assert unordered(shape) in parameter_shapes(), gather


def test_only_gradients_and_scalars_are_reduced(compiled: tuple[list[Collective], int]) -> None:
    found, fsdp = compiled
    reductions = [c for c in found if c.kind != "all-gather"]
    assert {c.kind for c in reductions} <= {"all-reduce", "reduce-scatter"}
    # over all devices at once, or along one axis of the mesh and then, what is left, along the other
    assert {c.group_size for c in reductions} <= {8, fsdp, 8 // fsdp}
    assert math.prod({c.group_size for c in reductions if "encoder/while" in c.op_name}) % 8 == 0
    encoder = model_config().encoder
    tokens = HEIGHT * WIDTH // encoder.patch_size**2 + 1
    # of the position table before it is looked up, and of what there is one of a domain
    known = parameter_shapes() | {unordered((encoder.heads, tokens, tokens)), (), (2,)}
    known |= {unordered((*shape[:i], side // fsdp, *shape[i + 1 :])) for shape in known for i, side in enumerate(shape)}
    for reduction in reductions:
        for _, shape in reduction.shapes:
            # a vector is the gradient of a bias or a scale
            assert len(shape) <= 1 or unordered(shape) in known, reduction
    assert any(c.shapes == (("f32", ()),) and c.group_size == 8 for c in reductions)


@functools.cache
def parameter_shapes() -> frozenset[tuple[int, ...]]:
    """Of one layer of each parameter, sides sorted, since the compiler orders them as it likes."""
    shapes = set()
    for path, leaf in jax.tree.leaves_with_path(jax.eval_shape(lambda: init(model_config(), jax.random.key(0)))):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        shape = leaf.shape[1:] if re.search("stage_|layers/", name) else leaf.shape
        shapes.add(unordered(shape))
        # the readout uses the halves of its kernel one by one, the log-binomial likewise at unequal parts
        if name.endswith("readout/kernel"):
            shapes.add(unordered((shape[0] // 2, shape[1])))
    return frozenset(shapes)


def unordered(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(side for side in shape if side > 1))
