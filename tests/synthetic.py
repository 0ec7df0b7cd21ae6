"""The checkpoints of tests/reference/model, regenerated from their manifests, and the arrays stored beside them."""

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tests.reference.synthetic_weights import weights_from_manifest
from zoe_jax import config as configs
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.families import FAMILIES
from zoe_jax.convert.safetensors_file import write_safetensors
from zoe_jax.convert.tensors import to_params
from zoe_jax.convert.torch_file import write_torch
from zoe_jax.models.zoedepth import Params
from zoe_jax.predict.images import read_image

MODEL_REFERENCE = Path(__file__).parent / "reference" / "model"
VARIANTS = ("N", "K", "NK")

QUICK_TO_COMPILE = {"xla_backend_optimization_level": 0}
"""For `jax.jit`: tiny models take seconds to compile and milliseconds to run, and this halves the former. The
arithmetic is the same; tests/test_depth_model.py and the true-size tests run the machine code that a user gets."""

Tensors = Mapping[str, np.ndarray]


@functools.cache
def golden(name: str) -> Mapping[str, np.ndarray]:
    """The arrays of one .npz file, such as `tiny/N_rect64x96`."""
    with np.load(MODEL_REFERENCE / f"{name}.npz") as arrays:
        return MappingProxyType(dict(arrays))


def pixels(image: np.ndarray) -> np.ndarray:
    """uint8 to [0, 1] by one float32 division, as torchvision's ToTensor."""
    return image.astype(np.float32) / np.float32(255)


def manifest(name: str) -> list[dict]:
    """One entry a tensor, such as `tiny/manifest_N`."""
    return json.loads((MODEL_REFERENCE / f"{name}.json").read_text(encoding="utf-8"))


def tensors(manifest_name: str, config: ZoeDepthConfig, family: str) -> Tensors:
    """Everything that a real file of this architecture holds, constants included, read-only and in its order."""
    entries = manifest(manifest_name)
    values = weights_from_manifest(entries)
    constants = FAMILIES[family].constants(config)
    ordered = {entry["name"]: values.pop(entry["name"], None) for entry in entries}
    for name, value in ordered.items():
        ordered[name] = constants[name] if value is None else value
        ordered[name].flags.writeable = False
    return MappingProxyType(ordered)


@functools.cache
def tiny_tensors(variant: str, family: str = "official") -> Tensors:
    """The reference architecture's checkpoint: variant N, K or NK, family official or huggingface."""
    name = "tiny/manifest" if family == "official" else "hf/tiny_manifest"
    return tensors(f"{name}_{variant}", tiny_config(variant), family)


def tiny_beit_tensors() -> Tensors:
    """The encoder of the tiny N as timm itself names it, with final norm, classifier and index buffers."""
    model = "core.core.pretrained.model."
    return {name.removeprefix(model): t for name, t in tiny_tensors("N").items() if name.startswith(model)}


def full_tensors(variant: str, family: str = "official") -> Tensors:
    """The checkpoint at release size: 1.4 GB, made anew at each call (7 s)."""
    name = "full/manifest" if family == "official" else "hf/manifest"
    return tensors(f"{name}_{variant}", configs.preset(f"zoed_{variant.lower()}"), family)


def write_full_size(folder: Path, variant: str, family: str) -> Path:
    """Writes `full_tensors` as the family's users have them: a `.pt` file, or a folder of Hugging Face."""
    path = folder / (f"{variant}.pt" if family == "official" else variant)
    if family == "official":
        write_torch(path, full_tensors(variant, family))
    else:
        write_safetensors(path, full_tensors(variant, family))
        shutil.copy(MODEL_REFERENCE / "hf" / f"config_{variant}.json", path / "config.json")
    return path


def full_size_images(variant: str) -> dict[str, np.ndarray]:
    """The images of `full/golden_{variant}`, each by what the names of its arrays have before `depth`."""
    names = {"nyu_": "input_NK_nyu", "kitti_": "input_NK_kitti"} if variant == "NK" else {"": f"input_{variant}"}
    return {prefix: read_image(MODEL_REFERENCE / "full" / f"{name}.png") for prefix, name in names.items()}


def midas_tensors(preset: str) -> Tensors:
    """The checkpoint of a relative-depth model of MiDaS at release size, made anew at each call."""
    return tensors(f"midas/manifest_{preset}", configs.preset(preset), "midas")


def tiny_config(variant: str, **overrides: object) -> ZoeDepthConfig:
    """The preset of the reference architecture with other field values."""
    return configs.override(configs.preset(f"reference_{variant.lower()}"), overrides)


@functools.cache
def tiny_params(variant: str, family: str = "official") -> Params:
    """The float32 parameters of the tiny checkpoint."""
    config = tiny_config(variant)
    params, _ = to_params(tiny_tensors(variant, family), FAMILIES[family], config, "synthetic")
    return params
