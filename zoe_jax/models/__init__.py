"""Flax Linen modules, one idea a file; the mathematics they call lives in `zoe_jax.ops`."""
