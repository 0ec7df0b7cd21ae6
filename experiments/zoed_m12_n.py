"""ZoeD-M12-N: relative pre-training on twelve data sets, then metric training on NYU Depth v2.

Tables 1 and 3 of the paper (arXiv 2302.12288); the released ZoeD_M12_N.pt. Recipe: `zoe_jax.train.recipes.N`, 7575
steps of 16 images at 384x512. The original's authors report under 2 hours on 4 A100 (isl-org/ZoeDepth, issue 11).

Command, with a relative-depth checkpoint of BEiT-L at 384 (MiDaS 3.1, dpt_beit_large_384) to start from:

    zoe-jax train zoed_m12_n --run-dir runs/zoed_m12_n --init dpt_beit_large_384.pt --data.data-dir data_sets

Expected, with the image's flipped copy averaged in (table 1; then table 3, zero-shot):

    data set        delta1   delta2   delta3   REL     RMSE    log10
    NYU Depth v2    0.955    0.995    0.999    0.075   0.270   0.032
    SUN RGB-D       0.864                      0.119   0.346
    iBims-1         0.658                      0.169   0.711
    DIODE Indoor    0.376                      0.327   1.588
    HyperSim        0.292                      0.410   5.771
"""

from dataclasses import replace

from zoe_jax.train import recipes
from zoe_jax.train.experiment import Experiment


def config() -> Experiment:
    """The released configuration; `--init` names the relative-depth checkpoint."""
    return replace(recipes.N, name="zoed_m12_n", init_part="relative")
