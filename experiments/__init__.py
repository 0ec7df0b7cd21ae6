"""One file a run of the paper, and the quickstart; installed as `zoe_jax_experiments`."""
