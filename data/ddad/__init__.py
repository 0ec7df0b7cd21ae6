"""DDAD, dense depth for autonomous driving: 2.4-megapixel images with the returns of long-range LiDARs as truth.

Where to get it: https://github.com/TRI-ML/DDAD, manual download of DDAD.tar ("train+val", 257 GB, md5
c0da97967f76da80f86d6f97d0d98904). Licence: CC BY-NC-SA 4.0.
Expected under `--raw`, in either layout:

    ddad_train_val/ddad.json (or ddad.json)                    the owner's archive: the scenes of each split,
    ddad_train_val/000150/scene_<hash>.json                    a scene: its images, point clouds and their poses,
    ddad_train_val/000150/calibration/<hash>.json              the cameras' intrinsics,
    ddad_train_val/000150/rgb/CAMERA_01/<time>.png             images,
    ddad_train_val/000150/point_cloud/LIDAR/<time>.npz         points [n, 4]: x, y, z, intensity;
    X_rgb.png and X_depth.npy, side by side                    or as the original's loader wants them

Result: `zoe_ddad/lidar`, split `validation`: 50 scenes of 50 or 100 frames of the front camera, 3950 images of
1216x1936, as the owner's and the paper's tables say. Another `--camera` makes `zoe_ddad/lidar_camera_05` and so on.

Truth: depth along the optical axis of the returns that fall into the image, 0 elsewhere, as the owner's library (dgp,
which is not needed) makes it: points go by the pose of the LiDAR at its time into the world, by the pose of the camera
at its own time into the camera, and to the pixel that holds the truncated coordinates. Image and point cloud are a few
hundredths of a second apart, so the calibration's extrinsics, which know no time, would shift the points.

Citation: Guizilini, Ambrus, Pillai, Raventos, Gaidon, "3D Packing for Self-Supervised Monocular Depth Estimation",
CVPR 2020.

Traps: where several returns fall into one pixel, the nearest is kept here, as what the camera sees; dgp keeps the one
that comes last in the file, and truth made by it (most likely that of the paper) can be had by `--overlap last`, as
`zoe_ddad/lidar_last`. LiDARs see past what hides a thing from the camera, so some truth lies behind what is in the
image. The original squashes images to 352x1216, which is a matter of evaluation, not of the record.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
