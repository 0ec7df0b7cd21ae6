"""Hypersim: rendered indoor scenes with exact depth.

Where to get it: https://github.com/apple/ml-hypersim, by its `dataset_download_images.py` (one ZIP a scene, about
1.9 TB in all) or, for single kinds of files, its `contrib/99991/download.py`; needed are `*.tonemap.jpg` and
`*.depth_meters.hdf5`. Licence: CC BY-SA 3.0.
Expected under `--raw`, or in `scenes` or `evermotion_dataset/scenes` below it:

    ai_001_010/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg            1024x768
    ai_001_010/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5      float16 in `dataset`

Result: `zoe_hypersim/planar`, split `test`: every frame that is there, as in the original's loader, or with
`--official-split` the test frames of the owner's metadata_images_split_scene_v1.csv (7690; train has 59543, val 7386),
fetched from the repository or given by `--splits`. Depth is planar, float32, in metres.

Citation: Roberts et al., "Hypersim: A Photorealistic Synthetic Dataset for Holistic Indoor Scene Understanding", ICCV
2021.

Traps: `depth_meters` holds distances along rays from the centre of the camera, not depth: at the corners of an image
5 m are 4.056 m of depth. The formula takes all cameras for one of 60 degrees, as the original does; some scenes have a
shifted lens or another angle (the owner's contrib/mikeroberts3000/metadata_camera_parameters.csv), and there planar
depth and intrinsics are approximate. Where a ray hits nothing the file has NaN, here 0. The owner calls the tone-mapped
previews lossy and advises against them for learning; the original uses them.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
