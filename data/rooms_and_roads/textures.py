"""Patterns that repeat, each a square of values in 0..1, drawn once a process and read at any size without aliasing."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

SIZE = 256
LEVELS = SIZE.bit_length()
"""A pyramid of halved sizes down to a single value."""

Pattern = Float[np.ndarray, "size size"]

# Rows run along the second coordinate of a face, which on walls is the height.
_V, _U = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE


def _clouds(roughness: float, seed: int, stretch: tuple[float, float] = (1, 1)) -> np.ndarray:
    """Noise whose amplitude falls with frequency^roughness; `stretch` draws it out along u and v."""
    frequencies = np.fft.fftfreq(SIZE) * SIZE
    distance = np.hypot(frequencies[None, :] * stretch[0], frequencies[:, None] * stretch[1])
    distance[0, 0] = np.inf
    white = np.random.Generator(np.random.Philox(key=seed)).random((SIZE, SIZE))
    values = np.fft.ifft2(np.fft.fft2(white) / distance**roughness).real
    return np.clip(0.5 + values / (4 * values.std()), 0, 1)


def _cells(columns: int, rows: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wall of bricks: position within each in 0..1, and one value a brick; every other row is shifted."""
    v = _V * rows
    u = _U * columns + shift * (v.astype(int) % 2)
    index = u.astype(int) % columns + columns * v.astype(int)
    tone = np.random.Generator(np.random.Philox(key=columns * 100 + rows)).random(columns * rows)[index]
    return u % 1, v % 1, tone


def _joints(u: np.ndarray, v: np.ndarray, width_u: float, width_v: float) -> np.ndarray:
    """1 within a cell, 0 in its border."""
    return ((np.abs(u - 0.5) < 0.5 - width_u) & (np.abs(v - 0.5) < 0.5 - width_v)).astype(float)


def _tiles() -> np.ndarray:
    u, v, tone = _cells(4, 4)
    return _joints(u, v, 0.03, 0.03) * (0.75 + 0.25 * tone)


def _bricks() -> np.ndarray:
    u, v, tone = _cells(4, 12, 0.5)
    return 1 - _joints(u, v, 0.03, 0.09) * (0.6 + 0.4 * tone) * (0.8 + 0.2 * _clouds(0.5, 1))


def _planks() -> np.ndarray:
    u, v, tone = _cells(8, 2, 0.0)
    grain = _clouds(1.0, 2, (1, 12))
    return _joints(u, v, 0.02, 0.004) * (0.35 + 0.4 * tone + 0.25 * grain)


def _parquet() -> np.ndarray:
    u, v, tone = _cells(8, 8)
    lengthwise = ((_U * 8).astype(int) + (_V * 8).astype(int)) % 2 == 0
    strips = np.where(lengthwise, u, v) * 4 % 1
    return np.where(strips < 0.06, 0.1, 0.4 + 0.3 * tone + 0.3 * _clouds(0.6, 3)) * _joints(u, v, 0.02, 0.02)


def _wood() -> np.ndarray:
    rings = _clouds(1.6, 4, (1, 8))
    return 0.5 + 0.3 * np.sin(40 * rings) + 0.2 * (_clouds(0.6, 5, (1, 10)) - 0.5)


def _plaid() -> np.ndarray:
    lines = [(np.abs(x * 4 % 1 - 0.5) < 0.2) * 0.35 + (np.abs(x * 8 % 1 - 0.5) < 0.06) * 0.15 for x in (_U, _V)]
    return sum(lines, np.zeros((SIZE, SIZE)))


def _dots() -> np.ndarray:
    return (np.hypot(_U * 8 % 1 - 0.5, _V * 8 % 1 - 0.5) < 0.28).astype(float)


def _books() -> np.ndarray:
    """Three shelves of books of different heights, widths and colours."""
    generator = np.random.Generator(np.random.Philox(key=6))
    values = np.zeros((SIZE, SIZE))
    for bottom in np.linspace(0, SIZE, 3, endpoint=False).astype(int):
        left = 0
        while left < SIZE - 6:
            width, height = int(generator.integers(5, 13)), int(generator.integers(46, 70))
            values[bottom + 8 : bottom + 8 + height, left + 1 : left + width] = generator.uniform(0.15, 0.9)
            left += width
        values[bottom : bottom + 8] = 1.0
    return values


def _windows(width: float, height: float, key: int) -> np.ndarray:
    """4 x 4 windows in a wall; 0 is glass, some of it with a curtain."""
    u, v, _ = _cells(4, 4)
    generator = np.random.Generator(np.random.Philox(key=key))
    curtain = generator.choice([0.0, 0.0, 0.12, 0.35], (4, 4))[(_V * 4).astype(int), (_U * 4).astype(int)]
    distance_u, distance_v = np.abs(u - 0.5), np.abs(v - 0.5)
    frame = (distance_u < width / 2 + 0.04) & (distance_v < height / 2 + 0.04)
    glass = (distance_u < width / 2) & (distance_v < height / 2) & (distance_u > 0.02)
    return np.where(glass, curtain, np.where(frame, 1.0, 0.72 + 0.1 * _clouds(0.8, key)))


def _panels() -> np.ndarray:
    """The two panels of a door, to be stretched over it."""
    border = (np.abs(_U - 0.5) < 0.36) & (np.abs((_V * 2) % 1 - 0.5) < 0.42)
    inside = (np.abs(_U - 0.5) < 0.32) & (np.abs((_V * 2) % 1 - 0.5) < 0.39)
    handle = (np.abs(_U - 0.93) < 0.03) & (np.abs(_V - 0.5) < 0.02)
    return np.where(handle, 0.0, np.where(border & ~inside, 0.45, 0.9))


def _fronts() -> np.ndarray:
    """Two doors of a cupboard with a handle each, to be stretched over it."""
    gap = _joints(_U * 2 % 1, _V, 0.012, 0.008)
    handle = (np.abs(np.abs(_U - 0.5) - 0.05) < 0.012) & (np.abs(_V - 0.5) < 0.09)
    return np.where(handle, 0.0, gap * (0.9 + 0.1 * _clouds(1.0, 7, (1, 6))))


def _cross() -> np.ndarray:
    """A window's panes between its bars, to be stretched over it: 1 is glass."""
    return _joints(_U * 2 % 1, _V * 2 % 1, 0.05, 0.04) * (0.75 + 0.25 * _V)


def _painting() -> np.ndarray:
    frame = _joints(_U, _V, 0.07, 0.07)
    return np.where(frame > 0, 0.25 + 0.75 * _clouds(1.8, 8), 0.0)


def _lane(dashed: bool) -> np.ndarray:
    """Asphalt with white paint along its left edge: over a third of its length where dashed."""
    paint = np.abs(_U - 0.022) < 0.02
    if dashed:
        paint &= _V < 0.36
    tracks = 0.05 * np.cos(4 * np.pi * (_U - 0.5)) * np.ones_like(_V)
    return np.where(paint, 0.95, 0.14 + tracks + 0.1 * (_clouds(0.3, 9) - 0.5))


def _leaves() -> np.ndarray:
    return np.clip(1.6 * _clouds(0.7, 10) * _clouds(1.1, 11) * 1.5, 0, 1)


def _bus() -> np.ndarray:
    """A band of windows, to be stretched over the side of a bus."""
    band = (np.abs(_V - 0.68) < 0.2) & (np.abs(_U * 6 % 1 - 0.5) < 0.46)
    return np.where(band, 0.0, np.where(np.abs(_V - 0.3) < 0.05, 0.6, 1.0))


PATTERNS: dict[str, Callable[[], np.ndarray]] = {
    "plain": lambda: 0.5 + 0.15 * (_clouds(0.3, 12) - 0.5),
    "noise": lambda: _clouds(0.3, 13),
    "clouds": lambda: _clouds(1.4, 14),
    "checker": lambda: ((_U * 4).astype(int) + (_V * 4).astype(int)) % 2 * 1.0,
    "stripes": lambda: (_U * 8 % 1 < 0.5) * 1.0,
    "pinstripes": lambda: 0.5 + 0.5 * np.cos(32 * np.pi * _U) * np.ones_like(_V),
    "ends": lambda: (np.abs(_U - 0.5) > 0.32) * np.ones_like(_V),
    "bars": lambda: (_U * 2 % 1 < 0.5) * 1.0,
    "tiles": _tiles,
    "bricks": _bricks,
    "planks": _planks,
    "parquet": _parquet,
    "wood": _wood,
    "plaid": _plaid,
    "dots": _dots,
    "books": _books,
    "windows": lambda: _windows(0.42, 0.5, 15),
    "wide_windows": lambda: _windows(0.82, 0.45, 16),
    "panels": _panels,
    "fronts": _fronts,
    "cross": _cross,
    "painting": _painting,
    "dashed_lane": lambda: _lane(dashed=True),
    "solid_lane": lambda: _lane(dashed=False),
    "leaves": _leaves,
    "bus": _bus,
}
INDEX = {name: i for i, name in enumerate(PATTERNS)}


class Bank(NamedTuple):
    """The pyramids of all patterns in one array."""

    values: Float[np.ndarray, "total"]
    starts: Int[np.ndarray, "patterns levels"]
    """Where each level of each pattern begins."""


@functools.cache
def bank() -> Bank:
    """Every pattern at every level; 8 MB, drawn in a fraction of a second."""
    pieces, starts, total = [], [], 0
    for draw in PATTERNS.values():
        level = np.clip(draw(), 0, 1).astype(np.float32)
        for _ in range(LEVELS):
            pieces.append(level.ravel())
            starts.append(total)
            total += level.size
            half = level.shape[0] // 2
            level = level.reshape(half, 2, half, 2).mean((1, 3)) if half else level
    return Bank(np.concatenate(pieces), np.array(starts, np.int32).reshape(-1, LEVELS))


def sample(
    pattern: Int[np.ndarray, "n"],
    u: Float[np.ndarray, "n"],
    v: Float[np.ndarray, "n"],
    area: Float[np.ndarray, "n"],
) -> Float[np.ndarray, "n"]:
    """Values of patterns at positions counted in repetitions, interpolated bilinearly.

    Args:
        pattern: of each pixel, an index of `INDEX`.
        u: along the rows of the pattern.
        v: along its columns.
        area: how much of a repetition a pixel covers; it decides the level of the pyramid.
    """
    values, starts = bank()
    # frexp's exponent is floor(log2) + 1, and half of it the rounded logarithm of the width in texels.
    level = np.clip(np.frexp(area * np.float32(SIZE * SIZE))[1] >> 1, 0, LEVELS - 1)
    start = starts.reshape(-1).take(pattern * np.int32(LEVELS) + level)
    size = np.right_shift(np.int32(SIZE), level)
    mask = size - 1
    u = (u - np.floor(u)) * size - np.float32(0.5)
    v = (v - np.floor(v)) * size - np.float32(0.5)
    left, top = np.floor(u), np.floor(v)
    share_u, share_v = u - left, v - top
    left, top = left.astype(np.int32), top.astype(np.int32)
    right = left + 1 & mask
    left &= mask
    upper = start + (top & mask) * size
    lower = start + (top + 1 & mask) * size
    first = values[upper + left]
    first += (values[upper + right] - first) * share_u
    second = values[lower + left]
    second += (values[lower + right] - second) * share_u
    return first + (second - first) * share_v
