"""ZoeD-X-N: no relative pre-training; metric training on NYU Depth v2 from an encoder that has seen ImageNet only.

Tables 1 and 3 of the paper (arXiv 2302.12288). Recipe: `zoe_jax.train.recipes.N`, 7575 steps of 16 images at 384x512.

Command, with BEiT-L at 384 as it was trained on ImageNet to start from: a file of timm's, or its name on Hugging Face,
`timm/beit_large_patch16_384.in22k_ft_in22k_in1k`:

    zoe-jax train zoed_x_n --run-dir runs/zoed_x_n --init beit_large_patch16_384.safetensors --data.data-dir data_sets

Expected, with the image's flipped copy averaged in (table 1; then table 3, zero-shot):

    data set        delta1   delta2   delta3   REL     RMSE    log10
    NYU Depth v2    0.946    0.994    0.999    0.082   0.294   0.035
    SUN RGB-D       0.857                      0.124   0.363
    iBims-1         0.668                      0.173   0.730
    DIODE Indoor    0.400                      0.324   1.581
    HyperSim        0.284                      0.421   5.889
"""

from dataclasses import replace

from zoe_jax.train import recipes
from zoe_jax.train.experiment import Experiment


def config() -> Experiment:
    """The recipe of ZoeD-M12-N from another start; `--init` names the encoder's checkpoint."""
    return replace(recipes.N, name="zoed_x_n", init_part="encoder")
