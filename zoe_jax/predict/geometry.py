"""Sizes: how far an image is padded, and at which resolution the network sees it."""

import math
from typing import Literal

import numpy as np

from zoe_jax.predict.images import ImageError

Size = tuple[int, int]
"""Height and width in pixels."""

SizeRule = Literal["minimal", "lower_bound", "upper_bound"]

MAX_NETWORK_AREA = 8
"""The largest network input, in areas of the model's own `network_size`: attention grows with its square."""


def padding(image_size: Size, factor_height: int | float = 3, factor_width: int | float = 3) -> Size:
    """Rows above and below, columns left and right, that are added by reflection before the network.

    The model is weak along the border; the original (`DepthModel.infer`, zoedepth/models/depth_model.py) pads each
    side by a multiple of the root of half its length, truncated, and crops the prediction.
    """
    height, width = image_size
    return int(math.sqrt(height / 2) * factor_height), int(math.sqrt(width / 2) * factor_width)


def check_padding(image_size: Size, padding: Size) -> None:
    """Raises ImageError where a reflection would need more pixels than the image has."""
    for name, side, pad in zip(("height", "width"), image_size, padding, strict=True):
        if pad >= max(side, 1):
            raise ImageError(
                f"an image of {_text(image_size)} pixels is too small to be padded: its {name}, {side}, must be more "
                f"than the padding, {pad}; 5x5 pixels is the smallest that can be padded, or turn padding off"
            )


def network_size(
    image_size: Size,
    target: Size,
    *,
    keep_aspect_ratio: bool = True,
    multiple_of: int | float = 32,
    rule: SizeRule = "minimal",
) -> Size:
    """The size at which the network sees an image: near `target`, each side a multiple of `multiple_of`.

    With `keep_aspect_ratio` one scale serves both sides: under `minimal` the one that changes the image least (a tie
    goes to the height), under `lower_bound` the larger one, under `upper_bound` the smaller. Halves round to the even
    multiple. Source: `Resize.get_size` of zoedepth/models/base_models/midas.py; the image processor of transformers
    has the `minimal` rule, by default with the odd multiple 1/32.

    Returns:
        Height and width; a side can come out as 0 for very elongated images, see `check_network_size`.
    """
    scales = [new / old for new, old in zip(target, image_size, strict=True)]
    if keep_aspect_ratio:
        choose = {"minimal": lambda s: min(s, key=lambda scale: abs(1 - scale)), "lower_bound": max, "upper_bound": min}
        scales = [choose[rule](scales)] * 2
    sides = []
    for scale, old, new in zip(scales, image_size, target, strict=True):
        side = int(np.round(scale * old / multiple_of) * multiple_of)
        if rule == "lower_bound" and side < new:
            side = int(math.ceil(scale * old / multiple_of) * multiple_of)
        if rule == "upper_bound" and side > new:
            side = int(math.floor(scale * old / multiple_of) * multiple_of)
        sides.append(side)
    return sides[0], sides[1]


def check_network_size(image_size: Size, size: Size, target: Size) -> None:
    """Raises ImageError where an image is so elongated that the network would see nothing of it, or far too much."""
    if min(size) < 1:
        reason = "nothing would be left of its shorter side"
    elif size[0] * size[1] > MAX_NETWORK_AREA * target[0] * target[1]:
        reason = f"that is more than {MAX_NETWORK_AREA} times the area of {_text(target)}"
    else:
        return
    raise ImageError(
        f"an image of {_text(image_size)} pixels is too elongated: the network would see it at {_text(size)}, and "
        f"{reason}; cut it into pieces, or use protocol 'evaluate', which does not keep the aspect ratio"
    )


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
