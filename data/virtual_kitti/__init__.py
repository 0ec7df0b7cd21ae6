"""Virtual KITTI 1.3.1: five drives of KITTI rebuilt in a game engine, each under ten conditions.

Where to get it: https://europe.naverlabs.com/research/computer-vision/proxy-virtual-worlds-vkitti-1/, manual download
of vkitti_1.3.1_rgb.tar (some 14 GB) and vkitti_1.3.1_depthgt.tar (some 5 GB).
Licence: CC BY-NC-SA 3.0.
Expected under `--raw`, in either layout:

    vkitti_1.3.1_rgb/0001/clone/00000.png   with   vkitti_1.3.1_depthgt/0001/clone/00000.png     the owner's archives
    test_color/00000.png                    with   test_depth/00000.png                          the original's loader

Result: `zoe_virtual_kitti/depth`, split `test`, all 21260 images (five worlds, ten conditions), 375x1242.

Citation: Gaidon, Wang, Cabon, Vig, "Virtual Worlds as Proxy for Multi-Object Tracking Analysis", CVPR 2016.

Traps: depth is in centimetres, and 65535 is the sky, no depth; the original's loader (zoedepth/data/vkitti.py), which
no list of its data sets names, takes the numbers for metres and hands out normalised images. The camera is the
same everywhere: focal length 725 px, centre (620.5, 187).
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
