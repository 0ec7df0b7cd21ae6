"""Which pixels are evaluated, and a prediction made ready for them: ranges, crops, resizing, clipping.

The steps of compute_metrics in zoedepth/utils/misc.py of the original, each alone.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from zoe_jax.ops.resize import resize_bilinear_align_corners

GARG_BOX = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
"""Top, bottom, left and right as shares of height and width (Garg et al. 2016)."""
KITTI_EIGEN_BOX = (0.3324324, 0.91351351, 0.0359477, 0.96405229)
"""The same for KITTI in Eigen et al. 2014."""
NYU_EIGEN_BOX_PX = (45, 471, 41, 601)
"""Top, bottom, left and right in pixels of a 480 x 640 image (Eigen et al. 2014)."""
NYU_EIGEN_BOX = (45 / 480, 471 / 480, 41 / 640, 601 / 640)

Crop = Literal["none", "garg", "kitti_eigen", "nyu_eigen", "relative_nyu_eigen"]

Limit = float | Float[Array, "..."]
"""One for all images, or an array that broadcasts against them."""


def crop_mask(crop: Crop, height_px: int, width_px: int) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """The pixels that a crop keeps.

    `garg` and `kitti_eigen` are shares of the image. `nyu_eigen` is in fixed pixels whatever the size, as the original
    has it: of larger images it keeps the upper left part only; `relative_nyu_eigen` is the same box at the image's
    own scale.
    """
    if crop == "none":
        return np.ones((height_px, width_px), bool)
    if crop == "nyu_eigen":
        return _box_mask(height_px, width_px, *NYU_EIGEN_BOX_PX)
    boxes = {"garg": GARG_BOX, "kitti_eigen": KITTI_EIGEN_BOX, "relative_nyu_eigen": NYU_EIGEN_BOX}
    return _box_mask(height_px, width_px, *_box_px(boxes[crop], height_px, width_px))


def prediction_for_evaluation(
    prediction_m: Float[Array, "*b h w"], size: tuple[int, int], min_depth_m: Limit, max_depth_m: Limit
) -> Float[Array, "*b H W"]:
    """The prediction at the truth's size, within the range of evaluation, with `min_depth_m` in place of nan.

    Resized bilinearly with aligned corners where the size differs; an infinite or nan sample spreads to the samples
    interpolated from it. Then +inf becomes `max_depth_m`, -inf `min_depth_m`.

    Args:
        prediction_m: depth in metres at any size.
        size: height and width of the truth in pixels.
        min_depth_m: the least depth evaluated.
        max_depth_m: the greatest depth evaluated.
    """
    if prediction_m.shape[-2:] != size:
        prediction_m = resize_bilinear_align_corners(prediction_m[..., None], size)[..., 0]
    clipped = jnp.clip(prediction_m, min_depth_m, max_depth_m)
    return jnp.where(jnp.isnan(clipped), min_depth_m, clipped)


def _box_px(box: tuple[float, float, float, float], height: int, width: int) -> tuple[int, int, int, int]:
    top, bottom, left, right = box
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def _box_mask(height: int, width: int, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask
