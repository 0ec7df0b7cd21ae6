"""DIODE: indoor and outdoor scenes of one laser scanner; the validation set, on which the paper evaluates.

Where to get it: https://diode-dataset.org, http://diode-dataset.s3.amazonaws.com/val.tar.gz (2.6 GB). Licence: MIT, as
https://github.com/diode-dataset/diode-devkit has it.
Expected under `--raw`, which is `val`, the folder that it is in, or one of the two below it:

    val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010.png             1024x768
    val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010_depth.npy       float32 [768, 1024, 1], metres
    val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010_depth_mask.npy  [768, 1024], 1 is valid
    val/outdoor/scene_.../scan_.../...                                             in the same way

Result: `zoe_diode/indoor` (325 images) and `zoe_diode/outdoor` (446), split `validation`; one of them where only its
images are there. Intrinsics are those of the devkit's intrinsics.txt.

Citation: Vasiljevic et al., "DIODE: A Dense Indoor and Outdoor DEpth Dataset", arXiv 1908.00463, 2019.

Traps: there is depth, and wrong, where the mask is 0; the original's loader reads the mask and drops it. The focal
lengths differ by 4.5 %. The folders are `indoors`, with an s, and `outdoor`.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
