"""Virtual KITTI 2 (release 2.0.3): five drives of KITTI rendered anew, each under ten conditions.

Where to get it: https://europe.naverlabs.com/research/computer-vision/proxy-virtual-worlds-vkitti-2/, manual download
of vkitti_2.0.3_rgb.tar and vkitti_2.0.3_depth.tar from https://download.europe.naverlabs.com/virtual_kitti_2.0.3/ (some
15 GB together). Licence: CC BY-NC-SA 3.0.
Expected under `--raw`, in one of these layouts (of the two cameras only Camera_0 is used):

    Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg                       both archives unpacked into one folder,
    Scene01/clone/frames/depth/Camera_0/depth_00000.png
    vkitti_2.0.3_rgb/Scene01/... and vkitti_2.0.3_depth/Scene01/...       each into its own,
    rgb/Scene01/... and depth/Scene01/...                                 or as the original's loader wants them

Result: `zoe_virtual_kitti_2/depth`, splits `train` and `test`, 375x1242: 21260 frames, of which the paper evaluates
on 8 %, 1701.

Splits: the original draws them at random, unseeded, whenever its data root has no train.txt (zoedepth/data/vkitti2.py),
so the paper's 1701 images are known to nobody. Here they are drawn by name: frames are ordered by the SHA-256 of
"SEED:ID", SEED being 0, and the first int(0.92 n) are for training. No version of any library changes that. Where
train.txt and test.txt are found, in `--splits` or else in `--raw`, they decide: lists of image paths as the original
writes them, of which only the part from Scene on counts.

Citation: Cabon, Murray, Humenberger, "Virtual KITTI 2", arXiv 2001.10773; Gaidon et al., CVPR 2016.

Traps: depth is in centimetres, and 65535 is the sky, no depth. Frames of one drive under ten conditions are nearly the
same picture, so a random split has neighbours of every test image in training: the original's too. The original sets
depth above 80 m to -1 and cuts image and depth to 352x1216; both are matters of evaluation, not of the record.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
