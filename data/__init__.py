"""TFDS builders, one sub-package a data set; installed as `zoe_jax_data`."""
