"""SUN RGB-D: indoor scenes of four depth cameras; the official test split.

Where to get it: https://rgbd.cs.princeton.edu, SUNRGBD.zip (https://rgbd.cs.princeton.edu/data/SUNRGBD.zip, about
6.4 GB) and, for the split, SUNRGBDtoolbox.zip (https://rgbd.cs.princeton.edu/data/SUNRGBDtoolbox.zip); manual
download. Licence: none is stated; the owner's README asks to cite the four papers below.
Expected under `--raw`, in either layout:

    SUNRGBD/kv1|kv2|realsense|xtion/.../<frame>/image/*.jpg       the owner's: one image a frame
    SUNRGBD/.../<frame>/depth_bfx/*.png                           16 bits, rotated left by 3: (d >> 3 | d << 13) is mm
    SUNRGBD/.../<frame>/intrinsics.txt                            a 3x3 matrix
    SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat                  its `alltest` names 5050 frames; or by `--splits`

    rgb/rgb/000001.jpg  with  gt/gt/000001.png                    the original's loader: depth decoded, millimetres

Result: `zoe_sun_rgbd/depth`, split `test`, 5050 images, from 427x561 to 530x730 (height x width). Depth is stored
decoded, 1000 units a metre, and not capped; intrinsics are there in the owner's layout.

Citation: Song, Lichtenberg, Xiao, "SUN RGB-D: A RGB-D Scene Understanding Benchmark Suite", CVPR 2015; and, as its
parts: Silberman et al., ECCV 2012 (NYU Depth v2), Janoch et al., ICCV Workshop 2011 (B3DO), Xiao et al., ICCV 2013
(SUN3D).

Traps: `depth_bfx` is inpainted by the owner, `depth` beside it is what the camera measured. The owner's toolbox
(read3dPoints.m) caps depth at 8 m; the original takes what is beyond 8 m for invalid. For the test images the
original's author points to ankurhanda/sunrgbd-meta-data (isl-org/ZoeDepth, issue 18), whose depth is in tenths of a
millimetre: taken for millimetres it is ten times too far (issue 19 looks like it), and is refused here as soon as half
of an image would be beyond 20 m. The images of NYU Depth v2 are part of the set, cropped to 427x561, so that a
model trained on that has seen scenes of this.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
