"""DIML/CVL RGB-D: indoor scenes of a Kinect v2, outdoor scenes of a stereo camera; the test images of the samples.

Where to get it: https://dimlrgbd.github.io, the sample data (not the 2 million raw frames); manual download. Licence:
terms of the owner's own; read them there.
Expected under `--raw`, in either layout, with indoor or outdoor scenes or both:

    indoor/test/LR/<scene>/color/in_00_160126_155728_c.png                       512x288
    indoor/test/LR/<scene>/depth_filled/in_00_160126_155728_depth_filled.png     16 bits, millimetres
    outdoor/test/LR/outleft/<name>.png                                           640x384
    outdoor/test/LR/depthmap/<name>.png                                          16 bits, millimetres

    LR/<scene>/color/*_c.png    with  LR/<scene>/depth_filled/*_depth_filled.png     the original's loaders
    <scene>/outleft/<name>.png  with  <scene>/depthmap/<name>.png

The latter may lie in `diml_indoor_test` and `diml_outdoor_test`, the original's names, or in the same without `_test`.

Result: `zoe_diml/indoor` (503 images) and `zoe_diml/outdoor` (500), split `test`. Only the low resolution (LR) is
read, which the original's path of the indoor images names.

Citation: Cho, Min, Kim, Sohn, "DIML/CVL RGB-D Dataset: 2M RGB-D Images of Natural Indoor and Outdoor Scenes", arXiv
2110.11590, 2021.

Traps: indoor depth has been filled, so it is dense and in part invented. Outdoor depth comes of stereo matching; the
`confidencemap` beside it is used neither by the original nor here. Others could not repeat the paper's numbers outdoors
(isl-org/ZoeDepth, issue 96).
"""

from .builder import PREPARATION

__all__ = ["PREPARATION"]
