"""What surfaces are made of, indoors and outdoors: textures, colours and the sizes of what repeats."""

import colorsys

from .world import Draws, Material, Triple

ASPHALT_DARK, ASPHALT_PAINTED = (0.02, 0.02, 0.022), (0.75, 0.75, 0.72)


def color(draws: Draws, low: float, high: float, saturation: float, hue: float | None = None) -> Triple:
    """Any hue (unless given), a saturation up to the given one, and a brightest channel in low..high."""
    hue = draws.unit() if hue is None else hue + draws.around(0, 0.03)
    return colorsys.hsv_to_rgb(hue % 1, saturation * draws.unit(), draws.between(low, high))


def scaled(base: Triple, factor: float) -> Triple:
    """A darker or brighter shade."""
    return (min(base[0] * factor, 1), min(base[1] * factor, 1), min(base[2] * factor, 1))


def _material(
    draws: Draws, texture: str, base: Triple, contrast: float, tile_m: tuple[float, float] | None = None
) -> Material:
    """From a darker shade to the colour itself; without a tile, stretched over each face."""
    offset = (draws.unit(), draws.unit()) if tile_m else (0.0, 0.0)
    return Material(texture, scaled(base, 1 - contrast), base, tile_m or (0.0, 0.0), offset)


def plain(draws: Draws, base: Triple) -> Material:
    """One colour, with a trace of grain."""
    return _material(draws, "plain", base, 0.2, (1.0, 1.0))


def shining(base: Triple, glow: float, texture: str = "plain") -> Material:
    """A lamp or a bright window."""
    return Material(texture, scaled(base, 0.1), base, (0.0, 0.0), (0.0, 0.0), glow)


def wood(draws: Draws) -> Material:
    """From pale birch to dark walnut, or painted white."""
    if draws.chance(0.2):
        return plain(draws, color(draws, 0.6, 0.85, 0.1))
    base = colorsys.hsv_to_rgb(draws.between(0.05, 0.1), draws.between(0.4, 0.75), draws.log_between(0.1, 0.6))
    contrast, size = draws.between(0.2, 0.5), draws.between(0.4, 0.9)
    return _material(draws, "wood", base, contrast, (size, size))


def fabric(draws: Draws) -> Material:
    """Sofas, beds, curtains."""
    texture = draws.choice(["noise", "noise", "plaid", "stripes", "pinstripes", "dots", "clouds", "checker"])
    size = draws.between(0.25, 0.9)
    return _material(draws, texture, color(draws, 0.12, 0.8, 0.8), draws.between(0.1, 0.6), (size, size))


def wall(draws: Draws) -> Material:
    """Paint, wallpaper, tiles, panelling or bare brick."""
    base = color(draws, 0.45, 0.9, 0.35 if draws.chance(0.8) else 0.7)
    kind = draws.unit()
    if kind < 0.55:
        return _material(draws, draws.choice(["plain", "noise", "clouds"]), base, draws.between(0.03, 0.25), (1.5, 1.5))
    if kind < 0.75:
        size = draws.between(0.6, 1.6)
        paper = draws.choice(["stripes", "pinstripes", "dots", "plaid"])
        return _material(draws, paper, base, draws.between(0.06, 0.3), (size, size))
    if kind < 0.88:
        size = draws.choice([0.6, 0.8, 1.2])
        return _material(draws, "tiles", base, draws.between(0.3, 0.6), (size, size))
    if kind < 0.95:
        return bricks(draws)
    return _material(draws, "wood", wood(draws).light, 0.3, (0.9, 0.9))


def floor(draws: Draws) -> Material:
    """Planks, parquet, tiles, carpet or concrete."""
    kind = draws.unit()
    base = colorsys.hsv_to_rgb(draws.between(0.04, 0.1), draws.between(0.3, 0.7), draws.log_between(0.15, 0.6))
    if kind < 0.4:
        width = draws.between(0.09, 0.2) * 8
        return _material(draws, "planks", base, draws.between(0.4, 0.75), (width, 2.4 * draws.between(0.7, 1)))
    if kind < 0.55:
        size = draws.between(0.3, 0.5) * 8
        return _material(draws, "parquet", base, draws.between(0.4, 0.75), (size, size))
    size = draws.choice([0.3, 0.4, 0.6]) * 4
    if kind < 0.72:
        return _material(draws, "tiles", color(draws, 0.25, 0.8, 0.3), draws.between(0.3, 0.7), (size, size))
    if kind < 0.82:
        light = color(draws, 0.4, 0.8, 0.25)
        return Material("checker", color(draws, 0.03, 0.3, 0.5), light, (size, size), (draws.unit(), draws.unit()))
    texture = draws.choice(["noise", "clouds"])
    return _material(draws, texture, color(draws, 0.15, 0.6, 0.5), draws.between(0.1, 0.5), (0.8, 0.8))


def bricks(draws: Draws) -> Material:
    """Red, yellow or whitewashed; the joints are what is lighter."""
    base = colorsys.hsv_to_rgb(draws.between(0.01, 0.11), draws.between(0.2, 0.7), draws.between(0.2, 0.6))
    return Material("bricks", base, color(draws, 0.5, 0.7, 0.15), (1.0, 1.0), (draws.unit(), draws.unit()))


def facade(draws: Draws, storey_m: float) -> Material:
    """Four rows of windows in a wall, or a wall without."""
    kind = draws.unit()
    base = color(draws, 0.3, 0.85, 0.45, hue=0.08 if draws.chance(0.7) else None)
    if kind < 0.12:
        return bricks(draws)
    if kind < 0.2:
        return _material(draws, "noise", base, 0.2, (3.0, 3.0))
    spacing = draws.between(1.8, 4.5)
    texture = draws.choice(["windows", "windows", "wide_windows"])
    return Material(texture, (0.03, 0.04, 0.06), base, (4 * spacing, 4 * storey_m), (draws.unit(), 0.0))


def leaves(draws: Draws) -> Material:
    """Green, sometimes autumnal."""
    hue = draws.between(0.2, 0.33) if draws.chance(0.85) else draws.between(0.05, 0.14)
    base = colorsys.hsv_to_rgb(hue, draws.between(0.45, 0.8), draws.between(0.15, 0.45))
    size = draws.between(1.5, 3)
    return _material(draws, "leaves", base, draws.between(0.7, 0.9), (size, size))


def grass(draws: Draws) -> Material:
    """Meadow, or bare earth."""
    hue = draws.between(0.17, 0.3) if draws.chance(0.8) else draws.between(0.07, 0.12)
    base = colorsys.hsv_to_rgb(hue, draws.between(0.4, 0.75), draws.between(0.15, 0.4))
    return _material(draws, draws.choice(["clouds", "noise"]), base, draws.between(0.3, 0.7), (5.0, 5.0))


def asphalt(draws: Draws) -> Material:
    """Road surface without markings."""
    return _material(draws, "noise", color(draws, 0.08, 0.25, 0.15), draws.between(0.2, 0.5), (3.0, 3.0))


def paving(draws: Draws) -> Material:
    """Slabs of a pavement."""
    size = draws.choice([0.3, 0.5, 1.0]) * 4
    base = color(draws, 0.3, 0.6, 0.2, hue=0.09)
    return _material(draws, draws.choice(["tiles", "tiles", "noise"]), base, draws.between(0.3, 0.6), (size, size))


def car_paint(draws: Draws) -> Material:
    """Mostly white, grey and black, as on the road."""
    if draws.chance(0.65):
        return plain(draws, color(draws, 0.03, 0.85, 0.08))
    hue = draws.choice([0.0, 0.0, 0.58, 0.62, 0.35, 0.12])
    red, green, blue = colorsys.hsv_to_rgb(hue, draws.between(0.7, 0.95), draws.between(0.15, 0.7))
    return plain(draws, (red, green, blue))


def glass(draws: Draws) -> Material:
    """Car windows: dark, with a trace of sky."""
    return plain(draws, color(draws, 0.05, 0.18, 0.4, hue=0.58))
