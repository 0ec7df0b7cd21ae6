"""What is evaluated of each data set of the paper: ranges of depth, crops, masks, and the image that the model sees.

Numbers of one model differ by such rules more than models differ, so there are three, and every report names its own:

- `released`: what the original's code does (zoedepth/data/data_mono.py, zoedepth/utils/config.py and evaluate.py),
  its oddities included: least depths of 0 and 2 m, a crop in fixed pixels whatever the image's size, DIODE's masks
  dropped, images of DDAD, DIODE, DIML indoor and HyperSim resized beforehand.
- `paper`: what the paper says (arXiv 2302.12288, section 4 and Table 7): as `released`, but for a least depth of
  0.001 m everywhere.
- `corrected`: the defects mended: crops relative to the image, masks used, images handed to the model as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from zoe_jax.config import ConfigError
from zoe_jax.evaluate.validity import Crop

RuleName = Literal["released", "paper", "corrected"]


@dataclass(frozen=True)
class Rule:
    """How one data set is evaluated."""

    min_depth_m: float
    """Truth at or below does not count; predictions below become this."""
    max_depth_m: float
    """Truth at or above does not count; predictions above become this."""
    crop: Crop = "none"
    """Only pixels of the truth inside count."""
    kb_crop: bool = False
    """Image and truth are first cut to their lower middle, 352x1216."""
    image_size: tuple[int, int] | None = None
    """Height and width to which the image alone is brought (bilinear, no antialiasing) before the model sees it."""
    use_mask: bool = True
    """Leave out what the data set's own mask marks as invalid, where it has one."""

    def __post_init__(self) -> None:
        """Raises ConfigError where the range is none."""
        if not 0 <= self.min_depth_m < self.max_depth_m:
            raise ConfigError(f"depth range {self.min_depth_m}..{self.max_depth_m} m must satisfy 0 <= min < max")


@dataclass(frozen=True)
class Benchmark:
    """A data set that is evaluated, and its rules."""

    title: str
    """As the paper calls it."""
    prepared: str
    """Name under the data directory, as `zoe-jax prepare` writes it."""
    split: str
    rules: Mapping[RuleName, Rule]
    images: int | None = None
    """With truth, in the whole split; a smaller data set is a part of it, or a miniature."""


def rules(released: Rule, **corrected: object) -> dict[RuleName, Rule]:
    """The three rules of a data set: `paper` differs from `released` in the least depth; `corrected` as is said."""
    paper = replace(released, min_depth_m=1e-3)
    return {"released": released, "paper": paper, "corrected": replace(paper, **corrected)}


_RELATIVE = {"crop": "relative_nyu_eigen"}
_AS_IT_IS = {"image_size": None}

BENCHMARKS: dict[str, Benchmark] = {
    "nyu": Benchmark("NYU Depth v2", "zoe_nyu_depth_v2/sync", "test", rules(Rule(1e-3, 10, "nyu_eigen")), 654),
    "ibims": Benchmark("iBims-1", "zoe_ibims1/core_raw", "test", rules(Rule(0, 10, "nyu_eigen")), 100),
    "sunrgbd": Benchmark("SUN RGB-D", "zoe_sun_rgbd/depth", "test", rules(Rule(0, 8, "nyu_eigen"), **_RELATIVE), 5050),
    "diode_indoor": Benchmark(
        "DIODE Indoor",
        "zoe_diode/indoor",
        "validation",
        rules(
            Rule(1e-3, 10, "nyu_eigen", image_size=(480, 640), use_mask=False),
            **_RELATIVE,
            **_AS_IT_IS,
            use_mask=True,
        ),
        325,
    ),
    "hypersim": Benchmark(
        "HyperSim",
        "zoe_hypersim/planar",
        "test",
        rules(Rule(1e-3, 80, "nyu_eigen", image_size=(480, 640)), **_RELATIVE, **_AS_IT_IS),
        7690,
    ),
    "diml_indoor": Benchmark(
        "DIML Indoor",
        "zoe_diml/indoor",
        "test",
        rules(Rule(0, 10, "nyu_eigen", image_size=(480, 640)), **_RELATIVE, **_AS_IT_IS),
    ),
    "kitti": Benchmark("KITTI", "zoe_kitti_eigen/eigen", "test", rules(Rule(1e-3, 80, "garg", kb_crop=True)), 652),
    # its loader, which no list of the original names, takes centimetres for metres; here they are metres
    "vkitti": Benchmark("Virtual KITTI", "zoe_virtual_kitti/depth", "test", rules(Rule(1e-3, 80, "garg"))),
    "vkitti2": Benchmark(
        "Virtual KITTI 2",
        "zoe_virtual_kitti_2/depth",
        "test",
        rules(Rule(1e-3, 80, "garg", kb_crop=True)),
        1701,
    ),
    "ddad": Benchmark(
        "DDAD",
        "zoe_ddad/lidar",
        "validation",
        rules(Rule(1e-3, 80, "garg", image_size=(352, 1216)), **_AS_IT_IS),
        3950,
    ),
    "diml_outdoor": Benchmark("DIML Outdoor", "zoe_diml/outdoor", "test", rules(Rule(2, 80, "garg")), 500),
    "diode_outdoor": Benchmark(
        "DIODE Outdoor",
        "zoe_diode/outdoor",
        "validation",
        rules(Rule(1e-3, 80, "garg", image_size=(480, 640), use_mask=False), **_AS_IT_IS, use_mask=True),
        446,
    ),
}
"""By the name that `zoe-jax evaluate --datasets` takes."""

GROUPS: dict[str, tuple[str, ...]] = {
    "indoor": ("nyu", "ibims", "sunrgbd", "diode_indoor", "hypersim"),
    "outdoor": ("kitti", "diml_outdoor", "diode_outdoor", "vkitti2", "ddad"),
}
"""ALL_INDOOR and ALL_OUTDOOR of zoedepth/utils/config.py."""
GROUPS["all"] = GROUPS["indoor"] + GROUPS["outdoor"]


def own_benchmark(prepared: str, split: str, min_depth_m: float, max_depth_m: float) -> Benchmark:
    """A prepared data set that the paper does not know: all its valid pixels count, under every rule."""
    return Benchmark(prepared, prepared, split, dict.fromkeys(get_args(RuleName), Rule(min_depth_m, max_depth_m)))


def benchmark_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names with groups spelt out, each once, in their order; what is neither stays, as a prepared data set."""
    spelt = (inner for name in names for inner in GROUPS.get(name, (name,)))
    return tuple(dict.fromkeys(spelt))
