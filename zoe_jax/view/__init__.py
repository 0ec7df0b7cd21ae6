"""Depth as pictures: colour maps and side-by-side panels."""

from zoe_jax.view.colormap import check_colormap, colorize
from zoe_jax.view.panel import panel

__all__ = ["check_colormap", "colorize", "panel"]
