"""The recipe of the released models, to be varied with `dataclasses.replace`.

From the configurations of the original (zoedepth/models/zoedepth*/config_*.json, zoedepth/trainers/base_trainer.py):
AdamW with weight decay on everything, torch's clip at 0.1, the one-cycle schedule, batch 16, 5 epochs, float32, no
moving average, parameters without a gradient skipped. The paper states none of it.
"""

from dataclasses import replace

from zoe_jax.config import PRESETS
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.step import ValidationConfig

NYU_TRAINING_IMAGES = 24231
KITTI_TRAINING_IMAGES = 23158
"""Lines of the original's lists of training files (train_test_inputs/*.txt)."""
BATCH_SIZE = 16
EPOCHS = 5

ENCODER = r"encoder/.*|decoder/reassemble_\d/.*"
"""What the original counts as encoder: the reassemble layers belong to it (`core.core.pretrained`)."""
DECODER = r"decoder/.*"
"""The rest of the relative-depth model, as long as this rule stands behind that of the encoder."""

NYU = DatasetConfig(name="zoe_nyu_depth_v2/sync", domain="nyu")
KITTI = DatasetConfig(name="zoe_kitti_eigen/eigen", domain="kitti")
"""As `zoe-jax prepare nyu_depth_v2` and `zoe-jax prepare kitti_eigen` make them."""

NYU_TRAINING = replace(
    NYU,
    min_depth_m=1e-3,
    max_depth_m=10.0,
    augment=AugmentConfig(
        max_rotation_degrees=1.0, flip_probability=0.5, colour_probability=0.5, brightness_range=(0.75, 1.25)
    ),
)
KITTI_TRAINING = replace(
    KITTI,
    min_depth_m=1e-3,
    max_depth_m=80.0,
    augment=AugmentConfig(kb_crop=True, max_rotation_degrees=1.0, flip_probability=0.5, colour_probability=0.5),
)
NYU_TEST = replace(NYU, split="test")
KITTI_TEST = replace(KITTI, split="test", augment=AugmentConfig(kb_crop=True))
"""Images keep their size, NYU's 480x640 and KITTI's 352x1216; the step brings them to the network's. Augmentation is
that of the original's configurations (zoedepth/utils/config.py, zoedepth/data/data_mono.py), where random_crop,
random_translate and avoid_boundary are off."""

NYU_DATA = DataConfig(train=(NYU_TRAINING,), validation=(NYU_TEST,))
KITTI_DATA = DataConfig(train=(KITTI_TRAINING,), validation=(KITTI_TEST,))
NYU_AND_KITTI_DATA = DataConfig(train=(NYU_TRAINING, KITTI_TRAINING), validation=(NYU_TEST,), mixing="alternate")

NYU_VALIDATION = ValidationConfig(min_depth_m=1e-3, max_depth_m=10.0, crop="nyu_eigen")
KITTI_VALIDATION = ValidationConfig(min_depth_m=1e-3, max_depth_m=80.0, crop="garg")


def batches(n_images: int) -> int:
    """Batches in an epoch, the last one as short as it may be."""
    return -(-n_images // BATCH_SIZE)


NYU_BATCHES, KITTI_BATCHES = batches(NYU_TRAINING_IMAGES), batches(KITTI_TRAINING_IMAGES)
ALTERNATING_BATCHES = 2 * (max(NYU_BATCHES, KITTI_BATCHES) + 1)
"""An epoch of the original's loader that gives a batch of each data set in turn."""

N = Experiment(
    name="zoed_n",
    model=PRESETS["zoed_n"],
    objective=ObjectiveConfig(router="labelled"),
    optimizer=OptimizerConfig(learning_rate=1.61e-4, groups=((ENCODER, 0.1),)),
    data=NYU_DATA,
    validation=NYU_VALIDATION,
    batch_size=BATCH_SIZE,
    steps=EPOCHS * NYU_BATCHES,
    validate_every=NYU_BATCHES // 4,
    checkpoint_every=NYU_BATCHES // 4,
)
"""One data set: NYU Depth v2. Encoder at a tenth of the rate, all else at the full one."""

K = replace(
    N,
    name="zoed_k",
    model=PRESETS["zoed_k"],
    data=KITTI_DATA,
    validation=KITTI_VALIDATION,
    steps=EPOCHS * KITTI_BATCHES,
    validate_every=KITTI_BATCHES // 4,
    checkpoint_every=KITTI_BATCHES // 4,
)
"""One data set: KITTI, 384x768, bounded bins."""

NK = replace(
    N,
    name="zoed_nk",
    model=PRESETS["zoed_nk"],
    objective=ObjectiveConfig(router="trained", router_weight=100.0, head_choice="router"),
    optimizer=OptimizerConfig(learning_rate=2.512e-4, groups=((ENCODER, 0.1), (DECODER, 0.1))),
    data=NYU_AND_KITTI_DATA,
    steps=EPOCHS * ALTERNATING_BATCHES,
    validate_every=ALTERNATING_BATCHES // 4,
    checkpoint_every=ALTERNATING_BATCHES // 4,
)
"""Two data sets, two heads, one router: the whole relative-depth model at a tenth of the rate."""
