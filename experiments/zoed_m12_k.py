"""ZoeD-M12-K: relative pre-training on twelve data sets, then metric training on KITTI.

Table 4 of the paper (arXiv 2302.12288); the released ZoeD_M12_K.pt. Recipe: `zoe_jax.train.recipes.K`, 7240 steps of 16
images at 384x768, bounded bins.

Command, with a relative-depth checkpoint of BEiT-L at 384 (MiDaS 3.1, dpt_beit_large_384) to start from:

    zoe-jax train zoed_m12_k --run-dir runs/zoed_m12_k --init dpt_beit_large_384.pt --data.data-dir data_sets

Expected, zero-shot, with the image's flipped copy averaged in (table 4). The paper has no table of this model on KITTI
itself; later papers quote delta1 0.971, REL 0.054 and RMSE 2.281 m for ZoeDepth there, without saying of which model.

    data set           delta1   REL     RMSE
    Virtual KITTI 2    0.864    0.100   4.974
    DDAD               0.835    0.129   7.108
    DIML Outdoor       0.003    1.921   6.978
    DIODE Outdoor      0.269    0.852   6.898
"""

from dataclasses import replace

from zoe_jax.train import recipes
from zoe_jax.train.experiment import Experiment


def config() -> Experiment:
    """The released configuration; `--init` names the relative-depth checkpoint."""
    return replace(recipes.K, name="zoed_m12_k", init_part="relative")
