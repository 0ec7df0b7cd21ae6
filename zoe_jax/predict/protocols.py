"""The three ways in which the numbers of this model have been made: `infer`, `evaluate`, `huggingface`.

A protocol turns the size of an image into a `Plan`: what the network gets to see, and how its output becomes a map of
the size of the image.

- `infer` (`DepthModel.infer` of the original, what its users call): pad by reflection, resize with the aspect ratio
  kept and sides that are multiples of 32; the output goes back by a bicubic resize and a crop.
- `evaluate` (evaluate.py of the original, behind the tables of the paper): squash to the size of training, no padding;
  the output goes back by a bilinear resize with aligned corners.
- `huggingface` (transformers' ZoeDepthImageProcessor with `ensure_multiple_of=32`): as `infer`, but its target is
  384x512 for every model, K too.

Averaging with the flipped image needs no plan of its own. The original flips the raw image, transformers the network's
input; both are the same here, because reflection and the resizes of this package are mirror-symmetric to the last bit.
For the same reason, and because they are linear, the two outputs can be averaged before the one resize back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Num

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict import geometry
from zoe_jax.predict.geometry import Size
from zoe_jax.predict.resize import Taps, bicubic_taps, bilinear_taps, resample


@dataclass(frozen=True)
class Plan:
    """How one image size reaches the network and how the output comes back; sizes are (height, width)."""

    image_size: Size
    padding: Size
    """Rows at the top and at the bottom, columns at the left and at the right."""
    network_size: Size
    upsampling: Literal["bicubic", "bilinear"]

    def prepare(self, image: Num[np.ndarray, "height width 3"]) -> Float[np.ndarray, "h w 3"]:
        """Pads and resizes (bilinear, aligned corners) an image of `image_size` to `network_size`, pixels in [0, 1]."""
        rows, columns = (
            bilinear_taps(side + 2 * pad, new).after_reflection(side, pad)
            for side, pad, new in zip(self.image_size, self.padding, self.network_size, strict=True)
        )
        pixels = resample(image, rows, columns)
        if image.dtype == np.uint8:
            pixels *= np.float32(1 / 255)
        return pixels

    def restore(self, network_map: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "height width"]:
        """Resizes a map of `network_size` to the padded image and crops it to the image."""
        if self.network_size == self.image_size and self.padding == (0, 0):
            return network_map
        return resample(network_map, *self.restoring_taps())

    def restoring_taps(self) -> tuple[Taps, Taps]:
        """What `restore` does along the rows and along the columns."""
        taps: Callable[[int, int], Taps] = bicubic_taps if self.upsampling == "bicubic" else bilinear_taps
        rows, columns = (
            taps(new, side + 2 * pad).cropped(pad, side)
            for side, pad, new in zip(self.image_size, self.padding, self.network_size, strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Protocol:
    """What tells the protocols apart."""

    keep_aspect_ratio: bool
    pads: bool
    upsampling: Literal["bicubic", "bilinear"]
    network_size: Size | None = None
    """The target of every model; None: the model's own."""

    def plan(self, image_size: Size, model_size: Size, pad: bool = True, multiple_of: int = 32) -> Plan:
        """The plan for one image size.

        Args:
            image_size: of the image, as are all sizes (height, width).
            model_size: `network_size` of the model's configuration.
            pad: pad by reflection, where the protocol does.
            multiple_of: what the sides of the network's input must be multiples of.

        Raises:
            ImageError: the image is too small to be padded, or too elongated to keep its aspect ratio.
        """
        target = self.network_size or model_size
        pads = geometry.padding(image_size) if pad and self.pads else (0, 0)
        geometry.check_padding(image_size, pads)
        padded = (image_size[0] + 2 * pads[0], image_size[1] + 2 * pads[1])
        size = geometry.network_size(padded, target, keep_aspect_ratio=self.keep_aspect_ratio, multiple_of=multiple_of)
        geometry.check_network_size(image_size, size, target)
        return Plan(image_size, pads, size, self.upsampling)


ProtocolName = Literal["infer", "evaluate", "huggingface"]

PROTOCOLS: dict[str, Protocol] = {
    "infer": Protocol(keep_aspect_ratio=True, pads=True, upsampling="bicubic"),
    "evaluate": Protocol(keep_aspect_ratio=False, pads=False, upsampling="bilinear"),
    "huggingface": Protocol(keep_aspect_ratio=True, pads=True, upsampling="bicubic", network_size=(384, 512)),
}


def protocol(name: str) -> Protocol:
    """Raises ZoeJaxError where there is no protocol of this name."""
    if name not in PROTOCOLS:
        raise ZoeJaxError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
