"""The miniature data sets, prepared as the real ones are."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.data import miniature
from zoe_jax.evaluate.rules import BENCHMARKS
from zoe_jax.input.prepare import silent

MINIATURES = {
    "nyu": ("nyu_train", "nyu_test"),
    "kitti": ("kitti_train", "kitti_test"),
    "hypersim": ("hypersim_test",),
}
"""The raw copies that make a data set, where they have other names."""
PACKAGES = {"nyu": "nyu_depth_v2", "kitti": "kitti_eigen", "ibims": "ibims1", "sunrgbd": "sun_rgbd"} | {
    "diml_indoor": "diml",
    "diml_outdoor": "diml",
    "diode_indoor": "diode",
    "diode_outdoor": "diode",
    "vkitti": "virtual_kitti",
    "vkitti2": "virtual_kitti_2",
}
LISTED = ("nyu", "kitti", "vkitti2")
"""Those whose lists would be downloaded."""


def prepare(names: Sequence[str], folder: Path) -> Path:
    """The data directory with these benchmarks, two examples each (KITTI three, one without truth)."""
    data_dir = folder / "data"
    for package in dict.fromkeys(PACKAGES.get(name, name) for name in names):
        raw = folder / "raw" / package
        members = [name for name in names if PACKAGES.get(name, name) == package]
        for name in members:
            # DIML and DIODE have two configurations, each with a miniature of its own
            for part in MINIATURES.get(name, (name,)):
                miniature.make(part, raw)
            if name == "vkitti2":
                write_random_split(raw)
        preparation = import_module(f"zoe_jax_data.{package}").PREPARATION
        given = {"splits": raw} if set(members) & set(LISTED) else {}
        preparation.prepare(preparation.options(raw, **given), data_dir, 2, silent)
    assert all((data_dir / BENCHMARKS[name].prepared).is_dir() for name in names)
    return data_dir


def write_random_split(raw: Path) -> None:
    """The lists that the original once drew for its miniature: every image is a test image."""
    images = sorted(raw.rglob("rgb_*.jpg"))
    (raw / "train.txt").write_text("", encoding="utf-8")
    (raw / "test.txt").write_text("\n".join(map(str, images)), encoding="utf-8")
