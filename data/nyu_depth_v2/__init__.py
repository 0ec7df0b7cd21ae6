"""NYU Depth v2: indoor images with the depth of a Kinect; training and test set of every indoor model.

Where to get it: https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html, manual download; no licence is stated there.
What the original reads is made of it: the training images are the "sync" set (24231 of 284 scenes, about 4 GB) of
https://github.com/cleinc/bts, the test images are taken out of the labelled file (2.8 GB, of 1449 images) by that
repository's `extract_official_train_test_set_from_mat.py`. Expected under `--raw`, either or both of

    sync/kitchen_0028b/rgb_00045.jpg, sync_depth_00045.png               480x640, 16 bits, millimetres
    official_splits/test/bathroom/rgb_00045.jpg, sync_depth_00045.png    in the same way
    nyu_depth_v2_labeled.mat, splits.mat                                 the owner's own files

The lists of images (24231 and 654) are fetched from the original's repository, or taken from `--splits`.

Result: `zoe_nyu_depth_v2/sync`, splits `train` and `test`, and, from the two .mat files, `zoe_nyu_depth_v2/labelled`,
`train` (795) and `test` (654): the same test images by the same ids. Intrinsics are those of the owner's toolbox,
`camera_params.m`.

Citation: Silberman, Hoiem, Kohli, Fergus, "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012.

Traps: the paths of the training list begin with a slash. The test images of `sync` are JPEGs with their borders made
black (7 px above and left, 6 below, 8 right); those of `labelled` are lossless and have the camera's white borders, so
the numbers differ a little, and published ones are of the former. Depth of `labelled` is the raw one, as in `sync`,
not the inpainted. MATLAB counts from 1, the ids from 0.
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
