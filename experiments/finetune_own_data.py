"""Fine-tune any checkpoint on your own images and depth.

Not a run of the paper: this is the recipe to start from. Say a sensor has left `my_room/rgb/0001.jpg`, ... and, in
millimetres and aligned with them, `my_room/depth/0001.png`, ... Three commands, the last of which uses the result:

    zoe-jax prepare folder my_room --images my_room/rgb --depth my_room/depth --depth-units-per-m 1000
    zoe-jax train finetune_own_data --init ZoeD_M12_N.pt \
        --data.train.0.name zoe_folder/my_room --data.validation.0.name zoe_folder/my_room
    zoe-jax predict runs/finetune_own_data photo.jpg

The first reports what it found, and keeps a tenth of the images for validation; it has other ways to find pairs (name
patterns, a CSV table), reads npy, exr and h5 too, and changes nothing with --dry-run: `zoe-jax prepare folder --help`.
The second takes its architecture from the checkpoint, which may be one of ours or of any other layout, or an earlier
run; of a relative-depth model encoder and decoder are taken, and a new head is put on. It ends after 10 epochs, with
the checkpoint of the best validation kept; the same command goes on with a run that was stopped. To be varied first:

    --epochs 30                                       few images, or another kind of camera
    --optimizer.learning-rate 1e-4                    scenes far from those of the checkpoint
    --optimizer.freeze 'encoder/.*'                   less memory and time, and fewer images needed
    --batch-size 8 --optimizer.accumulation-steps 4   the same steps with a quarter of the activations
    --model.head.max-depth-m 40 --validation.max-depth-m 40
                                                      depth beyond the checkpoint's range (10 m for N); deeper
                                                      pixels are left out otherwise
    --data.train.0.domain nyu --data.validation.0.domain nyu
                                                      which head of a checkpoint with several (NK) learns; or say
                                                      it for good by `zoe-jax prepare folder --domain nyu`
    --run-dir runs/my_room                            another place for the result

Images and depth are brought to the network's size, whatever sizes the folder has; abs_rel in validation is measured at
that size. Data that the network was not fine-tuned on may get worse.
"""

from dataclasses import replace

from zoe_jax.config import MetricHeadConfig, ZoeDepthConfig
from zoe_jax.convert import orbax_folder
from zoe_jax.convert.checkpoint import identify, read_tensor_file
from zoe_jax.convert.source import resolve_source
from zoe_jax.input.config import AugmentConfig, DataConfig, DatasetConfig
from zoe_jax.train import recipes
from zoe_jax.train.experiment import Experiment
from zoe_jax.train.objective import ObjectiveConfig
from zoe_jax.train.optimizer import OptimizerConfig
from zoe_jax.train.schedule import ScheduleConfig
from zoe_jax.train.step import ValidationConfig

SCHEDULE = ScheduleConfig(peak_fraction=0.1, start_scale=0.04)
"""Up for a tenth of the run, which gives AdamW's moments time, and down to nothing."""


def config(init: str | None = None) -> Experiment:
    """The run, for the architecture of the checkpoint that `--init` names; without one, that of ZoeD_N."""
    model = _architecture(init) if init else recipes.N.model
    head = model.head or MetricHeadConfig()
    return Experiment(
        name="finetune_own_data",
        model=replace(model, head=head, param_dtype="float32"),
        objective=ObjectiveConfig(router="labelled"),
        # a third of the rate of the released runs, and of that a tenth for the encoder, as there
        optimizer=OptimizerConfig(learning_rate=5e-5, groups=((recipes.ENCODER, 0.1),), schedule=SCHEDULE),
        data=_data(model),
        validation=ValidationConfig(max_depth_m=max(head.max_depth_m)),
        batch_size=8,
        epochs=10,
        init=init,
        init_part="model" if model.head else "relative",
        validate_every=100,
        checkpoint_every=100,
    )


def _architecture(source: str) -> ZoeDepthConfig:
    """What a checkpoint says of itself, its parameters unread: no device may be touched before all hosts have met."""
    path = resolve_source(source)
    if orbax_folder.is_folder(path):
        return orbax_folder.read_description(path)[0]
    return identify(read_tensor_file(path), path)[-1]


def _data(model: ZoeDepthConfig) -> DataConfig:
    size = model.network_size
    return DataConfig(
        train=(DatasetConfig(size=size, augment=AugmentConfig(flip_probability=0.5, colour_probability=0.5)),),
        validation=(DatasetConfig(split="validation", size=size),),
        needs="a folder of yours that `zoe-jax prepare folder NAME` has prepared: zoe_folder/NAME",
    )
