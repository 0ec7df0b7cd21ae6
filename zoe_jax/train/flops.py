"""Floating-point operations of a step, and how many of them a device could do."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA V100": 125e12,
}
"""Of dense bfloat16 (V100: float16) matrix products, by the maker's data sheet; the longest matching name counts."""


def count_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations in the matrix products and convolutions of a function, as it is written.

    A multiply-add counts as two. Loops count as often as they run (XLA's own cost analysis counts the body of a scan
    once), and what is computed a second time to save memory counts again.

    Args:
        function: anything that JAX can trace.
        arguments: arrays or their shapes.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def peak_flops(device: Any) -> float:
    """Operations a second that a device can do in theory, or else does in a large float32 matrix product."""
    known = [name for name in PEAK_FLOPS if device.device_kind.startswith(name)]
    if known:
        return PEAK_FLOPS[max(known, key=len)]
    side = 1024
    matrix = jax.device_put(jnp.ones((side, side), jnp.float32), device)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    shortest_s = math.inf
    for _ in range(5):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        shortest_s = min(shortest_s, time.perf_counter() - start)
    return 2 * side**3 / shortest_s


def peak_flops_of_all() -> float:
    """`peak_flops` of all devices of all hosts, which are alike; the CPU devices of a process are one machine."""
    device = jax.local_devices()[0]
    return peak_flops(device) * (jax.process_count() if device.platform == "cpu" else jax.device_count())


def _count(jaxpr: core.Jaxpr) -> float:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: core.JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return 2.0 * math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
        # zeros that a dilation of the input puts in are not multiplied by anyone's count
        dilation = math.prod(params["lhs_dilation"])
        return 2.0 * math.prod(_shape(equation.outvars[0])) * math.prod(kernel) / outputs / dilation
    inner = [_jaxpr(value) for value in params.values() if _is_jaxpr(value)]
    if name == "cond":
        return max((_count(_jaxpr(branch)) for branch in params["branches"]), default=0.0)
    return params.get("length", 1) * sum(map(_count, inner)) if name == "scan" else sum(map(_count, inner))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def _jaxpr(value: Any) -> core.Jaxpr:
    return value.jaxpr if isinstance(value, core.ClosedJaxpr) else value
