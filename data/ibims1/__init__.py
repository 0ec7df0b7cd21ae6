"""iBims-1: 100 indoor photographs with depth of a laser scanner, for testing only.

Where to get it: https://www.asg.ed.tum.de/lmf/ibims1/, files at https://dataserv.ub.tum.de/s/m1455541:
`ibims1_core_raw.zip` (about 55 MB) and `imagelist.txt`, which lies beside the archive. Licence: read it at the
download; none lies in the archive.
Expected under `--raw`, which is `ibims1_core_raw` or the folder that it is in:

    ibims1_core_raw/rgb/corridor_01.png             640x480
    ibims1_core_raw/depth/corridor_01.png           16 bits, 65535 is 50 m, 0 is no depth
    ibims1_core_raw/mask_invalid/corridor_01.png    0 where the scan has no return
    ibims1_core_raw/mask_transp/corridor_01.png     0 on glass and the like
    ibims1_core_raw/calib/corridor_01.txt           fx, fy, cx, cy; the whole folder may be absent
    imagelist.txt                                   names without suffix; in either folder, or by `--splits`

Result: `zoe_ibims1/core_raw`, split `test`, 100 images. `valid_mask` is where neither mask is 0.

Citation: Koch, Liebel, Fraundorfer, Körner, "Evaluation of CNN-based Single-Image Depth Estimation Methods", ECCV
Workshops 2018.

Traps: the masks mean the opposite of their names, 255 is valid; they are PNGs of 1 bit. The original's loader
multiplies them as bytes, where 255 * 255 is 1, and writes -1 where the product is 0.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
