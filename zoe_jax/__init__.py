"""ZoeDepth in JAX: one RGB image in, depth in metres out.

The functional face is `init` and `forward`; `load` gives a `DepthModel` for people with a photo.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoe_jax.config import ZoeDepthConfig as ZoeDepthConfig
    from zoe_jax.config import override as override
    from zoe_jax.config import preset as preset
    from zoe_jax.depth_model import DepthModel as DepthModel
    from zoe_jax.depth_model import load as load
    from zoe_jax.errors import ZoeJaxError as ZoeJaxError
    from zoe_jax.models.zoedepth import ZoeDepthOutput as ZoeDepthOutput
    from zoe_jax.models.zoedepth import forward as forward
    from zoe_jax.models.zoedepth import init as init

__version__ = "0.1.0"

_HOMES = {
    "DepthModel": "depth_model",
    "ZoeDepthConfig": "config",
    "ZoeDepthOutput": "models.zoedepth",
    "ZoeJaxError": "errors",
    "forward": "models.zoedepth",
    "init": "models.zoedepth",
    "load": "depth_model",
    "override": "config",
    "preset": "config",
}


def __getattr__(name: str) -> Any:
    # on first use, so that `import zoe_jax` does not wait for JAX
    if name in _HOMES:
        return getattr(importlib.import_module(f"zoe_jax.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'zoe_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_HOMES]
