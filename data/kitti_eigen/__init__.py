"""KITTI, Eigen split: road scenes with the accumulated depth of a LiDAR; training and test set of outdoor models.

Where to get it: https://www.cvlibs.net/datasets/kitti/raw_data.php (manual download: for each of the 61 drives of the
two lists "synced+rectified data", and "calibration" of the five days; 175 GB) and
https://www.cvlibs.net/datasets/kitti/eval_depth.php?benchmark=depth_prediction ("annotated depth maps", 14 GB).
Licence: CC BY-NC-SA 3.0. Expected under `--raw`, with or without the folder `raw`:

    raw/2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png     375x1242 and a little less
    raw/2011_09_26/calib_cam_to_cam.txt                                        of each day; gives the intrinsics
    data_depth_annotated/train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png
    data_depth_annotated/val/2011_09_26_drive_0002_sync/proj_depth/...         16 bits, 256 a metre, 0 is no depth

The folders `train` and `val` may lie in `--raw` itself, and all drives together in `gts`, as the original has them.
The lists of images (23158 and 697) are fetched from the original's repository, or taken from `--splits`.

Result: `zoe_kitti_eigen/eigen`, splits `train` and `test`. 45 images of `test` have no truth: their depth is 0, and
652 are evaluated. Intrinsics are stored where all days are calibrated: `P_rect_02`.

Citation: Geiger, Lenz, Stiller, Urtasun, "Vision meets Robotics: The KITTI Dataset", IJRR 2013; Uhrig et al.,
"Sparsity Invariant CNNs", 3DV 2017 (the annotated depth); Eigen, Puhrsch, Fergus, "Depth Map Prediction from a Single
Image using a Multi-Scale Deep Network", NIPS 2014 (the split).

Traps: images lie under their day, depth does not, and a drive's depth is in `train` or in `val` whatever the Eigen
split says. The focal length of the lists has no principal point beside it, so it is not enough for intrinsics. Records
hold whole images; the 352x1216 window ("KB crop") is a matter of evaluation and training.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
