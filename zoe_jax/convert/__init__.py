"""PyTorch checkpoints to JAX parameters and back; `families/` is the only place with PyTorch's names."""
