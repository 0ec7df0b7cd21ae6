"""What a run reads: its data sets, how each is augmented, and how training goes through several of them."""

from dataclasses import dataclass
from typing import Literal

from zoe_jax.config import ConfigError

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to an example before it is trained on, in this order; nothing by default.

    Order and distributions are those of the original (DataLoadPreprocess in zoedepth/data/data_mono.py).
    """

    kb_crop: bool = False
    """Cut the lower middle, 352x1216, out of image and depth (KITTI). Not random, and done in validation too."""
    avoid_boundary: bool = False
    """Cut a white border off (NYU), and pad back to the size before."""
    max_rotation_degrees: float = 0.0
    """Rotate by an angle drawn evenly from -max to max."""
    random_crop: tuple[int, int] | None = None
    """Height and width of a window drawn anywhere."""
    max_translation: int = 0
    """Shift by up to so many pixels along each axis."""
    translate_probability: float = 0.2
    """Of shifting at all, where `max_translation` allows it."""
    flip_probability: float = 0.0
    """Of mirroring left and right."""
    colour_probability: float = 0.0
    """Of changing gamma, brightness and the strength of each channel."""
    gamma_range: Range = (0.9, 1.1)
    brightness_range: Range = (0.9, 1.1)
    channel_range: Range = (0.9, 1.1)

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        for name in ("translate_probability", "flip_probability", "colour_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in 0..1")
        for name in ("gamma_range", "brightness_range", "channel_range"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f"{name} is {low}..{high}; it must be positive and rise")
        if not (0 <= self.max_rotation_degrees <= 180 and self.max_translation >= 0):
            raise ConfigError(
                f"max_rotation_degrees is {self.max_rotation_degrees} and max_translation {self.max_translation}; the "
                "former must lie in 0..180, the latter cannot be negative"
            )
        if self.random_crop is not None and min(self.random_crop) < 1:
            raise ConfigError(f"random_crop is {self.random_crop}; it should be a height and a width in pixels")


@dataclass(frozen=True)
class DatasetConfig:
    """One data set: where it is, what is taken of it, and what becomes of its examples."""

    name: str = ""
    """A prepared data set under `data_dir` (`zoe_rooms_and_roads/rooms`), the path of one, or an archive `FILE.npz`
    (see `zoe_jax.input.in_memory`). Empty: still to be named."""
    split: str = "train"
    """Of a prepared data set, as TFDS writes it: `test`, `train[:90%]`."""
    domain: str | None = None
    """The model's head for these images. By default what the data set says of itself, or the model's only one."""
    weight: float = 1.0
    """Share of a batch, relative to the other data sets, where `mixing` is `mix`."""
    min_depth_m: float | None = None
    """Depth at or below is invalid. By default the lower end of the domain's range in the model."""
    max_depth_m: float | None = None
    """Depth at or above is invalid. By default the upper end."""
    size: tuple[int, int] | None = None
    """Height and width to which image (bilinear) and depth (nearest) are brought in the end. By default both stay as
    they are, and must then be of one size all through the data set."""
    augment: AugmentConfig = AugmentConfig()

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if not 0 < self.weight < float("inf"):
            raise ConfigError(f"weight of data set {self.name!r} is {self.weight}; it must be positive and finite")
        low, high = self.min_depth_m, self.max_depth_m
        if low is not None and high is not None and not low < high:
            raise ConfigError(f"depth range {low}..{high} m of data set {self.name!r} is empty; min must be below max")
        if self.size is not None and min(self.size) < 1:
            raise ConfigError(f"size of data set {self.name!r} is {self.size}; it should be a height and a width")


@dataclass(frozen=True)
class DataConfig:
    """The data sets of a run.

    Each has a place of its own on the command line: `--data.train.0.name zoe_folder/mine --data.train.0.size 384 512`.
    """

    train: tuple[DatasetConfig, ...] = (DatasetConfig(),)
    validation: tuple[DatasetConfig, ...] = (DatasetConfig(split="validation"),)
    """Seen one after the other, each in the order of its ids, with no augmentation but `kb_crop`. Those without a name
    are left out."""
    data_dir: str | None = None
    """Where prepared data sets lie; by default the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    needs: str = ""
    """In words, what has to be given; the message about missing data quotes it."""
    mixing: Literal["shuffle", "alternate", "mix"] = "shuffle"
    """Of several training sets: `shuffle` draws from all examples alike; `alternate` takes one batch of each in turn,
    as the original trains NK; `mix` fills every batch by `weight`. See `zoe_jax.input.mixture`."""
    workers: int = 0
    """Processes that read and augment; 0 means threads of this one. It has no influence on what is read."""
    prefetch: int = 2
    """Batches made ahead of the step, by each worker where there are any."""

    def __post_init__(self) -> None:
        """Raises ConfigError where a value is out of range."""
        if self.workers < 0 or self.prefetch < 1:
            raise ConfigError(
                f"workers is {self.workers} and prefetch {self.prefetch}; they must be at least 0 and at least 1"
            )
