"""ZoeD-M12-NK: relative pre-training on twelve data sets, then one model with two heads for NYU Depth v2 and KITTI.

Tables 1 to 4 and 6 of the paper (arXiv 2302.12288); the released ZoeD_M12_NK.pt. Recipe: `zoe_jax.train.recipes.NK`,
15160 steps of 16 images at 384x512, a batch of each data set in turn, the router trained on their labels.

Command, with a relative-depth checkpoint of BEiT-L at 384 (MiDaS 3.1, dpt_beit_large_384) to start from:

    zoe-jax train zoed_m12_nk --run-dir runs/zoed_m12_nk --init dpt_beit_large_384.pt --data.data-dir data_sets

The other routers of table 6: `--objective.router labelled --model.routing label`, or
`--objective.router auto`.

Expected, with the image's flipped copy averaged in (NYU: table 1; KITTI: table 6; the others, zero-shot: tables 3, 4):

    data set           delta1   delta2   delta3   REL     RMSE    log10
    NYU Depth v2       0.953    0.995    0.999    0.077   0.277   0.033
    KITTI                                         0.057   2.362
    SUN RGB-D          0.856                      0.123   0.356
    iBims-1            0.615                      0.186   0.777
    DIODE Indoor       0.386                      0.331   1.598
    HyperSim           0.274                      0.419   5.830
    Virtual KITTI 2    0.850                      0.105   5.095
    DDAD               0.824                      0.138   7.225
    DIML Outdoor       0.292                      0.641   3.610
    DIODE Outdoor      0.208                      0.757   7.569

    router (table 6)   REL NYU   RMSE NYU   REL KITTI   RMSE KITTI
    labelled           0.080     0.290      0.057       2.452
    trained            0.077     0.277      0.057       2.362
    auto               0.102     0.377      0.075       2.584
"""

from dataclasses import replace

from zoe_jax.train import recipes
from zoe_jax.train.experiment import Experiment


def config() -> Experiment:
    """The released configuration; `--init` names the relative-depth checkpoint."""
    return replace(recipes.NK, name="zoed_m12_nk", init_part="relative")
