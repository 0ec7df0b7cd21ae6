"""Rooms and roads: rendered scenes with exact metric depth, as many and as large as one likes.

`zoe-jax prepare rooms_and_roads` writes the data sets `zoe_rooms_and_roads/rooms` (up to 10 m) and
`zoe_rooms_and_roads/roads` (up to 80 m, the sky without depth); `render` makes a single scene.
"""

from typing import Any

from .rendering import Scene, render

__all__ = ["PREPARATION", "Scene", "render"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """PREPARATION, which brings TensorFlow Datasets: the processes that only render start without it."""
    if name == "PREPARATION":
        from .preparation import PREPARATION

        return PREPARATION
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
